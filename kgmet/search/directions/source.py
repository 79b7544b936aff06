"""`DirectionSource`: the trainable parametrisation of a shift; the free shift and the random control.

A source gives the shift in units of ‖h‖/√d_model: one unit in every coordinate is as long as the hidden state. So a
learning rate means the same on every model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kgmet.base.shapes import check_shape

__all__ = ["Direction", "DirectionSource", "FreeDirection", "RandomDirection", "StartedSource"]


_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False, kw_only=True)
class Direction:
    """The direction of a shift: `unit` (d_model,) of length 1, and the name of its `source`.

    With a graph, `influence` (n_node,) is the share of each node in it; it sums to 1.
    """

    unit: Tensor
    source: str
    influence: Tensor | None = None

    def __post_init__(self) -> None:
        """Check shape and length."""
        check_shape("unit", self.unit, None)
        if abs(float(self.unit.norm()) - 1) > 1e-4:
            raise ValueError(f"a direction must have length 1, got {float(self.unit.norm()):.6f}")


class DirectionSource(Protocol):
    """Trainable shift of one edit, before its length is limited.

    Its tensors are on the device of the shifted layer; `influence` is on the CPU.
    """

    @property
    def name(self) -> str:
        """Name in tables and saved artefacts."""

    def parameters(self) -> Sequence[nn.Parameter]:
        """Return the trainable parameters."""

    def shift(self) -> Tensor:
        """Return the shift, (d_model,), in units of ‖h‖/√d_model, differentiable in the parameters."""

    def influence(self) -> Tensor | None:
        """Return each node's share in the shift, (n_node,), or ``None`` without a graph."""


@runtime_checkable
class StartedSource(DirectionSource, Protocol):
    """A source whose shift depends on the state it starts from, with a loss term of its own."""

    def begin(self, state: Tensor, scale: float) -> None:
        """Take the unshifted state h (d_model,), and the unit of shifts ‖h‖/√d_model."""

    def penalty(self) -> Tensor:
        """Return the loss term, a scalar differentiable in the parameters."""


class FreeDirection:
    """Every coordinate free, as in ROME, MEMIT and AlphaEdit; starts at zero."""

    name = "free"

    def __init__(self, d_model: int, *, device: torch.device | None = None) -> None:
        self._shift = nn.Parameter(torch.zeros(d_model, dtype=torch.float32, device=device or _CPU))

    def parameters(self) -> Sequence[nn.Parameter]:
        """Return the shift itself."""
        return [self._shift]

    def shift(self) -> Tensor:
        """Return the shift itself."""
        return self._shift

    def influence(self) -> Tensor | None:
        """Return no graph took part."""
        return None


class RandomDirection:
    """Control: one random direction, fixed by the seed; only its length is learned."""

    name = "random"

    def __init__(self, d_model: int, *, seed: int, device: torch.device | None = None) -> None:
        # Drawn on the CPU: the same direction on every device.
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(d_model, dtype=torch.float32, generator=generator, device=_CPU).to(device or _CPU)
        self._unit = drawn / drawn.norm()
        self._length = nn.Parameter(torch.full((), 0.1, dtype=torch.float32, device=device or _CPU))

    def parameters(self) -> Sequence[nn.Parameter]:
        """Return the length."""
        return [self._length]

    def shift(self) -> Tensor:
        """Return the learned length times the fixed direction; 1 is the length of the hidden state."""
        shift: Tensor = self._length * math.sqrt(self._unit.numel()) * self._unit
        return shift

    def influence(self) -> Tensor | None:
        """Return no graph took part."""
        return None
