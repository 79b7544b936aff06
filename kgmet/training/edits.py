"""`draw_training_edits`: made-up edits of a store's true facts."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence

from kgmet.base.errors import GraphError
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity, Triple

__all__ = ["draw_training_edits"]

_MIN_OBJECTS = 3
"""A relation with fewer objects to choose from teaches nothing."""


def draw_training_edits(
    store: TripleStore,
    catalogue: RelationCatalogue,
    *,
    count: int,
    seed: int,
    exclude: Collection[str] = (),
    read_limit: int = 5000,
) -> list[FactEdit]:
    """Made-up edits of true facts, the store's relations taking turns; the same for the same store and seed.

    The new object is another object of the same relation, of which the graph says something itself: otherwise there is
    nothing to carry over. Frequent objects are drawn more often, by the square root of how often they occur.

    Raises:
        GraphError: if fewer than `count` can be drawn.
    """
    generator = random.Random(seed)
    pools = {}
    for relation in store.relations():
        if relation.id in catalogue:
            facts = _usable(store.with_relation(relation.id, limit=read_limit), frozenset(exclude))
            objects = _objects(store, facts)
            if len(objects) >= _MIN_OBJECTS:
                generator.shuffle(facts)
                pools[relation.id] = (facts, objects)
    edits: list[FactEdit] = []
    turn = 0
    while len(edits) < count and any(turn < len(facts) for facts, _ in pools.values()):
        for relation_id, (facts, objects) in pools.items():
            if turn < len(facts) and len(edits) < count:
                template = generator.choice(catalogue.spec(relation_id).cloze)
                edits.append(_made_up(facts[turn], objects, template, generator))
        turn += 1
    if len(edits) < count:
        raise GraphError(
            f"The graph {store.name!r} yields {len(edits)} training edits, {count} are wanted. Lower n_edit, or load a "
            "larger graph whose relations are in the catalogue."
        )
    return edits


def _usable(facts: Sequence[Triple], exclude: frozenset[str]) -> list[Triple]:
    return [
        fact
        for fact in facts
        if not fact.object.is_literal
        and fact.subject.id not in exclude
        and fact.object.id not in exclude
        and fact.subject.label.casefold() != fact.object.label.casefold()
    ]


def _objects(store: TripleStore, facts: Sequence[Triple]) -> dict[Entity, float]:
    """Objects of which the store says something, with the weight they are drawn by."""
    counts: dict[Entity, int] = {}
    for fact in facts:
        counts[fact.object] = counts.get(fact.object, 0) + 1
    return {entity: math.sqrt(n) for entity, n in sorted(counts.items()) if store.outgoing(entity.id, limit=1)}


def _made_up(fact: Triple, objects: dict[Entity, float], template: str, generator: random.Random) -> FactEdit:
    taken = fact.object.label.casefold()
    others = [entity for entity in objects if entity != fact.object and entity.label.casefold() != taken]
    new = generator.choices(others, [objects[entity] for entity in others])[0]
    return FactEdit(
        subject=fact.subject.label,
        template=template,
        new_object=new.label,
        old_object=fact.object.label,
        relation=fact.relation.id,
        subject_id=fact.subject.id,
        new_object_id=new.id,
        old_object_id=fact.object.id,
    )
