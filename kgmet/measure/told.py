"""`ask_told`: the same questions to a model that is told the facts in its context instead of being edited.

The baseline every edit is up against: a sentence in front of the question costs nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from kgmet.base.progress import Progress
from kgmet.fact import FactEdit
from kgmet.graph.consequence import Consequence, EditConsequences
from kgmet.graph.phrasing import split_templates
from kgmet.graph.reading.probe_prompts import QuestionConfig
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import Side, unchanged
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding, ask_each_side
from kgmet.measure.question import Question

__all__ = ["Told", "ask_told", "fact_sentence", "following_sentences", "told_text"]

_HELD = QuestionConfig().n_probe_only
"""Wordings of a consequence that the probes keep for themselves; none of them is told."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was told, and the answers to the questions that came after it, in order."""

    context: str
    answers: tuple[Answer, ...]


def fact_sentence(edit: FactEdit) -> str:
    """Return the edit as one sentence: its prompt, its new object, a full stop."""
    end = "" if edit.new_object.endswith((".", "!", "?")) else "."
    return f"{edit.prompt} {edit.new_object}{end}"


def following_sentences(
    consequences: EditConsequences | None, *, leave: Collection[str] = (), most: int = 12
) -> tuple[str, ...]:
    """Return what follows from an edit, a sentence each, in wordings that no probe asks.

    A consequence with a single wording is left out: told in the words of its question it would only be copied. So is
    one whose id is in `leave`.
    """
    forward = () if consequences is None else [item for item in consequences.forward if item.id not in leave]
    found = [sentence for item in forward if (sentence := _sentence(item))]
    return tuple(dict.fromkeys(found))[:most]


def _sentence(item: Consequence) -> str:
    told, _ = split_templates(item.templates, _HELD)
    return f"{item.text(told[0])} {item.new.label}." if told and item.new is not None else ""


def told_text(question: Question, context: str) -> str:
    """Return the text that is asked: the context, then the question in the same turn, on a line of its own.

    A text to continue goes on in the line of its context.
    """
    between = " " if question.is_cloze else "\n\n"
    return f"{context}{between}{question.text}"


def ask_told(
    lm: LoadedLM,
    questions: Sequence[Question],
    context: str,
    *,
    side: Side = unchanged,
    decoding: Decoding | None = None,
    progress: Progress | None = None,
) -> Told:
    """Ask as `ask` does, with `context` before each question; the answers are to the questions without it.

    Form, chat template, names and verdict are those of the question itself, so that these answers can be paired with
    others by `compare_answers`.

    Args:
        lm: the model with whatever is attached.
        questions: what is asked.
        context: sentences that are told.
        side: what else changes the model (see `kgmet.lm.say.packed.ask_sides`).
        decoding: how answers are written out.
        progress: hears how far it is.
    """
    told = [replace(question, text=told_text(question, context)) for question in questions]
    (found,) = ask_each_side(lm, told, [side], decoding=decoding, progress=progress)
    answers = (replace(answer, question=question) for answer, question in zip(found.answers, questions, strict=True))
    return Told(context=context, answers=tuple(answers))
