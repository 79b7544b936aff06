"""Settings of the direction and of the graph encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from kgmet.base.errors import ConfigError

__all__ = ["DirectionConfig", "EncoderTask", "EncoderTrainingConfig", "SourceKind"]


class SourceKind(Enum):
    """Where a direction comes from."""

    FREE = "free"
    """Every coordinate free: ROME, MEMIT, AlphaEdit."""
    GRAPH = "graph"
    """Graph encoder, unit direction times a learned length: KGMET."""
    GRAPH_FREE_LENGTH = "graph, free length"
    """Graph encoder whose output is the shift: GLAME."""
    NO_GRAPH = "no graph"
    """Control: the same encoder, only the subject's node."""
    NONSENSE = "nonsense graph"
    """Control: the same triples with other entities' labels."""
    TRAINED = "trained encoder"
    """An encoder trained once across the store's facts and then fixed; the length is learned, and a free remainder."""
    TRAINED_NONSENSE = "trained encoder, nonsense graph"
    """Control: the same trained encoder, the same triples with other entities' labels."""
    RANDOM = "random"
    """Control: a fixed random direction, only its length learned."""

    @property
    def uses_graph(self) -> bool:
        """Whether an encoder takes part."""
        return self not in (SourceKind.FREE, SourceKind.RANDOM)

    @property
    def is_trained(self) -> bool:
        """Whether the encoder was trained beforehand."""
        return self in (SourceKind.TRAINED, SourceKind.TRAINED_NONSENSE)

    @property
    def is_nonsense(self) -> bool:
        """Whether the graph's entities bear other entities' labels."""
        return self in (SourceKind.NONSENSE, SourceKind.TRAINED_NONSENSE)


@dataclass(frozen=True, kw_only=True)
class DirectionConfig:
    """Where the direction comes from, and the shape of the encoder."""

    source: SourceKind = SourceKind.FREE
    """One of `SourceKind`."""
    feature_layer: int = 3
    """Decoder layer whose states are the features of names; from 0."""
    drop_sink: bool = True
    """Leave out position 0, the attention sink, whose state hides everything else."""
    centre: bool = True
    """Subtract the mean over the subgraph's names."""
    n_layer: int = 2
    """Relational layers; at least 1."""
    length_factor: float = 1.0
    """The constant in front of the learned length, in units of the hidden state's length; above 0."""
    encoder: str = ""
    """Id of the trained encoder; empty: the only one there is for the model."""
    remainder: float = 0.5
    """Longest free part beside a trained encoder's direction, as a share of the directed part; 0: only length is
    learned."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.feature_layer < 0 or self.n_layer < 1:
            raise ConfigError("direction.feature_layer must be at least 0 and direction.n_layer at least 1")
        if not self.length_factor > 0:
            raise ConfigError(f"direction.length_factor must be above 0, got {self.length_factor}")
        if not 0 <= self.remainder < math.inf:
            raise ConfigError(f"direction.remainder must be at least 0, got {self.remainder}")


class EncoderTask(Enum):
    """What a graph encoder is trained to say."""

    SHIFT = "shift"
    """The shift that makes an edit hold: trained through the model, on edits drawn from the store."""
    STATE = "state"
    """The model's own state of a subject, from what the graph says of it; an edit's direction is a difference."""


@dataclass(frozen=True, kw_only=True)
class EncoderTrainingConfig:
    """How a graph encoder is trained, once per model."""

    task: EncoderTask = EncoderTask.SHIFT
    """One of `EncoderTask`."""
    layer: int = 8
    """Decoder layer after which the shift is added; as the highest of `write.layers`."""
    feature_layer: int = 8
    """Decoder layer whose states are the features of names; from 0."""
    width: int = 128
    """Of the encoder's bottleneck; at least 1."""
    n_edit: int = 1000
    """Edits drawn from the store, balanced over relations; at least 4."""
    n_checked: int = 32
    """Of these, held back to check the encoder on edits it has not seen, and to stop where that is best; at least 2,
    fewer than `n_edit`. With 376 edits and 160 steps it learned them by heart: loss 2.1, and 4.3 on edits held back."""
    batch: int = 16
    """Edits per step, each with one prompt; at least 1."""
    steps: int = 100
    """Gradient steps; at least 1."""
    rate: float = 1.5e-3
    """Adam's learning rate at the start; falls evenly to a twentieth."""
    weight_decay: float = 1e-2
    """Of AdamW; at least 0."""
    length_weight: float = 0.5
    """Penalty (‖shift‖ / ‖h‖)², beside the negative log-likelihood in nats per token."""
    consequence_share: float = 0.4
    """Share of the prompts that ask for a consequence instead of the edit itself; 0 to 1."""
    max_norm_ratio: float = 0.75
    """Longest ‖shift‖ / ‖hidden state‖; above 0."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 2 <= self.n_checked < self.n_edit or self.n_edit < 4:
            raise ConfigError(
                f"an encoder needs at least 4 edits and 2 of them held back, got {self.n_edit} and {self.n_checked}"
            )
        for name in ("width", "batch", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"the encoder's {name} must be at least 1, got {getattr(self, name)}")
        for name in ("rate", "max_norm_ratio"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"the encoder's {name} must be above 0, got {getattr(self, name)}")
        for name in ("layer", "feature_layer", "weight_decay", "length_weight"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"the encoder's {name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.consequence_share <= 1:
            raise ConfigError(f"the encoder's consequence_share must be from 0 to 1, got {self.consequence_share}")
