"""`retrieve_subgraph`: the part of a graph around an edit, before or after it, as a `Subgraph`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from kgmet.base.ranges import check_numbers
from kgmet.fact import FactEdit
from kgmet.graph.consequence import EditConsequences
from kgmet.graph.reading.resolved_edit import EditEnds, find_ends
from kgmet.graph.store import READ_LIMIT, TripleStore
from kgmet.graph.subgraph_value import NO_EDGE, Subgraph
from kgmet.graph.triple import Entity, Triple

__all__ = ["NO_EDGE", "State", "Subgraph", "SubgraphConfig", "Switch", "facts_around", "retrieve_subgraph", "without"]

State = Literal["after", "before"]
"""The state of the world: after the edit, or before it."""
Switch = tuple[str, str, str] | str
"""An exclusion: one triple by its key, or a relation by its id."""


@dataclass(frozen=True, kw_only=True)
class SubgraphConfig:
    """Size limits of the subgraph."""

    max_triples: int = 35
    """Most triples, including the edited one; at least 1. 35 is the paper's setting."""
    hops: int = 2
    """Number of edges followed from the object of the edited fact; 0 to 3."""
    include_incoming: bool = True
    """Whether incoming triples of the subject are included."""
    include_literals: bool = False
    """Whether literal values (calling codes, years) are included."""
    max_per_relation: int = 6
    """Most triples of one relation at one node in one direction, so that no list fills the graph; at least 1."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_numbers(self, "subgraph", "max_triples", "max_per_relation", least=1)
        check_numbers(self, "subgraph", "hops", least=0, most=3)


def retrieve_subgraph(
    store: TripleStore,
    edit: FactEdit,
    *,
    config: SubgraphConfig,
    exclude: Collection[Switch] = (),
    state: State = "after",
    consequences: EditConsequences | None = None,
    ends: EditEnds | None = None,
) -> Subgraph:
    """Retrieve at most `config.max_triples` triples around an edit.

    After the edit: the new edge in place of the old, the subject's own facts, and the facts of the new object, up to
    `config.hops` edges away. Before it: the same with the old object. They are taken ring by ring, within a ring by
    relation, then object. The subject's own facts get at most half of the places as long as the object's facts fill the
    rest. Deterministic; the edited edge is always included.

    Args:
        store: the graph.
        edit: the edit with its known ids; anything unknown to `store` becomes an ad-hoc node (``typed:…``).
        config: size limits.
        exclude: triples (keys) and relations (ids) the user switched off; they end in `Subgraph.switched_off`.
        state: the world after the edit, or before it.
        consequences: the edit's consequences, if known: outdated facts of the subject are then replaced by the implied
            ones, so that the graph does not contradict itself.
        ends: the edit resolved in this store (`find_ends`), if that is known already.

    Returns:
        A graph with at least the anchor, and the edited edge if it exists.
    """
    ends = ends or find_ends(store, edit)
    world = _World(store, ends, config=config, exclude=exclude)
    edge, target = (ends.edge, ends.new) if state == "after" else (ends.old_edge, ends.old)
    if state == "after":
        gone = ends.replaced
        if consequences is not None:
            world.hidden |= {triple.key for triple in consequences.outdated}
            gone = (*gone, *consequences.outdated)
    else:
        gone = ()
        world.hidden.add(ends.edge.key)
    own = world.facts(ends.subject, with_incoming=config.include_incoming)
    if state == "after" and consequences is not None:
        own = [*world.admit(consequences.implied), *own]
    further = [] if target is None else world.follow(target, hops=config.hops)
    kept = _share(own, further, room=config.max_triples - (edge is not None))
    n_left_out = len({triple.key for triple in (*own, *further)}) - len(kept) + world.n_skipped
    return Subgraph.from_triples(
        kept if edge is None else (*kept, edge),
        anchor=ends.subject,
        edited=edge,
        n_left_out=n_left_out,
        replaced=tuple({triple.key: triple for triple in gone}.values()),
        switched_off=tuple(sorted(world.switched_off.values())),
    )


class _World:
    """Reader of one state of the graph, which records what it leaves out."""

    def __init__(
        self, store: TripleStore, ends: EditEnds, *, config: SubgraphConfig, exclude: Collection[Switch]
    ) -> None:
        self._store, self._config, self._exclude = store, config, frozenset(exclude)
        self._edited = {triple.key for triple in (ends.edge, ends.old_edge) if triple is not None}
        self.hidden: set[tuple[str, str, str]] = set()
        self.switched_off: dict[tuple[str, str, str], Triple] = {}
        self.n_skipped = 0

    def facts(self, entity: Entity, *, with_incoming: bool = False) -> list[Triple]:
        found = self.admit(self._store.outgoing(entity.id, limit=READ_LIMIT))
        if with_incoming:
            found += self.admit(self._store.incoming(entity.id, limit=READ_LIMIT))
        return found

    def follow(self, start: Entity, *, hops: int) -> list[Triple]:
        """Return rings of outgoing facts from `start`, nearest first; reading stops once the cap is reached."""
        seen, ring, found = {start}, [start], list[Triple]()
        for _ in range(hops):
            following: list[Entity] = []
            for node in ring:
                if len(found) > 4 * self._config.max_triples:
                    return found
                facts = self.facts(node)
                found += facts
                following += [t.object for t in facts if not t.object.is_literal and t.object not in seen]
                seen.update(following)
            ring = following
        return found

    def admit(self, triples: Iterable[Triple]) -> list[Triple]:
        taken: list[Triple] = []
        counts: dict[str, int] = {}
        for triple in triples:
            if triple.subject == triple.object or triple.key in self.hidden or triple.key in self._edited:
                continue
            if triple.object.is_literal and not self._config.include_literals:
                continue
            if triple.key in self._exclude or triple.relation.id in self._exclude:
                self.switched_off[triple.key] = triple
                continue
            counts[triple.relation.id] = counts.get(triple.relation.id, 0) + 1
            if counts[triple.relation.id] > self._config.max_per_relation:
                self.n_skipped += 1
                continue
            taken.append(triple)
        return taken


def _share(own: list[Triple], further: list[Triple], *, room: int) -> list[Triple]:
    # A country has some forty facts of its own. Without a share for the new object's facts, the graph would not show
    # what the edit adds.
    own = list({triple.key: triple for triple in own}.values())
    keys = {triple.key for triple in own}
    further = list({triple.key: triple for triple in further if triple.key not in keys}.values())
    n_own = min(len(own), max(room // 2, room - len(further)))
    return own[:n_own] + further[: room - n_own]


def facts_around(
    store: TripleStore,
    entity_id: str,
    *,
    away: Collection[tuple[str, str, str]] = (),
    limit: int = 12,
) -> tuple[Triple, ...]:
    """Return up to `limit` triples at one entity, in both directions: what a person sees who opens it.

    Values, loops and what is `away` (triples by their keys) are left out. Empty for an entity the store does not know.
    """
    around = (*store.outgoing(entity_id, limit=READ_LIMIT), *store.incoming(entity_id, limit=READ_LIMIT))
    fresh = {t.key: t for t in around if t.key not in away and t.subject != t.object and not t.object.is_literal}
    return tuple(fresh.values())[:limit]


def without(subgraph: Subgraph, off: Collection[Switch]) -> Subgraph:
    """Switch triples (keys) and relations (ids) off in the subgraph; the edited edge always stays.

    Nodes connected to the anchor only through them are removed too. To switch something on again, retrieve the subgraph
    with fewer exclusions.
    """
    edited = subgraph.edited
    dropped = [
        triple
        for triple in subgraph.triples
        if (triple.key in off or triple.relation.id in off) and (edited is None or triple.key != edited.key)
    ]
    keys = {triple.key for triple in dropped}
    kept = [triple for triple in subgraph.triples if triple.key not in keys]
    return _rebuild(subgraph, kept, switched_off=(*subgraph.switched_off, *dropped))


def _rebuild(
    subgraph: Subgraph,
    triples: Iterable[Triple],
    *,
    switched_off: Iterable[Triple],
) -> Subgraph:
    return Subgraph.from_triples(
        triples,
        anchor=subgraph.entities[subgraph.anchor],
        edited=subgraph.edited,
        n_left_out=subgraph.n_left_out,
        replaced=subgraph.replaced,
        switched_off=tuple(sorted(switched_off)),
    )
