"""`RelationCatalogue`: what is known about each relation besides its triples.

Prompts, questions, inverses and compositions are data (`relations.json` beside this file), so that a new relation is a
new entry there and no new code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kgmet.graph.triple import Relation

__all__ = ["RelationSpec"]


@dataclass(frozen=True, kw_only=True)
class RelationSpec:
    """One relation, as data.

    Every template has exactly one ``{}`` for the subject's label (or, in multi-hop prompts, for a noun phrase that stands
    for the subject), written so that it reads well both with "The Eiffel Tower" and "the Eiffel Tower".
    """

    id: str
    """Wikidata property where one fits (``P36``), otherwise ``K-name``."""
    label: str
    """For people: ``capital``."""
    inverse_label: str
    """``capital of``."""
    inverse: str | None
    """Id of the relation that is its inverse, where the graph has one (``P1376``)."""
    is_functional: bool
    """A subject has one object at most (a country has one capital)."""
    is_inverse_functional: bool
    """An object has one subject at most (a city is the capital of one country)."""
    subject_type: str
    """Kind of subject: ``country``, ``city``, ``landmark``, ``person``, …"""
    object_type: str
    """Kind of object."""
    cloze: tuple[str, ...]
    """≥ 3 prompts whose natural continuation is the object: ``The capital of {} is``. Mixed: subject first, subject in the middle."""
    questions: tuple[str, ...]
    """≥ 2 questions: ``What is the capital of {}?``."""
    phrase: str
    """Noun phrase for the object, used to build multi-hop text: ``the capital of {}``."""
    composes: Mapping[str, str | None]
    """r' → r'' where (s r o), (o r' x) makes (s r'' x) true: located-in-city ∘ country → country. ``None``: composes in
    meaning, but no single relation names the result (birthplace ∘ country)."""

    @property
    def relation(self) -> Relation:
        """The relation as a graph value."""
        return Relation(id=self.id, label=self.label)
