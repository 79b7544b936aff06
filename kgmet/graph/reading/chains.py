"""Chains of relations through a store: who stands at the end when one follows them, and by which triples."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kgmet.base.fingerprint import digest
from kgmet.graph.reading.retrieve import Switch
from kgmet.graph.relations import RelationCatalogue, RelationSpec
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity, Triple

__all__ = ["Chain", "GraphReader", "closure", "grow_chains"]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Relations followed one after the other from one entity.

    `paths` holds, per entity at the end, the triples that lead there from the edit's subject; `composed` is the one
    relation that says the edited relation and this chain in one, where the catalogue names one.
    """

    relations: tuple[str, ...]
    composed: str | None
    paths: dict[Entity, tuple[Triple, ...]]


class GraphReader:
    """Asks a store each question once; does not see self-loops, nor what a person switched off."""

    def __init__(self, store: TripleStore, *, limit: int, exclude: Collection[Switch] = ()) -> None:
        self.store = store
        self._limit = limit
        self._exclude = frozenset(exclude)
        self._facts: dict[tuple[str, tuple[str, ...] | None], tuple[Triple, ...]] = {}

    def facts(self, entity: Entity, relations: Collection[str] | None = None) -> tuple[Triple, ...]:
        """Outgoing triples."""
        key = entity.id, None if relations is None else tuple(sorted(relations))
        if key not in self._facts:
            found = self.store.outgoing(entity.id, relations=key[1], limit=self._limit)
            self._facts[key] = self._seen(found)
        return self._facts[key]

    def about(self, entity: Entity, relation: str, *, limit: int) -> tuple[Triple, ...]:
        """Incoming triples of one relation."""
        found = self.store.incoming(entity.id, relations=[relation], limit=limit)
        return self._seen(found)

    def _seen(self, triples: Iterable[Triple]) -> tuple[Triple, ...]:
        off = self._exclude
        return tuple(t for t in triples if t.subject != t.object and t.key not in off and t.relation.id not in off)

    def objects(self, entity: Entity, relation: str) -> tuple[Entity, ...]:
        """What stands at the other end of one relation, best known first."""
        return tuple(sorted((triple.object for triple in self.facts(entity, [relation])), key=self.by_fame))

    def by_fame(self, entity: Entity) -> tuple[int, int, str]:
        """Sort key, best known first: many facts (where the store counts them), then low Wikidata numbers, then mixed.

        Low numbers went to what people know best. Mixed, not by id: the first in the alphabet are no fair sample.
        """
        degree = self.store.degree(entity.id) if isinstance(self.store, KnowsDegrees) else 0
        is_item = entity.id[:1] == "Q" and entity.id[1:].isdecimal()
        return -degree, int(entity.id[1:]) if is_item else sys.maxsize, digest(entity.id)


@runtime_checkable
class KnowsDegrees(Protocol):
    """A store that can say at once how many triples an entity takes part in."""

    def degree(self, entity_id: str) -> int:
        """Number of triples at this entity."""


def closure(catalogue: RelationCatalogue, relation: str) -> frozenset[str]:
    """The relations that may follow from this one by composition: with the city, the country and the continent."""
    found: set[str] = set()
    waiting = [relation]
    while waiting:
        current = waiting.pop()
        results = catalogue.spec(current).composes.values() if current in catalogue else ()
        fresh = {result for result in results if result} - found
        found |= fresh
        waiting += sorted(fresh)
    return frozenset(found)


def grow_chains(
    reader: GraphReader,
    catalogue: RelationCatalogue,
    starts: Mapping[Entity, tuple[Triple, ...]],
    *,
    after: str,
    length: int,
    welcome: Sequence[str] = (),
) -> dict[tuple[str, ...], Chain]:
    """Every chain of up to `length` relations from `starts`, which themselves stand at the end of relation `after`.

    A relation may follow another where the catalogue says that they compose, or where it is one of `welcome`, but never
    so as to say what holds of anything: that the capital of France is the capital of France, or lies in France. A
    relation with several objects there ends its chain: nothing follows by way of one neighbour among many.
    """
    if after not in catalogue:
        return {}
    found: dict[tuple[str, ...], Chain] = {}
    ring = [Chain(relations=(), composed=after, paths=dict(starts))]
    for _ in range(length):
        following: list[Chain] = []
        for chain in ring:
            following += _longer(reader, catalogue, chain, after=after, welcome=welcome)
        found |= {chain.relations: chain for chain in following}
        ring = following
    return found


def _longer(
    reader: GraphReader,
    catalogue: RelationCatalogue,
    chain: Chain,
    *,
    after: str,
    welcome: Sequence[str],
) -> Iterable[Chain]:
    last = catalogue.spec(chain.relations[-1] if chain.relations else after)
    allowed = _followers(catalogue, last, chain.composed) | {r for r in welcome if r in catalogue}
    allowed -= {last.inverse}
    if chain.relations and not last.is_functional and len(chain.paths) > 1:
        # Which of its neighbours' currencies? A country has one, its neighbours have many.
        return
    by_relation: dict[str, dict[Entity, tuple[Triple, ...]]] = {}
    for end, path in chain.paths.items():
        if end.is_literal:
            continue
        for triple in reader.facts(end, sorted(relation for relation in allowed if relation)):
            if last.is_inverse_functional and chain.relations and triple.object == path[-1].subject:
                continue
            by_relation.setdefault(triple.relation.id, {}).setdefault(triple.object, (*path, triple))
    for relation in sorted(by_relation):
        composed = catalogue.compose(chain.composed, relation) if chain.composed else None
        yield Chain(relations=(*chain.relations, relation), composed=composed, paths=by_relation[relation])


def _followers(catalogue: RelationCatalogue, last: RelationSpec, composed: str | None) -> set[str | None]:
    return {*last.composes, *(catalogue.spec(composed).composes if composed else ())}
