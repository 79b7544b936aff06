"""Telling the model a fact in context instead of editing it: the choice, the sentences and the job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import streamlit as st

from kgmet.base.fingerprint import fingerprint_value, plain
from kgmet.base.progress import Progress
from kgmet.base.values import value_from
from kgmet.editing.context import EditContext
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.told import MOST_TOLD, Told, ask_told, fact_sentence, following_sentences, graph_sentences
from kgmet.write.patch import attached
from workbench.running import jobs
from workbench.running.resources import catalogue
from workbench.shared.actions import context_of
from workbench.state.kept import ResultCodec
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = [
    "CODEC",
    "RESULT",
    "Telling",
    "ToldEdit",
    "choose_telling",
    "form_caption",
    "tell",
    "told_of",
    "what_is_told",
]

RESULT = "told"
"""Job kind and name of the result."""


class Telling(Enum):
    """What is told. The value is the display text."""

    FACT = "the fact"
    """The edit as one sentence."""
    GRAPH = "with the graph's facts"
    """The same, and every fact of the graph behind the consequences; the model must combine them."""
    FOLLOWS = "with all that follows"
    """The same, and every consequence in words, which states the answers."""
    NOTHING = "nothing"
    """No third column."""


@dataclass(frozen=True, kw_only=True)
class ToldEdit:
    """Answers of the told model to the questions of one edit's report, in order."""

    entry_id: str
    telling: Telling
    told: Told


def what_is_told(contexts: Iterable[EditContext], telling: Telling) -> tuple[str, ...]:
    """Return the told sentences, in order; none if nothing is told."""
    if telling is Telling.NOTHING:
        return ()
    found: list[str] = []
    for context in contexts:
        found.append(fact_sentence(context.edit))
        if telling is Telling.GRAPH:
            found += graph_sentences(context.edit, context.consequences, catalogue())[:MOST_TOLD]
        if telling is Telling.FOLLOWS:
            found += following_sentences(context.consequences, leave=context.left)[:MOST_TOLD]
    return tuple(dict.fromkeys(found))


def choose_telling(key: str, *, offers: Iterable[Telling] = Telling) -> Telling:
    """Let the user choose what the unedited model is told, in one row of buttons."""
    options = list(offers)
    chosen = st.segmented_control(
        "Tell it instead",
        options,
        default=options[0],
        required=True,
        format_func=lambda telling: telling.value,
        key=key,
        help="A third answer: the model without this edit, with sentences before each question. No weight is written.",
    )
    return chosen or options[0]


def form_caption(sentences: Sequence[str]) -> None:
    """Show the exact form of the question, in words and as text."""
    n = len(sentences)
    st.caption(
        f"Told: {'this sentence stands' if n == 1 else f'these {n} sentences stand'} before the question, in the same "
        "turn of the user. Chat template, questions and verdicts are those of the other columns."
    )
    st.code(" ".join([*sentences, "‹question›"]), language=None, wrap_lines=True)


def tell(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, telling: Telling) -> str | None:
    """Start the job ``told``: ask an edit's questions of the model without the edit, told the facts."""
    report, config = entry.report, state.config
    if report is None or entry.edit is None:
        return "Nothing was measured when this edit was made. Ask it on the Probe page."
    edit, earlier = entry.edit, state.live_patches(lm, before=entry.id)
    made_from = _made_from(state, lm, entry)
    questions = [answer.question for answer in report.before_answers]

    def work(progress: Progress) -> None:
        sentences = what_is_told([context_of(entry, config, edit)], telling)
        with attached(earlier, lm):
            told = ask_told(lm, questions, sentences, progress=progress)
        state.keep(RESULT, ToldEdit(entry_id=entry.id, telling=telling, told=told), made_from=made_from)

    return jobs.start(RESULT, work, state.session_id, title=f"Tell it instead: {entry.name}")


def told_of(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> ToldEdit | None:
    """Return the told model's answers to this edit's questions, if they are still valid or came with it from a link."""
    known = state.result_of(entry, RESULT, _made_from(state, lm, entry))
    if known is None or entry.report is None:
        return None
    found: ToldEdit = known.value
    return found if len(found.told.answers) == len(entry.report.before_answers) else None


def _to_json(kept: ToldEdit) -> dict[str, Any]:
    return {"entry": kept.entry_id, "telling": kept.telling.name, "told": plain(kept.told)}


def _from_json(data: Mapping[str, Any]) -> ToldEdit:
    telling, named = Telling[data["telling"]].value, {**data, "entry_id": data["entry"]}
    return value_from(ToldEdit, {**named, "telling": telling}, "Nothing was told")


CODEC = ResultCodec(name=RESULT, what="What the told model answered", to_json=_to_json, from_json=_from_json)


def _made_from(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> str:
    return fingerprint_value([lm.fingerprint, entry.id, [item.id for item in state.live(lm, before=entry.id)]])
