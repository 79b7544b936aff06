"""`RelationalEncoder`: the graph neural network.

Two relational layers, messages along edges::

    h_v ← act( (1/indegree v) Σ over (u, r) → v of (h_u + r) W_n  +  h_v W_s )

h (n_node, d_model) are node vectors, r the vector of an edge's relation; W_n and W_s are (d_model, d_model). act is
RReLU with its slope fixed at the mean, and there is no dropout, so the searched shift is the one that is written. KGMET
(2025.findings-emnlp.261). Self-loops are W_s and have no relation of their own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["RelationalEncoder", "has_dgl", "mean_messages", "mean_messages_dgl"]

_SLOPE = (1 / 8 + 1 / 3) / 2
"""Mean slope of RReLU for negative values."""


class RelationalEncoder(nn.Module):
    """Graph neural network of the module's formula, with unit-variance parameters scaled by 1/√d_model in use."""

    def __init__(self, d_model: int, *, n_layer: int, generator: torch.Generator) -> None:
        super().__init__()
        self._scale = 1 / math.sqrt(d_model)
        shape = 2, d_model, d_model
        draw = [torch.randn(shape, dtype=torch.float32, generator=generator, device="cpu") for _ in range(n_layer)]
        self.weights = nn.ParameterList(nn.Parameter(drawn) for drawn in draw)

    def forward(self, nodes: Tensor, relations: Tensor, edge_index: Tensor, edge_relation: Tensor) -> Tensor:
        """Encode a graph.

        Args:
            nodes: (n_node, d_model).
            relations: (n_rel, d_model).
            edge_index: (2, n_edge): subject and object node of each edge.
            edge_relation: (n_edge,) row in `relations`.

        Returns:
            (n_node, d_model).
        """
        # The dgl wheel from pip runs on the CPU only.
        messages = mean_messages_dgl if nodes.device.type == "cpu" and has_dgl() else mean_messages
        hidden = nodes
        for number, weight in enumerate(self.weights):
            mean = messages(hidden, relations[edge_relation], edge_index)
            hidden = (mean @ weight[0] + hidden @ weight[1]) * self._scale
            if number + 1 < len(self.weights):
                hidden = nn.functional.leaky_relu(hidden, _SLOPE)
        return hidden


def mean_messages(nodes: Tensor, edges: Tensor, edge_index: Tensor) -> Tensor:
    """Return, for each node, the mean over incoming edges of (source node + edge); 0 without edges.

    Args:
        nodes: (n_node, d_model).
        edges: (n_edge, d_model).
        edge_index: (2, n_edge) from, to.

    Returns:
        (n_node, d_model).
    """
    start, end = edge_index
    total = torch.zeros_like(nodes).index_add(0, end, nodes[start] + edges)
    count = torch.zeros(len(nodes), dtype=nodes.dtype, device=nodes.device)
    return total / count.index_add(0, end, torch.ones_like(end, dtype=nodes.dtype)).clamp(min=1)[:, None]


def mean_messages_dgl(nodes: Tensor, edges: Tensor, edge_index: Tensor) -> Tensor:
    """Compute `mean_messages` with dgl."""
    import dgl
    import dgl.function as fn

    graph = dgl.graph((edge_index[0], edge_index[1]), num_nodes=len(nodes), device=nodes.device)
    with graph.local_scope():
        graph.ndata["h"], graph.edata["r"] = nodes, edges
        graph.update_all(fn.u_add_e("h", "r", "m"), fn.mean("m", "mean"))
        mean: Tensor = graph.ndata["mean"]
    return mean


def has_dgl() -> bool:
    """Return whether dgl can be imported; it exists for Python 3.11 and older only."""
    try:
        import dgl  # noqa: F401
    except (ImportError, OSError):
        return False
    return True
