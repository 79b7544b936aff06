"""`SwapDirection`: SUIT's shift, which swaps a state's coefficients on two learned directions.

SUIT (arXiv:2509.24502): with h the state and w₁, w₂ unit vectors,

    δ = (hᵀw₂ − hᵀw₁) w₁ + (hᵀw₁ − hᵀw₂) w₂,    loss − log p(new) + 0.3 (w₁ᵀw₂)².

The second term keeps the directions apart; for orthogonal ones h + δ has the two coefficients exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["SwapDirection"]

_CPU = torch.device("cpu")


class SwapDirection:
    """Two unit directions of one edit; begins at random ones, fixed by the seed."""

    name = "two directions"
    overlap_weight = 0.3
    """Weight of (w₁ᵀw₂)² in the loss."""

    def __init__(self, d_model: int, *, seed: int, device: torch.device | None = None) -> None:
        # Drawn on the CPU: the same directions on every device.
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(2, d_model, dtype=torch.float32, generator=generator, device=_CPU)
        self._both = nn.Parameter(drawn.to(device or _CPU))
        self._state: Tensor | None = None

    def begin(self, state: Tensor, scale: float) -> None:
        """Take the unshifted state h (d_model,), and the unit of shifts."""
        self._state = state.detach().to(self._both) / scale

    def parameters(self) -> Sequence[nn.Parameter]:
        """Return both directions, before they are brought to length 1."""
        return [self._both]

    def _units(self) -> Tensor:
        units: Tensor = self._both / self._both.norm(dim=1, keepdim=True)
        return units

    def shift(self) -> Tensor:
        """Return δ, (d_model,), in units of ‖h‖/√d_model.

        Raises:
            RuntimeError: if it was not begun with a state.
        """
        if self._state is None:
            raise RuntimeError("a shift by two directions needs the state it starts from")
        units = self._units()
        first, second = units @ self._state
        shift: Tensor = (second - first) * (units[0] - units[1])
        return shift

    def penalty(self) -> Tensor:
        """Return the loss term 0.3 (w₁ᵀw₂)²."""
        first, second = self._units()
        overlap: Tensor = self.overlap_weight * (first @ second).square()
        return overlap

    def influence(self) -> Tensor | None:
        """Return no graph took part."""
        return None
