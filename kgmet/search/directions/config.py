"""Settings of the direction and of the graph encoder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kgmet.base.ranges import check_numbers

__all__ = ["DirectionConfig", "SourceKind"]


class SourceKind(Enum):
    """The kinds of direction source."""

    FREE = "free"
    """Every coordinate free: ROME, MEMIT, AlphaEdit."""
    REACHABLE = "reachable"
    """Every coordinate free, in units of what the written layers can add to it where norms bound that."""
    GRAPH = "graph"
    """Graph encoder; a unit direction times a learned length: KGMET."""
    GRAPH_FREE_LENGTH = "graph, free length"
    """Graph encoder; its output is the shift: GLAME."""
    NO_GRAPH = "no graph"
    """Control: the same encoder on the subject's node alone."""
    SHUFFLED = "shuffled graph"
    """Control: the same triples with the labels of other entities."""
    TWO_DIRECTIONS = "two directions"
    """Two unit directions on which the state's coefficients are swapped: SUIT."""
    RANDOM = "random"
    """Control: a fixed random direction; only its length is learned."""

    @property
    def uses_graph(self) -> bool:
        """Whether the source uses a graph encoder."""
        return self not in (SourceKind.FREE, SourceKind.REACHABLE, SourceKind.TWO_DIRECTIONS, SourceKind.RANDOM)

    @property
    def is_shuffled(self) -> bool:
        """Whether the entities carry the labels of other entities."""
        return self is SourceKind.SHUFFLED


@dataclass(frozen=True, kw_only=True)
class DirectionConfig:
    """The direction source and the shape of its encoder."""

    source: SourceKind = SourceKind.FREE
    """One of `SourceKind`."""
    feature_layer: int = 3
    """Decoder layer whose hidden states are the node and relation features; from 0."""
    drop_sink: bool = True
    """Leave out position 0, the attention sink, whose state dominates every mean."""
    centre: bool = True
    """Subtract the mean feature of the subgraph's names."""
    n_layer: int = 2
    """Number of relational layers; at least 1."""
    length_factor: float = 1.0
    """Constant factor of the learned length, in units of the hidden state's length; above 0."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_numbers(self, "direction", "feature_layer", least=0)
        check_numbers(self, "direction", "n_layer", least=1)
        check_numbers(self, "direction", "length_factor", above=0)
