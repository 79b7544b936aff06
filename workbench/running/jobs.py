"""Background jobs: one worker for the process, and jobs that a reconnected browser finds again.

Streamlit stops a page's script at every click and drops it when the browser disconnects. So long work is submitted here
and runs on the one worker thread, because two searches at once would only halve each other's speed. Pages find a job by
its id or its session.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from queue import SimpleQueue
from typing import Any

import streamlit as st

from kgmet.base.errors import Cancelled, KgmetError
from kgmet.base.progress import CancelFlag, Progress, ProgressEvent, Stage

__all__ = [
    "BusyError",
    "Job",
    "JobRegistry",
    "JobState",
    "SERVER",
    "Work",
    "cancel",
    "forget",
    "has_unfinished",
    "is_benchmark_running",
    "job",
    "latest",
    "long_runs",
    "registry",
    "start",
    "submit",
]

LOG = logging.getLogger(__name__)
SERVER = "server"
"""Owner of jobs that belong to no session: what they make is for all."""
Work = Callable[[Progress], Any]
"""The function of a job; its return value is the job's value."""
MOST_WAITING = "KGMET_QUEUE"
"""Environment variable with the most jobs that may wait or run on this server at once."""
_QUEUE = 24
_MOST_EVENTS = 5000
_MOST_REMARKS = 20
_MOST_FINISHED = 200


class BusyError(KgmetError):
    """This browser session already has an unfinished job, or the server has as many as it takes."""


class JobState(Enum):
    """State of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "stopped"


@dataclass(eq=False, kw_only=True)
class Job:
    """One piece of work. The worker writes to it and pages only read it; it is constant after `is_finished`."""

    id: str
    kind: str
    session_id: str
    title: str = ""
    state: JobState = JobState.WAITING
    value: Any = None
    error: str = ""
    """Error message for display, if it failed."""
    events: dict[str, ProgressEvent] = field(default_factory=dict)
    """Latest event by stage, in order of the stages' start."""
    curve: list[Mapping[str, float | str]] = field(default_factory=list)
    """Details of every event of the stage ``search``: the terms of the loss, step by step."""
    queued_before: tuple[Job, ...] = field(default=(), repr=False)
    """Jobs that were unfinished at submission; empty once it runs."""
    remarks: list[str] = field(default_factory=list)
    """What its stages had to say, such as that less memory was used."""
    submitted: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    flag: CancelFlag = field(default_factory=CancelFlag)
    is_aside: bool = False
    """Whether it is work on the side, which ends as soon as a job is started that does not await it."""
    awaited: Job | None = field(default=None, repr=False)
    """The work on the side that goes on before this job, because it makes what this one uses."""

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended."""
        return self.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    @property
    def ahead(self) -> tuple[Job, ...]:
        """The unfinished jobs that run before it; empty once it runs."""
        return tuple(item for item in self.queued_before if not item.is_finished)

    @property
    def latest(self) -> ProgressEvent | None:
        """The most recent event; until there is one, that of the work it awaits."""
        found = next(reversed(self.events.values()), None)
        return self.awaited.latest if found is None and self.awaited is not None else found

    @property
    def seconds(self) -> float:
        """Running time in seconds."""
        return 0.0 if self.started is None else (self.ended or time.time()) - self.started


class _Recorder:
    """The `Progress` given to a job's function."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def report(self, event: ProgressEvent) -> None:
        """Store the event for the pages."""
        remark = event.detail.get("note")
        if isinstance(remark, str):
            self._job.remarks = [*self._job.remarks, remark][-_MOST_REMARKS:]
            return
        self._job.events.pop(event.stage, None)
        self._job.events[event.stage] = event
        if event.stage is Stage.SEARCH and "total" in event.detail and len(self._job.curve) < _MOST_EVENTS:
            self._job.curve.append(event.detail)

    def check(self) -> None:
        """Raise `Cancelled` if the user asked to stop."""
        self._job.flag.check()


