"""One question to three models: the unedited one, the edited one, and the unedited one that is told the facts."""

from __future__ import annotations

import time

from kgmet.base.progress import Progress
from kgmet.editing.context import EditContext
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import unchanged
from kgmet.measure.ask import Decoding, ask_each_side
from kgmet.measure.question import Form, Question
from kgmet.measure.sides import with_patches
from kgmet.measure.told import ask_told
from workbench.running import jobs
from workbench.screens.chat.values import KIND, Exchange
from workbench.shared.actions import context_of
from workbench.shared.told import Telling, what_is_told
from workbench.state.session import WorkbenchState

__all__ = ["KIND", "ask_all", "exchanges", "forget", "live_contexts"]

_MOST = 30
"""Exchanges that are kept."""


def exchanges(state: WorkbenchState) -> tuple[Exchange, ...]:
    """Return what was asked in this session so far, oldest first."""
    known = state.result(KIND)
    return () if known is None else known.value


def forget(state: WorkbenchState) -> None:
    """Forget the conversation."""
    state.keep(KIND, (), made_from=KIND)


def live_contexts(state: WorkbenchState, lm: LoadedLM) -> list[EditContext]:
    """Return what the graph says about every live edit."""
    config = state.config
    return [context_of(entry, config, edit) for entry in state.live(lm) for edit in entry.patch.edits]


def ask_all(state: WorkbenchState, lm: LoadedLM, text: str, telling: Telling, decoding: Decoding) -> str | None:
    """Start the job ``chat``: each question is asked on its own, all models with one seed."""
    entries = state.live(lm)
    patches = [entry.patch for entry in entries]
    question = Question.typed(text.strip(), form=Form.CHAT)

    def work(progress: Progress) -> None:
        begin = time.perf_counter()
        sentences = what_is_told(live_contexts(state, lm), telling)
        sides = ask_each_side(
            lm, [question], [unchanged, with_patches(patches, lm)], decoding=decoding, progress=progress
        )
        told = ask_told(lm, [question], sentences, decoding=decoding, progress=progress) if sentences else None
        made = Exchange(
            question=question,
            unedited=sides[0].answers[0],
            edited=sides[1].answers[0],
            told=told,
            telling=telling.value,
            edits=tuple(entry.name for entry in entries),
            decoding=decoding,
            seconds=time.perf_counter() - begin,
        )
        state.keep(KIND, (*exchanges(state), made)[-_MOST:], made_from=KIND)

    return jobs.start(KIND, work, state.session_id, title=f"Ask: {question.text}")
