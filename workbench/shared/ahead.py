"""The search for the typed fact, made on the side while a person reads what follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable

from kgmet.base.progress import Progress
from kgmet.editing.context import EditContext
from kgmet.editing.plan import SearchedEdits
from kgmet.editing.session import EditSession
from workbench.running import jobs
from workbench.running.jobs import JobState
from workbench.state.session import WorkbenchState

__all__ = ["KIND", "found", "kind_of", "start"]

KIND = "ahead"
"""Name of the result, and beginning of the job's kind."""
_PAUSE = 0.1
"""Seconds before it begins, so that the browser draws the preview first."""
_LOOK = 0.05
"""Seconds between looks for a reason to stop during the pause."""


def start(
    state: WorkbenchState, session_of: Callable[[], EditSession], context: EditContext, *, made_from: str
) -> None:
    """Search on the side, unless that was done; nothing is attached or shown.

    Any other job stops it, except one that awaits it.

    Args:
        state: the visitor's session.
        session_of: returns its live edits and settings; called only if a search begins.
        context: the fact.
        made_from: fingerprint of everything the search depends on.
    """
    kind = kind_of(made_from)
    known = state.job(kind)
    if state.is_busy or found(state, made_from) is not None:
        return
    if known is not None and known.state is not JobState.CANCELLED:
        return
    session = session_of()

    def work(progress: Progress) -> None:
        end = time.monotonic() + _PAUSE
        while time.monotonic() < end and not state.is_busy:
            progress.check()
            time.sleep(_LOOK)
        progress.check()
        state.keep(KIND, session.search([context], progress=progress), made_from=made_from)

    jobs.start(kind, work, state.session_id, is_aside=True)


def kind_of(made_from: str) -> str:
    """Return the kind of the job that searches for these inputs."""
    return f"{KIND} {made_from}"


def found(state: WorkbenchState, made_from: str) -> SearchedEdits | None:
    """Return what was found for these inputs; ``None`` if nothing, or for others."""
    known = state.fresh(KIND, made_from)
    if known is None:
        return None
    searched: SearchedEdits = known.value
    return searched
