"""The edit of the typed fact, made on the side while a person reads what follows from it, and shown after Apply."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kgmet.base.progress import Progress
from kgmet.editing.context import EditContext
from kgmet.editing.plan import SearchedEdits
from kgmet.editing.session import Edited, EditSession
from kgmet.measure.compare import AnswerPair
from workbench.running import jobs
from workbench.running.jobs import JobState
from workbench.state.session import WorkbenchState

__all__ = ["KIND", "first_answers", "found", "kind_of", "made", "start"]

KIND = "ahead"
"""Name of the search as a result, and beginning of the job's kind."""
_MADE = "ahead-made"
"""Name of the whole edit as a result."""
_FIRST = "ahead-first"
"""Name of the answers to the edit's own prompt as a result."""
_PAUSE = 0.1
"""Seconds before it begins, so that the browser draws the preview first."""
_LOOK = 0.05
"""Seconds between looks for a reason to stop during the pause."""


def start(
    state: WorkbenchState,
    session_of: Callable[[], EditSession],
    context: EditContext,
    *,
    made_from: str,
) -> None:
    """Make the edit on the side, unless that was done; nothing stays attached, is shown or enters the ledger.

    Any other job stops it, except one that awaits it.

    Args:
        state: the visitor's session.
        session_of: returns its live edits and settings; called only if a search begins.
        context: the fact.
        made_from: fingerprint of everything the edit depends on.
    """
    kind = kind_of(made_from)
    known = state.job(kind)
    if state.is_busy or made(state, made_from) is not None:
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
        searched = found(state, made_from) or session.search([context], progress=progress)
        state.keep(KIND, searched, made_from=made_from)
        edited = session.edit_prepared([context], searched=searched, on_answer=answered, progress=progress)
        state.keep(_MADE, edited, made_from=made_from)

    def answered(pair: AnswerPair) -> None:
        state.keep(_FIRST, pair, made_from=made_from)

    jobs.start(kind, work, state.session_id, is_aside=True)


def kind_of(made_from: str) -> str:
    """Return the kind of the job that makes the edit of these inputs."""
    return f"{KIND} {made_from}"


def found(state: WorkbenchState, made_from: str) -> SearchedEdits | None:
    """Return the search for these inputs; ``None`` if there was none, or only for others."""
    searched: SearchedEdits | None = _known(state, KIND, made_from)
    return searched


def made(state: WorkbenchState, made_from: str) -> Edited | None:
    """Return the edit that was made for these inputs; ``None`` if none was, or only for others."""
    edited: Edited | None = _known(state, _MADE, made_from)
    return edited


def first_answers(state: WorkbenchState, made_from: str) -> AnswerPair | None:
    """Return the answers to the own prompt of the edit that is being made for these inputs, once they are known."""
    pair: AnswerPair | None = _known(state, _FIRST, made_from)
    return pair


def _known(state: WorkbenchState, name: str, made_from: str) -> Any:
    known = state.fresh(name, made_from)
    return None if known is None else known.value
