"""`Subgraph`: a small part of a graph around one entity, as sorted values and index tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from kgmet.base.errors import BrokenArtifactError, GraphError
from kgmet.base.values import value_from
from kgmet.graph.codec import graph_json
from kgmet.graph.triple import Entity, Relation, Triple

__all__ = ["NO_EDGE", "Subgraph"]

NO_EDGE = -1
"""`Subgraph.edited_edge` where the graph has no such edge."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subgraph:
    """A small directed multigraph around the subject of an edit.

    `edge_index` (2, n_edge) holds subject and object positions in `entities`, `edge_relation` (n_edge,) positions in
    `relations`, both int64. Entities and relations are sorted by id, edges by (subject, relation, object). `hop[i]` is
    the number of edges between the anchor and entity i, whatever their direction. `edited_edge` is the position of the
    edited fact's edge, or `NO_EDGE`. `replaced` are the edges absent from this state because of the edit,
    `switched_off` those the user removed. `n_left_out` is the number of triples the cap left out (a lower bound at
    hubs), and `sources` where each edge was read.

    Raises:
        GraphError: if the parts contradict each other.
    """

    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...]
    edge_index: Tensor
    edge_relation: Tensor
    hop: tuple[int, ...]
    anchor: int
    n_left_out: int = 0
    edited_edge: int = NO_EDGE
    replaced: tuple[Triple, ...] = ()
    switched_off: tuple[Triple, ...] = ()
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check sizes, order, ranges and loops."""
        n_node, n_edge = len(self.entities), self.n_edge
        _check(
            tuple(self.edge_index.shape) == (2, n_edge),
            f"edge_index must be (2, {n_edge}), is {tuple(self.edge_index.shape)}",
        )
        _check(self.edge_index.dtype == self.edge_relation.dtype == torch.int64, "edges must be int64")
        _check(_is_rising([entity.id for entity in self.entities]), "entities must be sorted by id, each once")
        _check(_is_rising([relation.id for relation in self.relations]), "relations must be sorted by id, each once")
        _check(0 <= self.anchor < n_node, f"anchor {self.anchor} is none of {n_node} entities")
        _check(
            len(self.hop) == n_node and self.hop[self.anchor] == 0,
            "hop must hold one number per entity, 0 at the anchor",
        )
        _check(NO_EDGE <= self.edited_edge < n_edge, f"edited_edge {self.edited_edge} is none of {n_edge} edges")
        _check(self.n_left_out >= 0, f"n_left_out is {self.n_left_out}")
        _check(len(self.sources) in (0, n_edge), "sources must hold one text per edge")
        if n_edge:
            _check(
                int(self.edge_index.min()) >= 0 and int(self.edge_index.max()) < n_node,
                "an edge ends outside the entities",
            )
            _check(
                int(self.edge_relation.min()) >= 0 and int(self.edge_relation.max()) < len(self.relations),
                "an edge has a relation outside the relations",
            )
            _check(not bool((self.edge_index[0] == self.edge_index[1]).any()), "self-loops are not allowed")

    @property
    def n_node(self) -> int:
        """Number of entities."""
        return len(self.entities)

    @property
    def n_edge(self) -> int:
        """Number of triples."""
        return int(self.edge_relation.shape[0])

    @property
    def triples(self) -> tuple[Triple, ...]:
        """The edges as triples, in edge order."""
        sources = self.sources or ("",) * self.n_edge
        ends = zip(*self.edge_index.tolist(), self.edge_relation.tolist(), sources, strict=True)
        return tuple(
            Triple(subject=self.entities[s], relation=self.relations[r], object=self.entities[o], source=source)
            for s, o, r, source in ends
        )

    @property
    def edited(self) -> Triple | None:
        """The edited fact's triple, or ``None``."""
        return None if self.edited_edge == NO_EDGE else self.triples[self.edited_edge]

    @classmethod
    def from_triples(
        cls, triples: Iterable[Triple], *, anchor: Entity, edited: Triple | None = None, **rest: Any
    ) -> Subgraph:
        """Sort, number and connect triples; self-loops, duplicates and parts not connected to `anchor` are dropped.

        The order of `triples` does not matter. `rest` are the other fields: `n_left_out`, `replaced`, `switched_off`.
        """
        unique = {triple.key: triple for triple in sorted(triples, key=_full) if triple.subject != triple.object}
        hops = _hops(anchor.id, list(unique))
        kept = [unique[key] for key in sorted(unique) if key[0] in hops]
        nodes = {entity.id: entity for triple in kept for entity in (triple.object, triple.subject)}
        nodes[anchor.id] = anchor
        entities = tuple(nodes[key] for key in sorted(nodes))
        names = {triple.relation.id: triple.relation for triple in kept}
        relations = tuple(names[key] for key in sorted(names))
        node = {entity.id: position for position, entity in enumerate(entities)}
        kind = {relation.id: position for position, relation in enumerate(relations)}
        index = [[node[triple.subject.id] for triple in kept], [node[triple.object.id] for triple in kept]]
        keys = [triple.key for triple in kept]
        return cls(
            entities=entities,
            relations=relations,
            edge_index=torch.tensor(index, dtype=torch.int64).reshape(2, len(kept)),
            edge_relation=torch.tensor([kind[triple.relation.id] for triple in kept], dtype=torch.int64),
            hop=tuple(hops[entity.id] for entity in entities),
            anchor=node[anchor.id],
            edited_edge=keys.index(edited.key) if edited is not None and edited.key in keys else NO_EDGE,
            sources=tuple(triple.source for triple in kept),
            **rest,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, edges as triples and each entity with its `hop`."""
        hops = zip(graph_json(self.entities), self.hop, strict=True)
        return {
            "entities": [entity | {"hop": hop} for entity, hop in hops],
            "relations": graph_json(self.relations),
            "triples": graph_json(self.triples),
            "anchor": self.anchor,
            "edited_edge": self.edited_edge,
            "n_left_out": self.n_left_out,
            "replaced": graph_json(self.replaced),
            "switched_off": graph_json(self.switched_off),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Subgraph:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if it is not what `to_json` wrote.
        """
        saved = value_from(_Saved, data, "This is not a saved graph", advice="Retrieve the graph again.")
        try:
            return cls.from_triples(
                saved.triples,
                anchor=saved.entities[saved.anchor],
                edited=None if saved.edited_edge == NO_EDGE else saved.triples[saved.edited_edge],
                n_left_out=saved.n_left_out,
                replaced=saved.replaced,
                switched_off=saved.switched_off,
            )
        except GraphError as error:
            raise BrokenArtifactError(f"The saved graph contradicts itself: {error}") from error


@dataclass(frozen=True, kw_only=True)
class _Saved:
    """A subgraph as it is saved; numbering and hops are made again."""

    entities: tuple[Entity, ...]
    triples: tuple[Triple, ...]
    anchor: int
    edited_edge: int
    n_left_out: int
    replaced: tuple[Triple, ...]
    switched_off: tuple[Triple, ...]

    def __post_init__(self) -> None:
        """Check that the anchor and the edited edge exist."""
        if not 0 <= self.anchor < len(self.entities) or not NO_EDGE <= self.edited_edge < len(self.triples):
            raise ValueError(f"there is no anchor {self.anchor}, or no edge {self.edited_edge}")


def _full(triple: Triple) -> tuple[str, ...]:
    # Equal keys may have different labels in two sources; the choice between them must not depend on the order.
    return (*triple.key, triple.source, triple.subject.label, triple.object.label)


def _hops(anchor: str, keys: Sequence[tuple[str, str, str]]) -> dict[str, int]:
    beside: dict[str, list[str]] = {}
    for subject, _, object_ in keys:
        beside.setdefault(subject, []).append(object_)
        beside.setdefault(object_, []).append(subject)
    hops, ring = {anchor: 0}, [anchor]
    while ring:
        following = []
        for node in ring:
            for neighbour in beside.get(node, ()):
                if neighbour not in hops:
                    hops[neighbour] = hops[node] + 1
                    following.append(neighbour)
        ring = following
    return hops


def _is_rising(ids: Sequence[str]) -> bool:
    return all(first < second for first, second in pairwise(ids))


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise GraphError(f"This is not a valid subgraph: {message}. Build it with Subgraph.from_triples.")
