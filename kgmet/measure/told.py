"""`ask_told`: ask the same questions of a model that is told the facts in context instead of being edited.

This is the baseline for every edit: a sentence before the question costs nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from kgmet.base.progress import Progress
from kgmet.fact import FactEdit
from kgmet.graph.consequence import Consequence, EditConsequences
from kgmet.graph.phrasing import N_PROBE_WORDINGS, fill, split_templates
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.triple import Triple
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import Side, unchanged
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding, ask_each_side
from kgmet.measure.question import Question

__all__ = [
    *("Told", "as_sentence", "ask_told", "fact_sentence", "following_sentences", "graph_sentences", "told_question"),
    *("MOST_TOLD", "triple_sentence"),
]

MOST_TOLD = 12
"""Most sentences of an edit besides the fact itself."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """The told sentences, and the answers to the questions after them, in order."""

    sentences: tuple[str, ...]
    answers: tuple[Answer, ...]


def fact_sentence(edit: FactEdit) -> str:
    """Return the new fact as a sentence: the edit's prompt with its new object."""
    return as_sentence(f"{edit.prompt} {edit.new_object}")


def triple_sentence(triple: Triple, catalogue: RelationCatalogue) -> str | None:
    """Return a triple as a sentence in the relation's first wording; ``None`` for a relation without words."""
    if triple.relation.id not in catalogue:
        return None
    return as_sentence(f"{fill(catalogue.spec(triple.relation.id).cloze[0], triple.subject)} {triple.object.label}")


def as_sentence(text: str) -> str:
    """Return the text with a full stop, unless it has one."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def graph_sentences(
    edit: FactEdit, consequences: EditConsequences | None, catalogue: RelationCatalogue
) -> tuple[str, ...]:
    """Return a sentence for each triple of the graph behind the edit's consequences.

    The model must combine them itself. Triples of the edit's own subject are left out.
    """
    triples = [triple for item in _forward(consequences) for triple in item.path_new]
    found = [
        triple_sentence(triple, catalogue)
        for triple in triples
        if triple.subject.id != edit.subject_id and triple.source != "edit"
    ]
    return tuple(dict.fromkeys(sentence for sentence in found if sentence))


def following_sentences(consequences: EditConsequences | None, *, leave: Collection[str] = ()) -> tuple[str, ...]:
    """Return the consequences of an edit, one sentence each, in wordings that no probe uses.

    These sentences state the answers. A consequence with a single wording is left out, because it would be asked in the
    same words. So is one whose id is in `leave`.
    """
    found = (_sentence(item) for item in _forward(consequences) if item.id not in leave)
    return tuple(dict.fromkeys(filter(None, found)))


def _forward(consequences: EditConsequences | None) -> tuple[Consequence, ...]:
    return () if consequences is None else consequences.forward


def _sentence(item: Consequence) -> str:
    told, _ = split_templates(item.templates, N_PROBE_WORDINGS)  # the others are held out for the probes
    return as_sentence(f"{item.text(told[0])} {item.new.label}") if told and item.new is not None else ""


def told_question(question: Question, sentences: Sequence[str]) -> Question:
    """Put the sentences before the question, in the same turn, separated by blanks."""
    return replace(question, text=" ".join([*sentences, question.text]))


def ask_told(
    lm: LoadedLM,
    questions: Sequence[Question],
    sentences: Sequence[str],
    *,
    side: Side = unchanged,
    decoding: Decoding | None = None,
    progress: Progress | None = None,
) -> Told:
    """Ask with sentences before each question; the answers refer to the questions without them.

    Form, chat template, names and verdict are the question's own, so these answers can be paired with others by
    `compare_answers`.

    Args:
        lm: the model, with any attached patches.
        questions: the questions.
        sentences: the sentences to tell.
        side: another change of the model (see `kgmet.lm.say.packed.ask_sides`).
        decoding: length and sampling of answers.
        progress: receives the progress.
    """
    told = [told_question(question, sentences) for question in questions]
    (found,) = ask_each_side(lm, told, [side], decoding=decoding, progress=progress)
    answers = (replace(answer, question=question) for answer, question in zip(found.answers, questions, strict=True))
    return Told(sentences=tuple(sentences), answers=tuple(answers))
