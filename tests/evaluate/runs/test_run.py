"""Runs over many edits: the same again, resumed wherever they were killed, one batch or many."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kgmet.base.errors import Cancelled, StaleArtifactError
from kgmet.base.progress import Stage
from kgmet.editing.defaults import scaled_layers
from kgmet.editing.editors import editor_named
from kgmet.evaluate.datasets.cases import EvalCase
from kgmet.evaluate.runs.engine import Resources, run_jobs
from kgmet.evaluate.runs.folder import Table, read_settings
from kgmet.evaluate.runs.run import plan_batches
from kgmet.evaluate.tables.render import compare_runs, latex_table, markdown_table
from kgmet.evaluate.tables.summary import summarize_run
from kgmet.fact import FactEdit
from tests.evaluate.records import counterfact, written
from tests.evaluate.world import tiny_job, tiny_world
from tests.progress import Recorded
from tests.tiny_models import tiny_model

ROOT = Path(__file__).parents[3]
N_CASE = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_world(tmp_path_factory.mktemp("world"), n_case=N_CASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGMET_CACHE", str(folder / "cache"))
        run_jobs([tiny_job(folder, folder / "whole")])
        yield folder


@pytest.fixture(autouse=True)
def cache(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGMET_CACHE", str(world / "cache"))


def whole_run(world: Path) -> Path:
    return world / "whole" / "AlphaEdit" / "run_000"


def rows(folder: Path) -> list[dict[str, Any]]:
    return sorted(Table(folder / "cases.jsonl", is_shared=True).rows, key=lambda row: row["position"])


def assert_same_table(one: Path, other: Path) -> None:
    """Every decision the same, every number up to the rounding of another order of sums."""
    first, second = rows(one), rows(other)
    assert [row["case_id"] for row in first] == [row["case_id"] for row in second]
    for a, b in zip(first, second, strict=True):
        for ask_a, ask_b in zip(a["asks"], b["asks"], strict=True):
            for state in ("before", "after"):
                x, y = ask_a[state], ask_b[state]
                assert (x["preferred"], x["first"], x["said"], x["text"]) == (
                    y["preferred"],
                    y["first"],
                    y["said"],
                    y["text"],
                )
                assert x["logprob"] == pytest.approx(y["logprob"], abs=1e-4)
        assert a["after"]["texts"] == b["after"]["texts"]


def test_every_case_is_scored_once_before_and_after(world: Path) -> None:
    found = rows(whole_run(world))
    assert [row["position"] for row in found] == list(range(N_CASE))
    assert [row["batch"] for row in found] == [n // 2 for n in range(N_CASE)]
    assert any(ask["before"]["logprob"] != ask["after"]["logprob"] for row in found for ask in row["asks"])


def test_edits_move_towards_the_new_object(world: Path) -> None:
    efficacy = [ask for row in rows(whole_run(world)) for ask in row["asks"] if ask["kind"] == "efficacy"]
    gained = [ask["after"]["logprob"] - ask["before"]["logprob"] for ask in efficacy]
    assert sum(gained) / len(gained) > 0


def test_the_same_seed_gives_the_same_table(world: Path, tmp_path: Path) -> None:
    (again,) = run_jobs([tiny_job(world, tmp_path)])
    assert_same_table(again, whole_run(world))


@pytest.mark.parametrize(("table", "lines"), [("batches.jsonl", 2), ("cases.jsonl", 1)])
def test_killed_and_resumed_is_as_if_never_killed(table: str, lines: int, world: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from kgmet.evaluate.runs.engine import run_jobs;"
        "from tests.evaluate.world import tiny_job; run_jobs([tiny_job(Path(sys.argv[1]), Path(sys.argv[2]))])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(world), str(tmp_path)], cwd=ROOT, env=dict(os.environ)
    )
    watched = tmp_path / "AlphaEdit" / "run_000" / table
    try:
        while process.poll() is None and not (watched.is_file() and watched.read_bytes().count(b"\n") >= lines):
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    begun = watched.read_bytes()
    assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    (folder,) = run_jobs([tiny_job(world, tmp_path, continue_from_run="run_000")])
    assert watched.read_bytes().startswith(begun[: begun.rfind(b"\n") + 1]), "what was done is not done again"
    assert_same_table(folder, whole_run(world))


def test_a_patch_that_was_not_finished_is_made_again(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "AlphaEdit" / "run_000"
    shutil.copytree(whole_run(world), folder)
    for table, keep in (("batches.jsonl", 3), ("cases.jsonl", 0)):
        lines = (folder / table).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / table).write_text("".join(lines[:keep]), encoding="utf-8")
    (folder / "patches" / "00003" / "patch.json").unlink()
    run_jobs([tiny_job(world, tmp_path, continue_from_run="run_000")])
    assert_same_table(folder, whole_run(world))


def test_a_finished_run_is_left_alone(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "AlphaEdit" / "run_000"
    shutil.copytree(whole_run(world), folder)
    before = {path: path.read_bytes() for path in folder.rglob("*.json*")}
    run_jobs([tiny_job(world, tmp_path, continue_from_run="run_000")])
    assert {path: path.read_bytes() for path in folder.rglob("*.json*")} == before


def test_other_settings_do_not_continue_a_run(world: Path, tmp_path: Path) -> None:
    shutil.copytree(whole_run(world), tmp_path / "AlphaEdit" / "run_000")
    with pytest.raises(StaleArtifactError, match="num_edits"):
        run_jobs([tiny_job(world, tmp_path, continue_from_run="run_000", num_edits=3)])


def test_alone_every_batch_starts_from_the_unedited_model(world: Path, tmp_path: Path) -> None:
    (alone,) = run_jobs([tiny_job(world, tmp_path, alone=True, dataset_size_limit=4)])
    (first,) = run_jobs([tiny_job(world, tmp_path / "one", dataset_size_limit=2)])
    assert_same_table_of_after(rows(alone)[:2], rows(first))
    assert len(rows(alone)) == 4


def assert_same_table_of_after(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """Of what both asked: with more cases, more neighbours are edited by another and not asked."""
    for a, b in zip(one, other, strict=True):
        found = {ask["prompt"]: ask["after"]["logprob"] for ask in b["asks"]}
        both = [ask for ask in a["asks"] if ask["prompt"] in found]
        assert {"efficacy", "paraphrase"} <= {ask["kind"] for ask in both}
        assert [ask["after"]["logprob"] for ask in both] == pytest.approx(
            [found[ask["prompt"]] for ask in both], abs=1e-4
        )


def test_a_cancelled_run_goes_on_later_and_says_how_long_it_takes(world: Path, tmp_path: Path) -> None:
    stopper = Recorded(lambda so_far: any(event.done >= 2 for event in so_far.events))
    with pytest.raises(Cancelled):
        run_jobs([tiny_job(world, tmp_path)], progress=stopper)
    assert not (tmp_path / "AlphaEdit" / "run_000" / "cases.jsonl").exists()
    heard = Recorded()
    (folder,) = run_jobs([tiny_job(world, tmp_path, continue_from_run="run_000")], progress=heard)
    assert_same_table(folder, whole_run(world))
    own = [event for event in heard.events if event.stage is Stage.EVALUATE]
    assert [event.done for event in own] == sorted(event.done for event in own)
    assert own[-1].done == own[-1].total
    assert own[-1].detail["seconds_left"] == 0
    assert own[-1].detail["run"] == "AlphaEdit/run_000"


def test_scores_of_the_unedited_model_are_shared_between_runs(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "whole" / "before", tmp_path / "before")
    (kept,) = (tmp_path / "before").iterdir()
    size = kept.stat().st_size
    run_jobs([tiny_job(world, tmp_path, num_edits=N_CASE)])
    assert kept.stat().st_size == size


def test_cases_that_contradict_each_other_are_not_edited_together() -> None:
    def case(name: str, new: str) -> EvalCase:
        edit = FactEdit(subject="Big Ben", template="{} is in", new_object=new)
        return EvalCase(case_id=name, edits=(edit,), asks=())

    cases = [case("1", "Rome"), case("2", "Rome"), case("3", "Paris"), case("4", "Paris")]
    assert plan_batches(cases, 4) == [(0, 1), (2, 3)]
    assert plan_batches(cases, 1) == [(0,), (1,), (2,), (3,)]
    assert plan_batches([], 3) == []


def test_the_summary_counts_what_the_rows_say(world: Path) -> None:
    summary = summarize_run(whole_run(world))
    found = rows(whole_run(world))
    for kind in ("efficacy", "paraphrase", "neighborhood"):
        for state in ("before", "after"):
            asks = [ask[state] for row in found for ask in row["asks"] if ask["kind"] == kind]
            metric = summary.metrics[kind][state]
            assert metric["n"] == len(asks)
            assert metric["preferred"] == pytest.approx(sum(ask["preferred"] for ask in asks) / len(asks))
            assert metric["first"] == pytest.approx(sum(ask["first"] for ask in asks) / len(asks))
            low, high = metric["interval"]
            assert low <= metric["preferred"] <= high
    assert summary.n_edits == N_CASE
    assert summary.seconds_per_edit is not None
    assert summary.metrics["perplexity"]["before"]["value"] > 1
    assert summary.metrics["perplexity"]["after"]["value"] != summary.metrics["perplexity"]["before"]["value"]
    assert set(summary.by_relation) == {"P131"}


def test_rows_have_the_shape_that_was_promised(world: Path) -> None:
    row = json.loads(json.dumps(summarize_run(whole_run(world)).to_json()))
    assert {"editor", "dataset", "n_edits", "seconds_per_edit", "metrics"} <= set(row)
    metrics = row["metrics"]
    for name in ("efficacy", "paraphrase", "neighborhood", "consequences"):
        for state in ("before", "after"):
            assert {"preferred", "first", "n", "interval"} <= set(metrics[name][state])
    for name in ("score", "fluency", "consistency", "perplexity"):
        assert {"before", "after"} <= set(metrics[name])


def test_tables_show_every_run_and_the_model_it_began_with_once(world: Path, tmp_path: Path) -> None:
    (other,) = run_jobs([tiny_job(world, tmp_path, editor="random")])
    summaries = [summarize_run(whole_run(world)), summarize_run(other)]
    lines = [line for line in markdown_table(summaries).splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[1] for line in lines[2:]] == ["before", "after", "after"]
    assert latex_table(summaries).count(r"\\") == 4
    tests = compare_runs(*summaries)
    assert {test.metric for test in tests} == {"efficacy", "paraphrase", "neighborhood"}
    for test in tests:
        assert -1 <= test.interval[0] <= test.difference <= test.interval[1] <= 1


def test_a_run_compared_with_itself_differs_in_nothing(world: Path) -> None:
    summary = summarize_run(whole_run(world))
    for test in compare_runs(summary, replace(summary, name="again")):
        assert (test.difference, test.only_first, test.only_second, test.p) == (0.0, 0, 0, 1.0)


def test_one_model_serves_all_jobs_of_a_sweep(world: Path, tmp_path: Path) -> None:
    resources = Resources()
    jobs = [tiny_job(world, tmp_path, editor=name, dataset_size_limit=2) for name in ("AlphaEdit", "random")]
    folders = [resources.do(job) for job in jobs]
    lm, _ = resources.model(jobs[0].options, Recorded())
    assert resources.model(jobs[1].options, Recorded())[0] is lm
    assert [folder.parent.name for folder in folders] == ["AlphaEdit", "random"]


def test_without_a_settings_file_the_layers_are_those_the_editor_has_for_the_model(world: Path, tmp_path: Path) -> None:
    (folder,) = run_jobs([tiny_job(world, tmp_path, editor="MEMIT", hparams_fname=None, dataset_size_limit=1)])
    n_layer = tiny_model("llama").config.num_hidden_layers
    own = editor_named("MEMIT").config.write.layers
    layers = read_settings(folder)["settings"]["config"]["write"]["layers"]
    assert layers == list(scaled_layers(own, n_layer)) != list(own)


def test_editors_with_and_without_a_graph_are_asked_the_same_questions(world: Path, tmp_path: Path) -> None:
    found = []
    record = counterfact(0)
    path = written(tmp_path / "cases.json", [record])
    for no_graph in (True, False):
        (folder,) = run_jobs([tiny_job(world, tmp_path / str(no_graph), ds_path=path, no_graph=no_graph)])
        (row,) = rows(folder)
        found.append([ask["prompt"] for ask in row["asks"] if ask["kind"] == "multi_hop_chat"])
        summary = summarize_run(folder).metrics["multi_hop_chat"]
        assert summary["before"]["n_generated"] == summary["after"]["n_generated"] == len(found[-1])
    assert found[0] == found[1] and 0 < len(found[0]) <= 4


def test_in_context_writes_nothing_and_says_the_fact_before_every_prompt(world: Path, tmp_path: Path) -> None:
    job = tiny_job(world, tmp_path, "in-context")
    (folder,) = run_jobs([job])
    assert not list(folder.glob("patches/*"))
    batches = Table(folder / "batches.jsonl", is_shared=True).rows
    told = {key: sentences for row in batches for key, sentences in row["told"].items()}
    table = rows(folder)
    assert set(told) == {str(row["case_id"]) for row in table}
    assert all(len(sentences) == 1 and sentences[0].endswith(".") for sentences in told.values())
    before = len(batches)
    (again,) = run_jobs([tiny_job(world, tmp_path, "in-context", continue_from_run=folder.name)])
    assert len(Table(again / "batches.jsonl", is_shared=True).rows) == before
    assert summarize_run(folder).to_json()
