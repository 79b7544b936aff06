"""`SpectralFilter`: removes an update's part in the directions that its weight uses most.

With W = Σ σᵢuᵢvᵢᵀ and k the fewest directions that carry a share of Σσᵢ²:

- REVIVE (arXiv:2601.11042): of ΔW = Σ mᵢⱼuᵢvⱼᵀ the coefficients with i ≤ k or j ≤ k are dropped, which is
  (I − U_kU_kᵀ) ΔW (I − V_kV_kᵀ).
- SPHERE (arXiv:2510.01172): ΔW (I − α V_kV_kᵀ); V_k are the top eigenvectors of WᵀW.

Both act on the factors, so an update stays as low-rank as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from kgmet.base.ranges import check_numbers
from kgmet.lm.run.placement import exact_device
from kgmet.write.solve import LayerUpdate

__all__ = ["FilterKind", "SpectralConfig", "SpectralFilter", "WeightDirections", "weight_directions"]


class FilterKind(Enum):
    """The filters of an update."""

    NONE = "none"
    """The update as solved."""
    REVIVE = "both sides"
    """REVIVE: nothing in the weight's strongest directions, neither of the outputs nor of the keys."""
    SPHERE = "keys"
    """SPHERE: less, or nothing, in the key directions that the weight amplifies most."""


@dataclass(frozen=True, kw_only=True)
class SpectralConfig:
    """Filter of an update in the singular directions of its weight."""

    kind: FilterKind = FilterKind.NONE
    """One of `FilterKind`."""
    energy: float = 0.5
    """Share of the weight's squared singular values in the filtered directions; above 0, below 1."""
    strength: float = 1.0
    """SPHERE's α: how much of the update is removed there; above 0, at most 1."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_numbers(self, "write.spectral", "energy", above=0, below=1)
        check_numbers(self, "write.spectral", "strength", above=0, most=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class WeightDirections:
    """A weight's strongest singular directions: `outputs` (k, d_model) and `keys` (k, d_key), rows of length 1."""

    outputs: Tensor
    keys: Tensor


def weight_directions(weight: Tensor, energy: float) -> WeightDirections:
    """Return the fewest singular directions of W (d_model, d_key) that carry a share of its squared values; float64."""
    matrix = weight.to(device=exact_device(weight.device), dtype=torch.float64)
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
    squares, vectors = squares.flip(0).clamp(min=0), vectors.flip(1)
    count = int((squares.cumsum(0) < energy * squares.sum()).sum()) + 1
    outputs = vectors[:, :count].T
    keys = outputs @ matrix / squares[:count].sqrt().clamp(min=1e-30)[:, None]
    return WeightDirections(outputs=outputs.cpu(), keys=keys.cpu())


@dataclass(frozen=True, eq=False, kw_only=True)
class SpectralFilter:
    """The filter of a write; `directions` are by layer."""

    config: SpectralConfig
    directions: dict[int, WeightDirections]

    def filtered(self, update: LayerUpdate) -> LayerUpdate:
        """Return the update without its part in the strongest directions."""
        top, kind = self.directions[update.layer], self.config.kind
        outputs, keys = update.output_factor.double(), update.input_factor.double()
        strength = self.config.strength if kind is FilterKind.SPHERE else 1.0
        keys = keys - strength * (keys @ top.keys.T) @ top.keys
        if kind is FilterKind.REVIVE:
            outputs = outputs - (outputs @ top.outputs.T) @ top.outputs
        return LayerUpdate(
            layer=update.layer,
            weight_name=update.weight_name,
            output_factor=outputs.float(),
            input_factor=keys.float(),
        )
