"""`run_on_ray`: the runs of a sweep on a Ray cluster; the run of a lost worker is continued by another.

A run is stored in its folder, so another worker continues after the last case on disk and repeats only unfinished work.
All machines must see the output folder.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kgmet.base.errors import ConfigError, KgmetError
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.evaluate.runs.engine import Job, Resources

__all__ = ["run_on_ray"]

_POLL_SECONDS = 1.0
_MAX_LOSSES = 5
"""Most lost workers per job; beyond that the job itself is the likely cause."""


def run_on_ray(
    jobs: Sequence[Job], *, address: str | None = None, n_worker: int = 2, progress: Progress | None = None
) -> list[Path]:
    """Run all jobs on a cluster and return their folders, in order.

    Args:
        jobs: the jobs; their output folder must be visible to every worker.
        address: of a running cluster; without one a local cluster is started and stopped again. A cluster this process
            is connected to already is used and left running.
        n_worker: most workers at a time.
        progress: receives the number of finished cases of all jobs, and can cancel between polls.

    Raises:
        ConfigError: if Ray is not installed, or a job has lost five workers.
        KgmetError: what a job raised.
    """
    try:
        # Imported by name because Ray is an optional dependency.
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError("Ray is not installed. Install it with 'pip install ray', or use --engine local.") from error
    is_own = not ray.is_initialized()
    if is_own:
        ray.init(
            address=address,
            num_cpus=None if address else max(n_worker, os.cpu_count() or 1),
            include_dashboard=False if address is None else None,
            log_to_driver=False,
        )
    try:
        return _Pool(ray, [job.begun() for job in jobs], n_worker, progress or Silent()).go()
    finally:
        if is_own:
            ray.shutdown()


class _Worker:
    """A worker process that keeps its model between jobs."""

    def __init__(self) -> None:
        self._resources = Resources()

    def do(self, job: Job) -> str:
        """Run or continue a job."""
        return str(self._resources.do(job))

    def pid(self) -> int:
        """Return the process id."""
        return os.getpid()


class _Pool:
    """Scheduler that gives jobs to workers."""

    def __init__(self, ray: Any, jobs: Sequence[Job], n_worker: int, progress: Progress) -> None:
        self._ray = ray
        self._jobs = list(jobs)
        self._waiting = list(range(len(jobs)))
        self._losses = [0] * len(jobs)
        self._n_worker = min(n_worker, len(jobs))
        self._progress = progress
        self._running: dict[Any, tuple[int, Any]] = {}

    def go(self) -> list[Path]:
        """Run until every job is done."""
        idle = [self._new_worker() for _ in range(self._n_worker)]
        while self._waiting or self._running:
            while self._waiting and idle:
                number, worker = self._waiting.pop(0), idle.pop()
                self._running[worker.do.remote(self._jobs[number])] = number, worker
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_POLL_SECONDS)
            for reference in done:
                idle.append(self._finished(reference))
            self._report()
            self._progress.check()
        return [job.folder for job in self._jobs if job.folder is not None]

    def _finished(self, reference: Any) -> Any:
        """Return a free worker: the one that finished the job, or a replacement for a lost one."""
        number, worker = self._running.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            self._losses[number] += 1
            if self._losses[number] >= _MAX_LOSSES:
                raise ConfigError(
                    f"{self._jobs[number].folder} has lost {_MAX_LOSSES} workers: {error}. Its model may not fit into "
                    "the workers' memory; use fewer workers."
                ) from error
            self._waiting.insert(0, number)
            return self._new_worker()
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, KgmetError) else error) from None
        return worker

    def _new_worker(self) -> Any:
        return self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Worker).remote()

    def _report(self) -> None:
        tables = [job.folder / "cases.jsonl" for job in self._jobs if job.folder is not None]
        done = sum(table.read_bytes().count(b"\n") for table in tables if table.is_file())
        detail: dict[str, float | str] = {
            "doing": "cases",
            "run": f"{len(self._running)} workers",
            "workers_lost": float(sum(self._losses)),
        }
        self._progress.report(ProgressEvent(stage=Stage.EVALUATE, done=done, detail=detail))
