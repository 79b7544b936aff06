"""`GraphDirection`: the shift as the subject's vector in an encoded subgraph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kgmet.graph.reading.retrieve import Subgraph
from kgmet.search.directions.config import DirectionConfig, SourceKind
from kgmet.search.directions.encoder import RelationalEncoder
from kgmet.search.directions.features import GraphFeatures, only_anchor

__all__ = ["GraphDirection"]


class GraphDirection:
    """A graph encoder made and trained for one edit.

    It is seeded by the edit, so the same edit gives the same direction, alone or in a batch, on any device. It computes
    on the device of its features.

    KGMET learns a unit direction and a length separately; in GLAME (arXiv:2402.13593) the encoder's output is the
    shift. With ``SourceKind.NO_GRAPH`` the encoder sees the subject's node only. For the shuffled control, pass
    features of other names.
    """

    def __init__(self, subgraph: Subgraph, features: GraphFeatures, *, config: DirectionConfig, seed: int) -> None:
        self.name = config.source.value
        self._config = config
        if config.source is SourceKind.NO_GRAPH:
            features = only_anchor(features, subgraph.anchor)
            edges, kinds, self._anchor = subgraph.edge_index[:, :0], subgraph.edge_relation[:0], 0
        else:
            # Messages run both ways, so that the objects of the subject's facts reach its vector.
            edges = torch.cat([subgraph.edge_index, subgraph.edge_index.flip(0)], dim=1)
            kinds = torch.cat([subgraph.edge_relation, subgraph.edge_relation])
            self._anchor = subgraph.anchor
        device = features.nodes.device
        self._edges, self._edge_relation = edges.to(device), kinds.to(device)
        spread = features.nodes.norm(dim=-1).mean().clamp(min=1e-6) / math.sqrt(features.nodes.shape[1])
        self._nodes, self._relations = features.nodes / spread, features.relations / spread
        generator = torch.Generator().manual_seed(seed)
        width = features.nodes.shape[1]
        self._encoder = RelationalEncoder(width, n_layer=config.n_layer, generator=generator).to(device)
        # A length of zero would give the encoder no gradient in the first step.
        self._length = nn.Parameter(torch.full((), 0.1, dtype=torch.float32, device=device))

    def parameters(self) -> Sequence[nn.Parameter]:
        """Return the encoder's weights, and the length if it is learned separately."""
        if self._config.source is SourceKind.GRAPH_FREE_LENGTH:
            return list(self._encoder.parameters())
        return [*self._encoder.parameters(), self._length]

    def shift(self) -> Tensor:
        """Return the shift, (d_model,), in units of ‖h‖/√d_model."""
        return self._shift(self._nodes)

    def influence(self) -> Tensor | None:
        """Return each node's share in the shift: |gradient · value| of its features along it, normalised to sum 1."""
        nodes = self._nodes.clone().requires_grad_()
        with torch.enable_grad():
            shift = self._shift(nodes)
            (gradient,) = torch.autograd.grad((shift * shift.detach()).sum(), nodes)
        share: Tensor = (gradient * nodes).sum(-1).abs().detach()
        total: Tensor = share.sum().clamp(min=1e-12)
        return (share / total).cpu()

    def _shift(self, nodes: Tensor) -> Tensor:
        encoded: Tensor = self._encoder(nodes, self._relations, self._edges, self._edge_relation)[self._anchor]
        if self._config.source is SourceKind.GRAPH_FREE_LENGTH:
            # At the start the output is about as long as the features, 1 per coordinate; begin where KGMET does.
            return encoded * 0.1
        unit = encoded / encoded.norm().clamp(min=1e-6)
        shift: Tensor = self._length * (self._config.length_factor * math.sqrt(unit.numel())) * unit
        return shift