class JobRegistry:
    """All jobs of the process and the worker that runs them one after the other; at most `most` wait or run."""

    def __init__(self, most: int = _QUEUE) -> None:
        self._most = most
        self._jobs: dict[str, Job] = {}
        self._queue: SimpleQueue[tuple[Job, Callable[[Progress], Any]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._worker = threading.Thread(target=self._work, name="kgmet-worker", daemon=True)
        self._worker.start()

    def submit(
        self,
        kind: str,
        function: Callable[[Progress], Any],
        session_id: str,
        *,
        title: str = "",
        is_aside: bool = False,
        awaits: str = "",
    ) -> str:
        """Queue `function(progress)`; see the module's `submit`."""
        with self._lock:
            active = [item for item in self._jobs.values() if not (item.is_finished or item.is_aside)]
            mine = next((item for item in active if item.session_id == session_id), None)
            if mine is not None and not is_aside:
                raise BusyError(
                    f"“{mine.title or mine.kind}” is still running. Wait for it, or stop it first. Nothing was changed."
                )
            if len(active) >= self._most:
                raise BusyError(
                    f"The server is full: {len(active)} jobs of its visitors wait or run. Nothing was changed. Try "
                    "again in a few minutes."
                )
            made = Job(
                id=secrets.token_hex(8),
                kind=kind,
                session_id=session_id,
                title=title,
                queued_before=tuple(active),
                is_aside=is_aside,
            )
            for item in self._jobs.values():
                if item.is_aside and not item.is_finished and (not is_aside or item.session_id == session_id):
                    if awaits and (item.session_id, item.kind) == (session_id, awaits) and not item.flag.is_set:
                        made.awaited = item
                    else:
                        item.flag.set()
            self._jobs[made.id] = made
            self._forget_oldest()
        self._queue.put((made, function))
        return made.id

    def job(self, job_id: str) -> Job | None:
        """Return the job with this id, or ``None`` if it is forgotten."""
        return self._jobs.get(job_id)

    def latest(self, session_id: str, kind: str | None = None) -> Job | None:
        """Return the session's most recent job, of one kind, or of any that is not on the side."""
        for item in reversed(list(self._jobs.values())):
            if item.session_id == session_id and (item.kind == kind or (kind is None and not item.is_aside)):
                return item
        return None

    def unfinished(self) -> list[Job]:
        """Return all jobs that wait or run, in order."""
        return [item for item in list(self._jobs.values()) if not item.is_finished]

    def forget(self, session_id: str) -> None:
        """Drop the finished jobs of a session that has ended, with their values."""
        with self._lock:
            gone = [one.id for one in self._jobs.values() if one.is_finished and _owner(one.session_id) == session_id]
            for job_id in gone:
                del self._jobs[job_id]

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop at its next step."""
        found = self._jobs.get(job_id)
        if found is not None:
            found.flag.set()
            if found.awaited is not None:
                found.awaited.flag.set()

    def _work(self) -> None:
        while True:
            item, function = self._queue.get()
            item.started = time.time()
            item.queued_before = ()
            item.state = JobState.RUNNING
            try:
                item.flag.check()
                item.value = function(_Recorder(item))
                state = JobState.DONE
            except Cancelled as error:
                item.error, state = str(error), JobState.CANCELLED
            except KgmetError as error:
                item.error, state = str(error), JobState.FAILED
            except Exception as error:  # the worker must survive any failure of a job
                LOG.exception("job %s (%s) failed", item.id, item.kind)
                item.error, state = (
                    f"Unexpected error: {type(error).__name__}. The log has details.",
                    JobState.FAILED,
                )
            item.ended = time.time()
            item.state = state
            del function, item  # else the last job's value lives until the next one comes

    def _forget_oldest(self) -> None:
        finished = [item.id for item in self._jobs.values() if item.is_finished]
        for job_id in finished[: max(0, len(finished) - _MOST_FINISHED)]:
            del self._jobs[job_id]


def _owner(queue: str) -> str:
    """Return the session that a queue belongs to: ``ID/look`` is a queue of the session ``ID``."""
    return queue.partition("/")[0]


def _most_waiting() -> int:
    asked = os.environ.get(MOST_WAITING, "").strip()
    return int(asked) if asked.isascii() and asked.isdigit() and 1 <= int(asked[:9]) <= 10_000 else _QUEUE


@st.cache_resource(show_spinner=False)
def registry() -> JobRegistry:
    """Return the registry of this process."""
    return JobRegistry(_most_waiting())


@st.cache_resource(show_spinner=False)
def long_runs() -> JobRegistry:
    """Return the queue of benchmark runs, which take minutes to hours and have a worker of their own."""
    return JobRegistry(_most_waiting())


def is_benchmark_running(*, but: Job) -> bool:
    """Return whether a benchmark other than this job is computing, which slows everything else down."""
    return any(item.state is JobState.RUNNING and item is not but for item in long_runs().unfinished())


def has_unfinished(session_id: str) -> bool:
    """Return whether a job of this session waits or runs."""
    every = [*registry().unfinished(), *long_runs().unfinished()]
    return any(_owner(item.session_id) == session_id for item in every)


def forget(session_id: str) -> None:
    """Drop what finished jobs of a session hold."""
    registry().forget(session_id)
    long_runs().forget(session_id)


def submit(
    kind: str,
    function: Callable[[Progress], Any],
    session_id: str,
    *,
    title: str = "",
    is_aside: bool = False,
    awaits: str = "",
) -> str:
    """Queue `function(progress)` for the worker and return the job's id.

    The function runs in the worker's thread. It attaches patches there, stores its results in the `SessionVault` itself
    (the browser may have disconnected by then), and must not call Streamlit.

    Args:
        kind: kind of job, for example ``edit`` or ``compare``; pages look for their own kind.
        function: the work; gets a `Progress` whose `check` raises `Cancelled` after Stop.
        session_id: the owner's session. A session has at most one unfinished job.
        title: display title.
        is_aside: whether it is work on the side, which ends as soon as any session submits a job.
        awaits: the kind of this session's work on the side that goes on first, because this job uses what it makes.

    Raises:
        BusyError: if the session has unfinished work; nothing is queued then.
    """
    return registry().submit(kind, function, session_id, title=title, is_aside=is_aside, awaits=awaits)


def start(
    kind: str, function: Work, session_id: str, *, title: str = "", is_aside: bool = False, awaits: str = ""
) -> str | None:
    """Submit a job from a button; return why nothing was queued, for display, or ``None``."""
    try:
        submit(kind, function, session_id, title=title, is_aside=is_aside, awaits=awaits)
    except BusyError as error:
        return str(error)
    return None


def job(job_id: str) -> Job | None:
    """Return the job with this id, or ``None`` if it is forgotten."""
    return registry().job(job_id)


def latest(session_id: str, kind: str | None = None) -> Job | None:
    """Return the session's most recent job, of one kind or of any, as a reconnected browser needs it."""
    return registry().latest(session_id, kind)


def cancel(job_id: str) -> None:
    """Ask a job to stop at its next step."""
    registry().cancel(job_id)
