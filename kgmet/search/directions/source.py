"""`DirectionSource`: what a search may turn and stretch. The free shift and the random control are here.

A source gives the shift in units of its scale, ‖h‖/√d_model: one such unit in every coordinate is as long as the hidden
state. That makes a learning rate mean the same on every model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from kgmet.base.shapes import check_shape

__all__ = ["Direction", "DirectionSource", "FreeDirection", "RandomDirection"]


_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False, kw_only=True)
class Direction:
    """Where a shift points: `unit` (d_model,) of length 1, and the name of its `source`.

    Where a graph took part, `influence` (n_node,) is the share of each node in it; it sums to 1.
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
    """One edit's shift before its length is limited, as something that can be learned.

    It lies where the search does, on the device of the layer that is shifted; `influence` is on the CPU.
    """

    @property
    def name(self) -> str:
        """For tables and saved artefacts."""

    def parameters(self) -> Sequence[nn.Parameter]:
        """What the search may change."""

    def shift(self) -> Tensor:
        """(d_model,) in units of ‖h‖/√d_model, differentiable in the parameters."""

    def influence(self) -> Tensor | None:
        """(n_node,) share of each node of the subgraph in the shift, or ``None`` where no graph took part."""


class FreeDirection:
    """Every coordinate free, as in ROME, MEMIT and AlphaEdit; starts at zero."""

    name = "free"

    def __init__(self, d_model: int, *, device: torch.device | None = None) -> None:
        self._shift = nn.Parameter(torch.zeros(d_model, dtype=torch.float32, device=device or _CPU))

    def parameters(self) -> Sequence[nn.Parameter]:
        """The shift itself."""
        return [self._shift]

    def shift(self) -> Tensor:
        """The shift itself."""
        return self._shift

    def influence(self) -> Tensor | None:
        """No graph took part."""
        return None


class RandomDirection:
    """The control: one random direction, fixed by the seed; only its length is learned."""

    name = "random"

    def __init__(self, d_model: int, *, seed: int, device: torch.device | None = None) -> None:
        # Drawn on the CPU: the same direction on every device.
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(d_model, dtype=torch.float32, generator=generator, device=_CPU).to(device or _CPU)
        self._unit = drawn / drawn.norm()
        self._length = nn.Parameter(torch.full((), 0.1, dtype=torch.float32, device=device or _CPU))

    def parameters(self) -> Sequence[nn.Parameter]:
        """The length."""
        return [self._length]

    def shift(self) -> Tensor:
        """Length times the fixed direction; 1 is the length of the hidden state."""
        shift: Tensor = self._length * math.sqrt(self._unit.numel()) * self._unit
        return shift

    def influence(self) -> Tensor | None:
        """No graph took part."""
        return None
