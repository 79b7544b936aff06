"""Two Ray workers on this machine, one of which is killed: its run is taken over, nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from kgmet.base.errors import ConfigError
from kgmet.evaluate.runs.engine import run_jobs
from kgmet.evaluate.runs.folder import Table
from kgmet.evaluate.runs.ray_engine import run_on_ray
from tests.evaluate.runs.test_run import assert_same_table
from tests.evaluate.world import tiny_job, tiny_world
from tests.progress import Recorded

# Ray's own: sockets of killed processes are closed by the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A local cluster on loopback, and a tiny world its workers can see."""
    world = tiny_world(tmp_path_factory.mktemp("world"), n_case=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGMET_CACHE", str(world / "cache"))
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        try:
            yield world
        finally:
            ray.shutdown()


@pytest.mark.soak  # a minute, most of which Ray takes to notice the loss; a killed run is resumed in test_run.py
def test_a_lost_worker_s_run_is_taken_over(cluster: Path, tmp_path: Path) -> None:
    run_jobs([tiny_job(cluster, cluster / "local", num_edits=4)])
    jobs = [tiny_job(cluster, tmp_path, num_edits=4), tiny_job(cluster, tmp_path, editor="random", num_edits=4)]
    found: list[Path] = []
    heard = Recorded()
    driver = threading.Thread(target=lambda: found.extend(run_on_ray(jobs, n_worker=2, progress=heard)))
    driver.start()
    _kill_a_worker_once_there_is_work_done(tmp_path, driver)
    driver.join(timeout=120)
    assert heard.events[-1].detail["workers_lost"] == 1, "the runs were over before a worker could be killed"
    assert [folder.parent.name for folder in found] == ["AlphaEdit", "random"]
    for folder in found:
        cases = [row["case_id"] for row in Table(folder / "cases.jsonl").rows]
        assert sorted(cases, key=int) == [str(n) for n in range(40)]
        batches = [row["batch"] for row in Table(folder / "batches.jsonl").rows]
        assert batches == list(range(10))
    assert_same_table(found[0], cluster / "local" / "AlphaEdit" / "run_000")


def test_what_a_job_raises_is_raised_here(cluster: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="settings file"):
        run_on_ray([tiny_job(cluster, tmp_path, hparams_fname="nothing.json")], n_worker=1)


def _kill_a_worker_once_there_is_work_done(out: Path, driver: threading.Thread) -> None:
    """Kill -9 one of the workers when both have a batch behind them."""
    tables = [out / editor / "run_000" / "batches.jsonl" for editor in ("AlphaEdit", "random")]
    while driver.is_alive():
        if all(table.is_file() and table.read_bytes().count(b"\n") >= 1 for table in tables):
            workers = [p for p in psutil.Process().children(recursive=True) if p.name().startswith("ray::_Worker")]
            if workers:
                os.kill(min(process.pid for process in workers), signal.SIGKILL)
                return
        time.sleep(0.002)
