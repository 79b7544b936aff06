"""Chains of relations through a store: the entities at their ends and the triples that lead there."""

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

    `paths` holds, per end entity, the triples that lead there from the edit's subject. `composed` is the single
    relation equivalent to the edited relation followed by this chain, if the catalogue has one.
    """

    relations: tuple[str, ...]
    composed: str | None
    paths: dict[Entity, tuple[Triple, ...]]


class GraphReader:
    """A store reader with a cache; it skips self-loops and whatever the user switched off."""

    def __init__(self, store: TripleStore, *, limit: int, exclude: Collection[Switch] = ()) -> None:
        self.store = store
        self._limit = limit
        self._exclude = frozenset(exclude)
        self._facts: dict[tuple[str, tuple[str, ...] | None], tuple[Triple, ...]] = {}

    def facts(self, entity: Entity, relations: Collection[str] | None = None) -> tuple[Triple, ...]:
        """Return the outgoing triples of an entity."""
        key = entity.id, None if relations is None else tuple(sorted(relations))
        if key not in self._facts:
            found = self.store.outgoing(entity.id, relations=key[1], limit=self._limit)
            self._facts[key] = self._seen(found)
        return self._facts[key]

    def about(self, entity: Entity, relation: str, *, limit: int) -> tuple[Triple, ...]:
        """Return the incoming triples of one relation."""
        found = self.store.incoming(entity.id, relations=[relation], limit=limit)
        return self._seen(found)

    def _seen(self, triples: Iterable[Triple]) -> tuple[Triple, ...]:
        off = self._exclude
        return tuple(t for t in triples if t.subject != t.object and t.key not in off and t.relation.id not in off)

    def objects(self, entity: Entity, relation: str) -> tuple[Entity, ...]:
        """Return the objects of one relation, best known first."""
        return tuple(sorted((triple.object for triple in self.facts(entity, [relation])), key=self.by_fame))

    def by_fame(self, entity: Entity) -> tuple[int, int, str]:
        """Return a sort key, best known first: number of facts (if counted by the store), Wikidata number, hash.

        Low Wikidata numbers belong to well-known entities. Ties are broken by a hash, because the first in the alphabet
        are not a fair sample.
        """
        degree = self.store.degree(entity.id) if isinstance(self.store, KnowsDegrees) else 0
        is_item = entity.id[:1] == "Q" and entity.id[1:].isdecimal()
        return -degree, int(entity.id[1:]) if is_item else sys.maxsize, digest(entity.id)


@runtime_checkable
class KnowsDegrees(Protocol):
    """A store with a fast count of an entity's triples."""

    def degree(self, entity_id: str) -> int:
        """Return the number of triples at this entity."""


def closure(catalogue: RelationCatalogue, relation: str) -> frozenset[str]:
    """Return the relations implied by this one through composition: from the city to country and continent."""
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
    """Return every chain of up to `length` relations from `starts`, the objects of relation `after`.

    A relation may follow another if the catalogue lists them as composing, or if it is in `welcome`. Tautologies are
    excluded: that the capital of France is the capital of France, or lies in France. A relation with several objects
    ends its chain: nothing follows through one neighbour among many.
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
        # "The currency of its neighbour" is ambiguous: a country has many neighbours.
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
