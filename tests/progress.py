"""`StopsAfter`: progress that cancels the work at one of its checks."""

from __future__ import annotations

from kgmet.base.errors import Cancelled
from kgmet.base.progress import ProgressEvent

__all__ = ["StopsAfter"]


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
