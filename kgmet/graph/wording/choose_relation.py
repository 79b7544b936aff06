"""The choice of an edit's relation: the named one, or the best guess from its wording and its entities."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from kgmet.base.errors import UnknownRelationError
from kgmet.graph.relations import RelationCatalogue, RelationSpec, spelled
from kgmet.graph.store import TripleStore
from kgmet.graph.wording.guess_relation import SURE, guess_relation

__all__ = ["Evidence", "Origin", "RelationChoice", "choose_relation", "relation_named"]

Origin = Literal["given", "guessed", "unknown"]
"""Origin of an edit's relation."""
_FROM_NAME = 0.4
"""Weight of an unknown relation name in a guess; the rest is the prompt's."""


@dataclass(frozen=True, kw_only=True)
class RelationChoice:
    """The relation of an edit, and how it was found.

    `id` is ``None`` if none fits; `spec` is also ``None`` if only the store knows the relation. `score` is 1 for a
    given relation, the guess's score for a guessed one and 0 for an unknown one. `guesses` are best first. `asked` is
    the edit's own name for its relation, ``None`` if it names none.
    """

    id: str | None
    spec: RelationSpec | None
    origin: Origin
    score: float
    guesses: tuple[tuple[RelationSpec, float], ...] = ()
    asked: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The graph's evidence on an edit's entities, for the choice of its relation.

    `held` are the ids of the relations of the subject's facts, `stated` those of its facts with the old object;
    `object_relations` is the share of each relation among the facts that end at the object.
    """

    held: frozenset[str] = frozenset()
    stated: frozenset[str] = frozenset()
    subject_types: frozenset[str] = frozenset()
    object_types: frozenset[str] = frozenset()
    object_relations: Mapping[str, float] = field(default_factory=dict)

    def guess(self, catalogue: RelationCatalogue, text: str) -> tuple[tuple[RelationSpec, float], ...]:
        """Return the relations that a text may express."""
        return guess_relation(
            catalogue,
            text,
            subject_relations=self.held,
            stated=self.stated,
            subject_types=self.subject_types,
            object_types=self.object_types,
            object_relations=self.object_relations,
        )


def choose_relation(
    catalogue: RelationCatalogue, store: TripleStore, *, asked: str | None, template: str, evidence: Evidence
) -> RelationChoice:
    """Choose the relation named `asked`, or else the one that `template` expresses.

    A name unknown to catalogue and store is guessed from its words and those of the template. Within a family, a
    relation of the subject's own facts is preferred, if it fits the new object.
    """
    spec = None if asked is None else catalogue.named(asked)
    if spec is not None:
        own = ((spec, 1.0),)
        given = RelationChoice(id=spec.id, spec=spec, origin="given", score=1.0, guesses=own, asked=asked)
        return _of_family(given, catalogue, evidence)
    if asked is not None and _is_in(store, asked):
        return RelationChoice(id=asked, spec=None, origin="given", score=1.0, asked=asked)
    guesses = evidence.guess(catalogue, template)
    if asked is not None:
        guesses = _mixed(guesses, evidence.guess(catalogue, spelled(asked)))
    choice = RelationChoice(id=asked, spec=None, origin="unknown", score=0.0, guesses=guesses, asked=asked)
    if guesses and guesses[0][1] >= SURE:
        spec, score = guesses[0]
        choice = replace(choice, id=spec.id, spec=spec, origin="guessed", score=score)
        choice = _of_family(choice, catalogue, evidence)
    if asked is not None:
        taken = f"guessed from the wording: {choice.spec.label} ({choice.score:.2f})" if choice.spec else "none fits"
        said = f"The catalogue knows no relation {asked!r}; {taken}."
        choice = replace(choice, notes=(said, *choice.notes))
    return choice


def relation_named(catalogue: RelationCatalogue, text: str, *, store: TripleStore | None = None) -> str:
    """Return the id of the relation that a user names by id, label, alias or description.

    Raises:
        UnknownRelationError: if neither catalogue nor store has one; the message names similar ones.
    """
    spec = catalogue.named(text)
    if spec is not None:
        return spec.id
    if store is not None and _is_in(store, text):
        return text
    guesses = guess_relation(catalogue, text if "{}" in text else "{} " + spelled(text))
    if guesses and guesses[0][1] >= SURE:
        return guesses[0][0].id
    labels = [spec.label for spec in catalogue]
    near = difflib.get_close_matches(spelled(text), labels, n=3, cutoff=0.4) or labels[:3]
    raise UnknownRelationError(
        f"There is no relation {text!r}. Similar ones: {', '.join(near)}. Or give an id such as P36."
    )


def _of_family(choice: RelationChoice, catalogue: RelationCatalogue, evidence: Evidence) -> RelationChoice:
    """Return the choice, or a relation of its family that occurs in the subject's facts."""
    spec, kinds = choice.spec, evidence.object_types
    if spec is None or spec.id in evidence.held:
        return choice
    fitting = [
        other
        for other in catalogue.family_of(spec.id)
        if other.id in evidence.held
        and other.object_types & spec.object_types
        and (not kinds or kinds & other.object_types)
    ]
    if not fitting:
        return choice
    other = fitting[0]
    note = f"The graph says it of this subject as {other.label!r}, not {spec.label!r}: {other.label!r} is taken."
    rest = tuple(pair for pair in choice.guesses if pair[0] != other)
    guesses = ((other, choice.score), *rest)
    return replace(choice, id=other.id, spec=other, guesses=guesses, notes=(note,) if choice.origin == "given" else ())


def _mixed(
    first: tuple[tuple[RelationSpec, float], ...], second: tuple[tuple[RelationSpec, float], ...]
) -> tuple[tuple[RelationSpec, float], ...]:
    """Merge guesses from the prompt and from a name."""
    if not first or not second:
        return first or second
    scores = {spec.id: score * (1 - _FROM_NAME) for spec, score in first}
    for spec, score in second:
        scores[spec.id] = scores.get(spec.id, 0.0) + score * _FROM_NAME
    specs = {spec.id: spec for spec, _ in (*first, *second)}
    order = sorted(scores, key=lambda key: (-scores[key], key))
    return tuple((specs[key], round(scores[key], 4)) for key in order)


def _is_in(store: TripleStore, relation_id: str) -> bool:
    try:
        store.relation(relation_id)
    except UnknownRelationError:
        return False
    return True
