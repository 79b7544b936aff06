"""`TripleStore`: the one protocol of every source of triples.

Files, the embedded RDF store and remote endpoints implement it. All lists are in a deterministic order, by ids, so the
same query gives the same answer in every process.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from kgmet.graph.triple import Entity, Relation, Triple

__all__ = ["READ_LIMIT", "Match", "TripleStore"]

READ_LIMIT = 200
"""Most triples read at one node in one direction, so that a hub with a million edges costs no more than any node."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """An entity found by name: `matched` is the label or alias that matched, `score` in [0, 1], higher is better."""

    entity: Entity
    matched: str
    score: float


class TripleStore(Protocol):
    """A source of triples."""

    @property
    def name(self) -> str:
        """Display name, for example ``sample`` or ``https://query.wikidata.org/sparql``."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the triples; for a remote endpoint its address and date."""

    @property
    def finds_prefixes(self) -> bool:
        """Whether `search` also finds names that only begin with the text."""

    def __len__(self) -> int:
        """Return the number of triples; 0 where it is unknown."""

    def entity(self, entity_id: str) -> Entity:
        """Return the entity with this id.

        Raises:
            UnknownEntityError: if there is none.
        """

    def relation(self, relation_id: str) -> Relation:
        """Return the relation with this id.

        Raises:
            UnknownRelationError: if there is none.
        """

    def relations(self) -> Sequence[Relation]:
        """Return all relations that occur, sorted by id."""

    def outgoing(
        self, entity_id: str, *, relations: Collection[str] | None = None, limit: int = 1000
    ) -> Sequence[Triple]:
        """Return triples whose subject is this entity, sorted by (relation, object); empty for an unknown entity."""

    def incoming(
        self, entity_id: str, *, relations: Collection[str] | None = None, limit: int = 1000
    ) -> Sequence[Triple]:
        """Return triples whose object is this entity, sorted by (relation, subject); empty for an unknown entity."""

    def with_relation(self, relation_id: str, *, limit: int = 1000) -> Sequence[Triple]:
        """Return triples of this relation, sorted by (subject, object)."""

    def search(self, text: str, *, limit: int = 10) -> Sequence[Match]:
        """Return entities by label or alias, best first; case, accents and a leading article do not matter.

        Some stores also find names that only begin with the text (`finds_prefixes`).
        """
