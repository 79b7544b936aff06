"""Consequences with the edited fact as a later hop: the capital of the country that Picasso is a citizen of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest

from kgmet.graph.consequence import Consequence
from kgmet.graph.reading.worlds import MAX_VALUES, EditWorlds
from kgmet.graph.store import READ_LIMIT
from kgmet.graph.triple import Entity, Triple

__all__ = ["find_later_hops"]

_FAR_STARTS = 4
"""Number of nearest starting points from which one more step back is taken; each costs a dozen store queries."""
_FORWARD_TAILS = 2
"""Number of forward consequences that are extended by a later hop."""


def find_later_hops(worlds: EditWorlds, forward: Sequence[Consequence]) -> tuple[Consequence, ...]:
    """Find chains y –q→ s –r→ o*, also with one more hop before (z –p→ y) or after (o* –r'→ x); 2 to 4 hops.

    The edit's subject stays implicit in their wording. Only y with s as their single q take part: best known first,
    alternating over the relations.
    """
    if worlds.spec is None or worlds.ends.old is None or len(worlds.remaining) >= MAX_VALUES:
        return ()
    room = worlds.config.max_later_hops
    near = list(islice(_leading_to(worlds, worlds.ends.subject, worlds.spec.id), room))
    far = [pair for first in near[:_FAR_STARTS] for pair in islice(_further(worlds, first), 2)]
    tails = [item for item in forward if len(item.path_new) == 2 and len(item.path_old) == 2][:_FORWARD_TAILS]
    edit_only: tuple[Consequence | None, ...] = (None,)
    groups: list[list[Consequence]] = [
        [_later(worlds, (first,), tail) for first in near for tail in edit_only],
        [_later(worlds, (first,), tail) for first in near for tail in tails],
        [_later(worlds, leading, None) for leading in far],
        [_later(worlds, leading, tail) for leading in far for tail in tails],
    ]
    turns = [item for item in chain.from_iterable(zip_longest(*groups)) if item is not None and item.templates]
    chosen = turns[:room]
    return tuple(sorted(chosen, key=lambda item: item.hops))


def _leading_to(worlds: EditWorlds, entity: Entity, following: str) -> Iterator[Triple]:
    """Yield triples y –q→ `entity` where q may precede `following`, alternating over the relations."""
    by_relation = []
    for spec in worlds.catalogue:
        if following not in spec.composes:
            continue
        found = worlds.reader.about(entity, spec.id, limit=READ_LIMIT)
        subjects = sorted(
            (t for t in found if t.subject not in _ends(worlds)), key=lambda t: worlds.reader.by_fame(t.subject)
        )
        by_relation.append((worlds.rank(spec.id), subjects))
    rows = zip_longest(*(subjects for _, subjects in sorted(by_relation, key=lambda item: item[0])))
    for triple in chain.from_iterable(rows):
        if triple is not None and len(worlds.reader.objects(triple.subject, triple.relation.id)) == 1:
            yield triple


def _further(worlds: EditWorlds, first: Triple) -> Iterator[tuple[Triple, Triple]]:
    """Yield triples z –p→ y before y –q→ s, unless a single relation composes p and q (a duplicate question)."""
    for step in _leading_to(worlds, first.subject, first.relation.id):
        if worlds.catalogue.compose(step.relation.id, first.relation.id) is None:
            yield step, first


def _ends(worlds: EditWorlds) -> tuple[Entity | None, ...]:
    return worlds.ends.subject, worlds.ends.new, worlds.ends.old


def _later(worlds: EditWorlds, leading: tuple[Triple, ...], tail: Consequence | None) -> Consequence:
    old_edge = worlds.ends.old_edge
    path_new = (*leading, worlds.ends.edge, *(tail.path_new[1:] if tail else ()))
    path_old = (*leading, *((old_edge,) if old_edge else ()), *(tail.path_old[1:] if tail else ()))
    relations = [triple.relation.id for triple in path_new]
    templates, questions = worlds.words(relations)
    composed: str | None = relations[0]
    for relation in relations[1:]:
        composed = worlds.catalogue.compose(composed, relation) if composed else None
    return worlds.make(
        "later_hop",
        path_new=path_new,
        path_old=path_old,
        subject=leading[0].subject,
        old=path_old[-1].object,
        new=path_new[-1].object,
        also=tail.also if tail else tuple(worlds.remaining),
        also_old=tail.also_old if tail else tuple(worlds.remaining),
        relation=composed,
        reason=worlds.explain(path_new, path_old),
        templates=templates,
        questions=questions,
    )
