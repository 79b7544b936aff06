"""`ShiftPrice`: a length of shifts that counts what they cost known facts, and the search in that length.

For a fact b let c_bᵀδ be the forecast change of its answer's log-probability when the shift δ is written, in nats. With
C = Σ_b c_b c_bᵀ, the state h and the price p, a shift's length is

    ‖δ‖²_M = ‖δ‖² + p‖h‖² δᵀCδ,    M = I + p‖h‖² C.

The search changes z with δ = M^(-1/2) z, so ‖z‖ = ‖δ‖_M: limit and penalty are of this length, and a step along a
costly direction is shorter. With p = 0 δ is z; as p → ∞ no priced fact changes, to first order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.base.shapes import check_shape

__all__ = ["ShiftPrice", "ShortenedShifts"]

_LEAST = 1e-10
"""Share of the largest eigenvalue of C below which a direction costs nothing."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ShiftPrice:
    """Price of one edit's shift.

    `costs` (n_fact, d_model) are the c_b, in nats per unit of the shift. `weight` is p, at least 0: the squared length,
    as a multiple of ‖h‖², that a squared forecast change of one nat adds.
    """

    costs: Tensor
    weight: float

    def __post_init__(self) -> None:
        """Check shape and range."""
        check_shape("costs", self.costs, None, None)
        if not self.weight >= 0:
            raise ConfigError(f"target.price must be at least 0, got {self.weight}")

    def shortened(self, norm: float) -> tuple[Tensor, Tensor]:
        """Return V and s with M^(-1/2) = I − V S Vᵀ for a state of length `norm`, where S is diagonal and holds s.

        Returns:
            V (d_model, n) with orthonormal columns and s (n,) in [0, 1], float64 on the CPU; n ≤ n_fact.
        """
        costs = self.costs.detach().cpu().double()
        is_wide = costs.shape[0] < costs.shape[1]
        values, vectors = torch.linalg.eigh(costs @ costs.T if is_wide else costs.T @ costs)
        chosen = values > _LEAST * values.max().clamp(min=1e-300) if len(values) else values > 0
        values, vectors = values[chosen], vectors[:, chosen]
        basis = (costs.T @ vectors) / values.sqrt() if is_wide else vectors
        return basis, 1 - (1 + self.weight * norm**2 * values).rsqrt()


class ShortenedShifts:
    """The map z ↦ M^(-1/2) z of several edits, differentiable.

    Args:
        parts: V (d_model, n) and s (n,) of each edit, as `ShiftPrice.shortened`; n may differ.
        like: a tensor with the device and dtype of the shifts.
    """

    def __init__(self, parts: Sequence[tuple[Tensor, Tensor]], like: Tensor) -> None:
        most = max((len(taken) for _, taken in parts), default=0)
        self._bases = like.new_zeros(len(parts), like.shape[-1], most)
        self._taken = like.new_zeros(len(parts), most)
        for number, (basis, taken) in enumerate(parts):
            self._bases[number, :, : len(taken)] = basis.to(like)
            self._taken[number, : len(taken)] = taken.to(like)

    def __call__(self, shifts: Tensor) -> Tensor:
        """Map (n_edit, d_model) to (n_edit, d_model)."""
        along = torch.einsum("ed,edn->en", shifts, self._bases) * self._taken
        return shifts - torch.einsum("en,edn->ed", along, self._bases)
