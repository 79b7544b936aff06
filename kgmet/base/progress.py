"""Progress reports and cancellation of long work.

Pages, bars and terminals implement `Progress`; this module knows none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from kgmet.base.errors import Cancelled

__all__ = ["CancelFlag", "Progress", "ProgressEvent", "Quiet", "Silent", "Stage", "note"]


class Stage(StrEnum):
    """Every stage that long work reports. Who shows progress has words for each."""

    WAIT = "wait"
    DOWNLOAD = "download"
    CONVERT = "convert"
    EDITS = "edits"
    GRAPH = "graph"
    LOAD_MODEL = "load model"
    KEY_STATISTICS = "key statistics"
    KNOWN_FACTS = "known facts"
    LAYER_EFFECTS = "layer effects"
    CALIBRATE = "calibrate"
    FACT_INDEX = "fact index"
    CHECK_FORECAST = "check forecast"
    SEARCH = "search"
    WRITE = "write"
    MEASURE = "measure"
    PROBE = "probe"
    CARD = "card"
    COMPARISON = "comparison"
    EXPORT = "export"
    RECOMPUTE = "recompute"
    REMEDIES = "remedies"
    EVALUATE = "evaluate"
    TRACE = "trace"
    CAUSAL_TRACE = "causal trace"
    PATCHING = "patching"
    CONTRIBUTIONS = "contributions"
    SPECTRUM = "spectrum"
    DRIFT = "drift"
    COMPARE_WEIGHTS = "compare weights"
    RANK_SUBJECTS = "rank subjects"


@dataclass(frozen=True, kw_only=True)
class ProgressEvent:
    """One report of one stage.

    `done` counts from 0 to `total`; `total` is ``None`` where it is unknown. `detail` carries values of the stage, for
    example the loss terms at this step.
    """

    stage: Stage
    done: int
    total: int | None = None
    detail: Mapping[str, float | str] = field(default_factory=dict)


class Progress(Protocol):
    """Receiver of progress reports, which can also cancel the work."""

    def report(self, event: ProgressEvent) -> None:
        """Receive one event."""

    def check(self) -> None:
        """Raise `Cancelled` if the user asked to stop; called between steps, never inside one."""


class Silent:
    """Progress that reports nothing and is never cancelled."""

    def report(self, event: ProgressEvent) -> None:
        """Do nothing."""

    def check(self) -> None:
        """Do nothing: this work is never cancelled."""


class Quiet(Silent):
    """Progress of many small steps inside another's: it can cancel them, and only the outer one is shown."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def check(self) -> None:
        """Raise `Cancelled` if the outer work is to stop."""
        self._outer.check()


def note(progress: Progress, stage: Stage, text: str) -> None:
    """Report a remark about a stage, such as a retry with less memory."""
    progress.report(ProgressEvent(stage=stage, done=0, detail={"note": text}))


class CancelFlag:
    """A thread-safe flag: one thread sets it, another thread's `Progress.check` reads it."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Ask the work to stop at its next step."""
        self._set = True

    @property
    def is_set(self) -> bool:
        """Whether a stop was requested."""
        return self._set

    def check(self) -> None:
        """Raise `Cancelled` if the flag is set."""
        if self._set:
            raise Cancelled("Stopped as you asked. Nothing was applied.")
