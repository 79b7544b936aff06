"""`ChangeEncoder`: a graph neural network that reads what an edit changes in a graph, trained across edits.

A node hears of its neighbours once; then the anchor adds up its edges, each turned by what its relation is::

    h_v ← x_v + act( x_v A + mean over (u, r) → v of (x_u + r) B ) U
    E(G) ← Σ over (u, r) → anchor of  (γ_e + tanh(q_e)·a) h_u ∘ (1 + tanh(q_e) K) + act( h_u C + r D + γ_e f ) V
    q_e ← r Q + γ_e f,   γ_e ← 1 on the edited edge, 0 elsewhere (times a learned gain)

and an edit's shift is E(after) − E(before), so that an edge which both graphs have, between nodes that hear the same,
cancels exactly, and graphs that do not differ give no shift. The anchor's own vector is masked: what is said of the
subject comes from the graph alone. U, K and V start at zero, so an untrained encoder says "the new object's vector
minus the old object's".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from kgmet.base.shapes import check_shape
from kgmet.graph.reading.retrieve import NO_EDGE, Subgraph
from kgmet.search.directions.encoder import mean_messages

__all__ = ["ChangeEncoder", "ChangeGraph"]

_SLOPE = 0.2


@dataclass(frozen=True, eq=False, kw_only=True)
class ChangeGraph:
    """One state of a subgraph as tensors.

    `nodes` (n_node, d_model), `relations` (n_rel, d_model), `edge_index` (2, n_edge), `edge_relation` (n_edge,), and
    the positions of the anchor and of the edited edge (`NO_EDGE` without one).
    """

    nodes: Tensor
    relations: Tensor
    edge_index: Tensor
    edge_relation: Tensor
    anchor: int
    edited_edge: int

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shape("relations", self.relations, None, self.nodes.shape[1])
        check_shape("edge_index", self.edge_index, 2, self.edge_relation.shape[0])

    @classmethod
    def of(cls, subgraph: Subgraph, *, nodes: Tensor, relations: Tensor) -> ChangeGraph:
        """A subgraph with vectors for its entities and relations."""
        return cls(
            nodes=nodes,
            relations=relations,
            edge_index=subgraph.edge_index,
            edge_relation=subgraph.edge_relation,
            anchor=subgraph.anchor,
            edited_edge=subgraph.edited_edge,
        )


class ChangeEncoder(nn.Module):
    """See the module. `width` is the size of the bottleneck; all else is (d_model,) or (width,) wide."""

    def __init__(self, d_model: int, *, width: int, generator: torch.Generator) -> None:
        super().__init__()

        def drawn(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) / math.sqrt(rows))

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape))

        self.own, self.heard, self.back = drawn(d_model, width), drawn(d_model, width), zeros(width, d_model)
        self.query, self.turn, self.weigh = drawn(d_model, width), zeros(width, d_model), zeros(width)
        self.far, self.kind, self.out = drawn(d_model, width), drawn(d_model, width), zeros(width, d_model)
        self.flag = zeros(width)
        # As long as the shifts that searches find: a bit more than half of the hidden state.
        self.gain = nn.Parameter(torch.tensor(0.6))

    def forward(self, after: ChangeGraph, before: ChangeGraph) -> Tensor:
        """E(after) − E(before), (d_model,), in units of ‖h‖/√d_model."""
        difference: Tensor = self.state(after) - self.state(before)
        return difference

    def state(self, graph: ChangeGraph) -> Tensor:
        """E(G), (d_model,): what the graph says of its anchor, without looking at the anchor's own vector."""
        masked = torch.ones(len(graph.nodes), 1, dtype=graph.nodes.dtype)
        masked[graph.anchor] = 0
        nodes = graph.nodes * masked
        # Messages run both ways: the anchor must hear of what its facts point to.
        ends = torch.cat([graph.edge_index, graph.edge_index.flip(0)], dim=1)
        relations = graph.relations[torch.cat([graph.edge_relation, graph.edge_relation])]
        heard = mean_messages(nodes, relations, ends)
        nodes = nodes + leaky_relu(nodes @ self.own + heard @ self.heard, _SLOPE) @ self.back
        mine = ends[1] == graph.anchor
        n_edge = graph.edge_relation.shape[0]
        number = torch.arange(2 * n_edge) % max(n_edge, 1)
        is_edited = ((number == graph.edited_edge) & (graph.edited_edge != NO_EDGE)).to(nodes.dtype)[mine, None]
        return self._read(nodes[ends[0, mine]], relations[mine], is_edited).sum(0)

    def _read(self, far: Tensor, relations: Tensor, is_edited: Tensor) -> Tensor:
        """What each of the anchor's edges adds, (n_mine, d_model)."""
        query = torch.tanh(relations @ self.query + is_edited * self.flag)
        weight = self.gain * is_edited + (query @ self.weigh)[:, None]
        turned = far * (1 + query @ self.turn) * weight
        added: Tensor = leaky_relu(far @ self.far + relations @ self.kind + is_edited * self.flag, _SLOPE) @ self.out
        return turned + added
