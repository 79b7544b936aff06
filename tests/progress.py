"""`Recorded`: progress that keeps what was reported. `StopsAfter`: progress that cancels the work at a check."""

from __future__ import annotations

from collections.abc import Callable

from kgmet.base.errors import Cancelled
from kgmet.base.progress import ProgressEvent

__all__ = ["Recorded", "StopsAfter"]


class Recorded:
    """Keeps every event. Cancels at the first check at which `stops`, given this, is true."""

    def __init__(self, stops: Callable[[Recorded], bool] = lambda _: False) -> None:
        self.events: list[ProgressEvent] = []
        self._stops = stops

    def report(self, event: ProgressEvent) -> None:
        """Keep the event."""
        self.events.append(event)

    def check(self) -> None:
        """Cancel the work, if it is time to."""
        if self._stops(self):
            raise Cancelled("stopped by the test")

    @property
    def notes(self) -> list[str]:
        """Every remark."""
        return [str(event.detail["note"]) for event in self.events if "note" in event.detail]

    def done(self, stage: str) -> list[int]:
        """How far a stage was, report by report; remarks do not count."""
        return [event.done for event in self.events if event.stage == stage and "note" not in event.detail]

    def most(self, stage: str) -> int:
        """How far a stage came."""
        return max(self.done(stage), default=0)


class StopsAfter:
    """Cancels at the check after the first `n`; `done` is how far the work was, report by report."""

    def __init__(self, n: int) -> None:
        self.left, self.done = n, [0]

    def report(self, event: ProgressEvent) -> None:
        """Remember how far it was."""
        if "note" not in event.detail:
            self.done.append(event.done)

    def check(self) -> None:
        """Count down."""
        self.left -= 1
        if self.left < 0:
            raise Cancelled("stop")
