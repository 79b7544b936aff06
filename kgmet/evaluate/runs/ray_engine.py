"""`run_on_ray`: the runs of a sweep on a Ray cluster. Each worker holds a model; a lost worker's run is taken over.

A run lives in its folder, so whoever takes it over goes on after the last case that reached the disk: nothing is
repeated, and what was under way is done again. The output folder must be one all machines see.
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
"""Of one job; more often it is the job that kills its workers."""


def run_on_ray(
    jobs: Sequence[Job], *, address: str | None = None, n_worker: int = 2, progress: Progress | None = None
) -> list[Path]:
    """Do all jobs on a cluster; returns their folders, in order.

    Args:
        jobs: what to do; their output folder must be visible to every worker.
        address: of a running cluster; without one a local cluster is started and stopped again. A cluster this process
            is connected to already is used and left running.
        n_worker: most workers at a time.
        progress: hears how many cases all jobs have finished, and can cancel between polls.

    Raises:
        ConfigError: if Ray is not installed, or a job has lost five workers.
        KgmetError: what a job raised.
    """
    try:
        # By name, because Ray is an extra: whoever installs the workbench does without.
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
    """Lives in a process of its own and keeps its model between jobs."""

    def __init__(self) -> None:
        self._resources = Resources()

    def do(self, job: Job) -> str:
        """Do a job, or go on with it."""
        return str(self._resources.do(job))

    def pid(self) -> int:
        """Of its process."""
        return os.getpid()


class _Pool:
    """Hands jobs to workers until all are done."""

    def __init__(self, ray: Any, jobs: Sequence[Job], n_worker: int, progress: Progress) -> None:
        self._ray = ray
        self._jobs = list(jobs)
        self._waiting = list(range(len(jobs)))
        self._losses = [0] * len(jobs)
        self._n_worker = min(n_worker, len(jobs))
        self._progress = progress
        self._running: dict[Any, tuple[int, Any]] = {}

    def go(self) -> list[Path]:
        """Until every job is done."""
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
        """Return a free worker: the one that did the job, or a new one in place of one that was lost."""
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
