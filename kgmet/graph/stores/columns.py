"""`GraphBuilder` → `GraphColumns`: a graph as sorted integer columns, the representation of every local store.

A million triples as Python objects cost gigabytes and seconds; as three columns of numbers they cost 12 MB, and every
`TripleStore` query becomes a bisection. Entities and relations are numbered in the order of their ids, so the same
triples give the same columns in any input order.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kgmet.base.fingerprint import digest
from kgmet.graph.triple import Entity, Relation, Triple

__all__ = ["GraphBuilder", "GraphColumns"]

Ints = npt.NDArray[np.int32]

_VALUE = re.compile(r"lit:(?:[a-z_]+:(?!//))?(?=.)")


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphColumns:
    """Entities and relations sorted by id, distinct triples sorted by (subject, relation, object).

    Raises:
        ValueError: if the columns are not equally long.
    """

    entity_ids: Sequence[str]
    labels: Sequence[str]
    details: dict[int, Entity]
    """Further fields of entities beyond the label; entities without any are left out."""
    relations: tuple[Relation, ...]
    subject: Ints
    """(n_edge)"""
    relation: Ints
    """(n_edge)"""
    object: Ints
    """(n_edge)"""
    source: Ints
    """(n_edge), into `sources`"""
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the lengths."""
        if len({len(self.subject), len(self.relation), len(self.object), len(self.source)}) != 1:
            raise ValueError("The columns of a graph must be equally long.")

    def fingerprint(self) -> str:
        """Return 16 hex digits over ids, labels and triples."""
        extra = [f"{n}\t{e.type}\t{e.article}\t{e.description}\t{e.aliases}" for n, e in sorted(self.details.items())]
        return digest(
            "graph",
            "\n".join(self.entity_ids),
            "\n".join(self.labels),
            "\n".join(extra),
            "\n".join(f"{r.id}\t{r.label}" for r in self.relations),
            self.subject.tobytes(),
            self.relation.tobytes(),
            self.object.tobytes(),
        )[:16]


class GraphBuilder:
    """Collector of triples in any order; `build` sorts them and merges duplicates.

    Self-loops and cycles are kept; `retrieve_subgraph` leaves self-loops out.
    """

    def __init__(self) -> None:
        self._entities: dict[str, int] = {}
        self._labels: list[str] = []
        self._details: dict[int, Entity] = {}
        self._relations: dict[str, int] = {}
        self._relation_labels: list[str] = []
        self._sources: dict[str, int] = {"": 0}
        self._columns = tuple(array("i") for _ in range(4))

    def __len__(self) -> int:
        """Return the number of triples so far, including duplicates."""
        return len(self._columns[0])

    def describe(self, entity: Entity) -> int:
        """Add an entity's fields and return its number; the first label that is not its id wins."""
        number = self.entity(entity.id, entity.label)
        if entity.description or entity.aliases or entity.article or entity.type:
            self._details.setdefault(number, entity)
        return number

    def entity(self, entity_id: str, label: str = "") -> int:
        """Return the number of this entity, adding it if it is new."""
        number = self._entities.get(entity_id)
        if number is None:
            number = self._entities[entity_id] = len(self._labels)
            self._labels.append(label or _fallback_label(entity_id))
        elif label and self._labels[number] == _fallback_label(entity_id):
            self._labels[number] = label
        return number

    def relation(self, relation_id: str, label: str = "") -> int:
        """Return the number of this relation, adding it if it is new."""
        number = self._relations.get(relation_id)
        if number is None:
            number = self._relations[relation_id] = len(self._relation_labels)
            self._relation_labels.append(label or relation_id)
        elif label and self._relation_labels[number] == relation_id:
            self._relation_labels[number] = label
        return number

    def take(self, triple: Triple) -> None:
        """Add one triple with the fields of its entities."""
        subject, obj = self.describe(triple.subject), self.describe(triple.object)
        self.triple(subject, self.relation(triple.relation.id, triple.relation.label), obj, triple.source)

    def triple(self, subject: int, relation: int, obj: int, source: str = "") -> None:
        """Add one triple of numbers returned by `entity` and `relation`."""
        code = self._sources.setdefault(source, len(self._sources))
        for column, value in zip(self._columns, (subject, relation, obj, code), strict=True):
            column.append(value)

    def build(self) -> GraphColumns:
        """Sort, number by id and merge duplicates; their sources are joined with ``; ``."""
        entity_ids, entity_rank = _ranked(self._entities)
        relation_ids, relation_rank = _ranked(self._relations)
        subject, relation, obj, source = (np.frombuffer(column, dtype=np.int32) for column in self._columns)
        subject, relation, obj = entity_rank[subject], relation_rank[relation], entity_rank[obj]
        order = np.lexsort((source, obj, relation, subject))
        subject, relation, obj, source = subject[order], relation[order], obj[order], source[order].copy()
        fresh = np.ones(len(order), dtype=bool)
        fresh[1:] = (np.diff(subject) != 0) | (np.diff(relation) != 0) | (np.diff(obj) != 0)
        sources = _merge_sources(source, fresh, list(self._sources))
        labels = [""] * len(entity_ids)
        for number, label in enumerate(self._labels):
            labels[entity_rank[number]] = label
        details = {int(entity_rank[n]): _with_label(e, self._labels[n]) for n, e in self._details.items()}
        relation_labels = dict(zip(self._relations, self._relation_labels, strict=True))
        return GraphColumns(
            entity_ids=entity_ids,
            labels=labels,
            details=details,
            relations=tuple(Relation(id=r, label=relation_labels[r]) for r in relation_ids),
            subject=subject[fresh],
            relation=relation[fresh],
            object=obj[fresh],
            source=source[fresh],
            sources=sources,
        )


def _with_label(entity: Entity, label: str) -> Entity:
    return entity if entity.label == label else replace(entity, label=label)


def _fallback_label(entity_id: str) -> str:
    """Return a name for an entity without a label: a literal's value (of ``lit:code:US``: ``US``), else the id."""
    value = _VALUE.match(entity_id)
    return entity_id[value.end() :] if value else entity_id


def _ranked(numbers: dict[str, int]) -> tuple[list[str], Ints]:
    """Return the sorted ids, and the new number of each old one."""
    ids = sorted(numbers)
    rank = np.empty(len(ids), dtype=np.int32)
    rank[np.fromiter((numbers[i] for i in ids), dtype=np.int64, count=len(ids))] = np.arange(len(ids), dtype=np.int32)
    return ids, rank


def _merge_sources(source: Ints, fresh: npt.NDArray[np.bool_], names: list[str]) -> tuple[str, ...]:
    """Write the joined sources of duplicate triples to their first row; return the names with the joined ones added."""
    codes = {name: code for code, name in enumerate(names)}
    for row in np.flatnonzero(fresh & ~np.append(fresh[1:], True)):
        last = row + 1
        while last < len(fresh) and not fresh[last]:
            last += 1
        joined = "; ".join(sorted({names[code] for code in source[row:last]} - {""}))
        if joined not in codes:
            codes[joined] = len(names)
            names.append(joined)
        source[row] = codes[joined]
    return tuple(names)
