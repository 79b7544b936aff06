"""`MemoryStore`: up to some millions of triples in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from kgmet.base.errors import UnknownEntityError, UnknownRelationError
from kgmet.graph.names import NameIndex
from kgmet.graph.store import Match
from kgmet.graph.stores.columns import GraphBuilder, GraphColumns
from kgmet.graph.triple import Entity, Relation, Triple

__all__ = ["MemoryStore"]

Ints = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int64]


class MemoryStore:
    """A `TripleStore` over `GraphColumns`; read-only, so threads may share it.

    Every answer is a slice found by bisection, so a hub with a million edges is as fast as a leaf. Duplicate triples
    are merged; self-loops are kept. Names are indexed at the first search.
    """

    def __init__(
        self, triples: Iterable[Triple] = (), *, entities: Iterable[Entity] = (), name: str = "memory"
    ) -> None:
        """Build from `triples`; `entities` adds descriptions and aliases, also of entities without a triple."""
        builder = GraphBuilder()
        for entity in entities:
            builder.describe(entity)
        for triple in triples:
            builder.take(triple)
        self._set(builder.build(), name)

    @classmethod
    def from_columns(cls, columns: GraphColumns, *, name: str) -> Self:
        """Make a store over existing columns."""
        store = cls.__new__(cls)
        store._set(columns, name)
        return store

    def _set(self, columns: GraphColumns, name: str) -> None:
        self._columns = columns
        self._name = name
        self._number = {entity_id: n for n, entity_id in enumerate(columns.entity_ids)}
        self._relation_number = {relation.id: n for n, relation in enumerate(columns.relations)}
        self._made: dict[int, Entity] = {}
        self._by_object = np.lexsort((columns.subject, columns.relation, columns.object)).astype(np.int32)
        self._by_relation = np.lexsort((columns.object, columns.subject, columns.relation)).astype(np.int32)
        self._object_column = columns.object[self._by_object]
        self._incoming_relation = columns.relation[self._by_object]
        self._relation_column = columns.relation[self._by_relation]
        self._lock = threading.Lock()

    def extended(self, triples: Iterable[Triple], *, name: str | None = None) -> Self:
        """Return a new store with `triples` added."""
        builder = GraphBuilder()
        for entity in self.entities():
            builder.describe(entity)
        for triple in chain(self, triples):
            builder.take(triple)
        return type(self).from_columns(builder.build(), name=name or self._name)

    @property
    def name(self) -> str:
        """Display name."""
        return self._name

    @property
    def columns(self) -> GraphColumns:
        """The whole graph as columns, for export and indexing."""
        return self._columns

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over ids, labels and triples; independent of input order."""
        return self._columns.fingerprint()

    @property
    def finds_prefixes(self) -> bool:
        """True: names are found by their beginning, too."""
        return True

    def __len__(self) -> int:
        """Return the number of triples, each counted once."""
        return len(self._columns.subject)

    def __iter__(self) -> Iterator[Triple]:
        """Return all triples, sorted by (subject, relation, object)."""
        return (self._triple(row) for row in range(len(self)))

    def entities(self) -> Iterator[Entity]:
        """Return all entities, sorted by id."""
        return (self._entity(number) for number in range(len(self._columns.entity_ids)))

    def __contains__(self, entity_id: object) -> bool:
        """Return whether there is an entity with this id."""
        return entity_id in self._number

    def entity(self, entity_id: str) -> Entity:
        """Return the entity with this id.

        Raises:
            UnknownEntityError: if there is none.
        """
        number = self._number.get(entity_id)
        if number is None:
            raise UnknownEntityError(
                f"The graph {self._name!r} has no entity {entity_id!r}. Search for it by its name."
            )
        return self._entity(number)

    def relation(self, relation_id: str) -> Relation:
        """Return the relation with this id.

        Raises:
            UnknownRelationError: if there is none.
        """
        number = self._relation_number.get(relation_id)
        if number is None:
            some = ", ".join(f"{r.id} ({r.label})" for r in self._columns.relations[:5]) or "none at all"
            raise UnknownRelationError(
                f"The graph {self._name!r} has no relation {relation_id!r}. Some that it has: {some}."
            )
        return self._columns.relations[number]

    def relations(self) -> Sequence[Relation]:
        """Return all relations that occur, sorted by id."""
        return self._columns.relations

    def degree(self, entity_id: str) -> int:
        """Return the number of triples at this entity; 0 for an unknown one."""
        number = self._number.get(entity_id)
        return 0 if number is None else int(self._degrees[number])

    def outgoing(
        self, entity_id: str, *, relations: Collection[str] | None = None, limit: int = 1000
    ) -> Sequence[Triple]:
        """Return triples whose subject is this entity, sorted by (relation, object); empty for an unknown entity."""
        columns = self._columns
        return self._slice(entity_id, relations, limit, first=columns.subject, second=columns.relation, order=None)

    def incoming(
        self, entity_id: str, *, relations: Collection[str] | None = None, limit: int = 1000
    ) -> Sequence[Triple]:
        """Return triples whose object is this entity, sorted by (relation, subject); empty for an unknown entity."""
        return self._slice(
            entity_id,
            relations,
            limit,
            first=self._object_column,
            second=self._incoming_relation,
            order=self._by_object,
        )

    def with_relation(self, relation_id: str, *, limit: int = 1000) -> Sequence[Triple]:
        """Return triples of this relation, sorted by (subject, object); empty for an unknown relation."""
        number = self._relation_number.get(relation_id)
        if number is None:
            return ()
        low, high = _span(self._relation_column, number, 0, len(self))
        return tuple(self._triple(int(row)) for row in self._by_relation[low : min(high, low + max(limit, 0))])

    def count(self, entity_id: str, *, direction: Literal["out", "in"] = "out", relation: str | None = None) -> int:
        """Count the triples that leave or enter this entity, without building them."""
        number = self._number.get(entity_id)
        if number is None:
            return 0
        out = direction == "out"
        first = self._columns.subject if out else self._object_column
        second = self._columns.relation if out else self._incoming_relation
        low, high = _span(first, number, 0, len(self))
        if relation is not None:
            low, high = _span(second, self._relation_number.get(relation, -1), low, high)
        return high - low

    def search(self, text: str, *, limit: int = 10) -> Sequence[Match]:
        """Return entities by label, alias or prefix; case, accents and a leading article do not matter; best first."""
        hits = self._names().search(text, limit=limit)
        return tuple(Match(entity=self._entity(hit.entity), matched=hit.name, score=hit.score) for hit in hits)

    def _names(self) -> NameIndex:
        with self._lock:
            return self._name_index

    @cached_property
    def _name_index(self) -> NameIndex:
        columns = self._columns
        aliases = [(number, alias) for number, entity in columns.details.items() for alias in entity.aliases]
        is_value = np.array([entity_id.startswith("lit:") for entity_id in columns.entity_ids], dtype=bool)
        return NameIndex(columns.labels, sorted(aliases), weight=self._degrees, is_value=is_value)

    @cached_property
    def _degrees(self) -> Ints:
        size = len(self._columns.entity_ids)
        out = np.bincount(self._columns.subject, minlength=size)
        return (out + np.bincount(self._columns.object, minlength=size)).astype(np.int32)

    def _slice(
        self,
        entity_id: str,
        relations: Collection[str] | None,
        limit: int,
        *,
        first: Ints,
        second: Ints,
        order: Ints | None,
    ) -> tuple[Triple, ...]:
        number = self._number.get(entity_id)
        if number is None or limit < 1:
            return ()
        low, high = _span(first, number, 0, len(first))
        if relations is None:
            spans = [(low, high)]
        else:
            numbers = sorted(self._relation_number[r] for r in set(relations) if r in self._relation_number)
            spans = [_span(second, n, low, high) for n in numbers]
        found: list[Triple] = []
        for start, stop in spans:
            rows = range(start, min(stop, start + limit - len(found)))
            found += [self._triple(row if order is None else int(order[row])) for row in rows]
        return tuple(found)

    def _entity(self, number: int) -> Entity:
        known = self._made.get(number)
        if known is None:
            columns = self._columns
            known = columns.details.get(number) or Entity(id=columns.entity_ids[number], label=columns.labels[number])
            self._made[number] = known
        return known

    def _triple(self, row: int) -> Triple:
        columns = self._columns
        return Triple(
            subject=self._entity(int(columns.subject[row])),
            relation=columns.relations[int(columns.relation[row])],
            object=self._entity(int(columns.object[row])),
            source=columns.sources[int(columns.source[row])],
        )


def _span(column: Ints, value: int, low: int, high: int) -> tuple[int, int]:
    """Return the range of `value` in the sorted part ``column[low:high]``."""
    part = column[low:high]
    wanted = np.int32(value)
    return low + int(np.searchsorted(part, wanted)), low + int(np.searchsorted(part, wanted, side="right"))
