"""`solve_layer_update`: which change of one weight sends each key where it should go. Linear algebra only; knows no model.

AlphaEdit (arXiv:2410.02355), transposed because our batches are rows:
keys → K₁ᵀ, residuals → Rᵀ, free.project → P, written → K_pᵀ, ridge → λ,
``(P (K₁K₁ᵀ + K_pK_pᵀ) + λI) ΔWᵀ = P K₁ Rᵀ``.

With K = [K_p, K₁] and E choosing the new columns, the push-through identity gives
``ΔWᵀ = P K (KᵀPK + λI)⁻¹ E Rᵀ``: a system as small as there are keys instead of d_key², and the factors directly. When
there are more keys than free directions the same is solved in d_key dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.errors import ConfigError
from kgmet.shapes import check_finite, check_shape
from kgmet.write.nullspace import NullSpace

__all__ = ["KeySystem", "LayerUpdate", "solve_layer_update"]


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerUpdate:
    """What is added to one down-projection: ``x ↦ (x · input_factorᵀ) · output_factor``.

    `output_factor` (n_key, d_model) and `input_factor` (n_key, d_key) are float32 on the CPU and finite. The matrix they
    stand for, always (out, in), is ``output_factorᵀ · input_factor``.
    """

    layer: int
    weight_name: str
    output_factor: Tensor
    input_factor: Tensor

    def __post_init__(self) -> None:
        """Check shapes and values."""
        check_shape("output_factor", self.output_factor, None, None)
        check_shape("input_factor", self.input_factor, self.output_factor.shape[0], None)
        check_finite(f"The update of layer {self.layer}", self.output_factor)
        check_finite(f"The update of layer {self.layer}", self.input_factor)

    def dense(self) -> Tensor:
        """The whole matrix, (d_model, d_key)."""
        return self.output_factor.T @ self.input_factor

    @property
    def norm(self) -> float:
        """Frobenius norm of the whole matrix, without making it."""
        gram_out = self.output_factor.double() @ self.output_factor.double().T
        gram_in = self.input_factor.double() @ self.input_factor.double().T
        return float((gram_out * gram_in).sum().clamp(min=0).sqrt())

    def compacted(self) -> LayerUpdate:
        """The same update with at most d_model rows: once there are more keys than that, the matrix itself is smaller."""
        d_model = self.output_factor.shape[1]
        if self.output_factor.shape[0] <= d_model:
            return self
        identity = torch.eye(d_model, dtype=self.output_factor.dtype)
        return LayerUpdate(
            layer=self.layer, weight_name=self.weight_name, output_factor=identity, input_factor=self.dense()
        )


class KeySystem:
    """``KᵀPK + λI`` for keys that only ever grow in number, with its Cholesky factor kept up to date.

    Appending m keys to n costs O(n² m), not (n + m)³: the thousandth edit costs what the first did.
    """

    def __init__(self, free: NullSpace, ridge: float) -> None:
        if not ridge > 0:
            raise ConfigError(f"write.ridge must be above 0, got {ridge}")
        d_key = free.eigenvalues.shape[0]
        self.free = free
        self.ridge = ridge
        self.projected = torch.zeros(0, d_key, dtype=torch.float64)
        self._factor = torch.zeros(0, 0, dtype=torch.float64)

    def __len__(self) -> int:
        """How many keys it holds."""
        return self.projected.shape[0]

    def appended(self, keys: Tensor) -> KeySystem:
        """A new system with more keys, (n_new, d_key); this one stays as it is."""
        new = KeySystem(self.free, self.ridge)
        projected = self.free.project(keys.double())
        new.projected = torch.cat([self.projected, projected])
        if len(new) <= self.free.rank:
            new._factor = self._extended_factor(projected)
        return new

    def directions(self, n_last: int) -> Tensor:
        """Columns of ``P K (KᵀPK + λI)⁻¹`` that belong to the last `n_last` keys, as rows (n_last, d_key), float64."""
        wanted = self.projected[len(self) - n_last :]
        if len(self) > self.free.rank:
            # More keys than free directions: (K̃K̃ᵀ + λI)⁻¹ K̃ is the same by push-through and no larger than d_key.
            system = self.projected.T @ self.projected
            system.diagonal().add_(self.ridge)
            return torch.cholesky_solve(wanted.T, torch.linalg.cholesky(system)).T
        chosen = torch.zeros(len(self), n_last, dtype=torch.float64)
        chosen[len(self) - n_last :] = torch.eye(n_last, dtype=torch.float64)
        return torch.cholesky_solve(chosen, self._factor).T @ self.projected

    def _extended_factor(self, projected: Tensor) -> Tensor:
        n_old, n_new = len(self), projected.shape[0]
        if self._factor.shape[0] != n_old:  # it had outgrown the free directions
            raise ValueError("a system that has outgrown its free directions cannot shrink")
        corner = projected @ projected.T
        corner.diagonal().add_(self.ridge)
        cross = torch.linalg.solve_triangular(self._factor, self.projected @ projected.T, upper=False)
        factor = torch.zeros(n_old + n_new, n_old + n_new, dtype=torch.float64)
        factor[:n_old, :n_old] = self._factor
        factor[n_old:, :n_old] = cross.T
        factor[n_old:, n_old:] = torch.linalg.cholesky(corner - cross.T @ cross)
        return factor


def solve_layer_update(
    keys: Tensor,
    residuals: Tensor,
    *,
    written: KeySystem,
    protected: Tensor | None = None,
    layer: int,
    weight_name: str = "",
) -> LayerUpdate:
    """The update confined to the free directions that moves each key's output by its residual.

    Args:
        keys: (n_key, d_key) keys to be moved.
        residuals: (n_key, d_model) by how much.
        written: the keys of earlier edits, which must stay where they are, with the free directions and λ.
        protected: (n_protected, d_key) further keys that must stay, for example those of the graph's neighbours.
        layer: for the result.
        weight_name: for the result.

    Returns:
        Factors of n_key rows. As λ → 0 independent keys reach their residuals exactly and protected ones stay.

    Raises:
        NonFiniteError: if the keys or residuals are not finite.
    """
    check_shape("residuals", residuals, keys.shape[0], None)
    check_finite("keys", keys)
    check_finite("residuals", residuals)
    system = written if protected is None or not len(protected) else written.appended(protected)
    directions = system.appended(keys).directions(keys.shape[0])
    return LayerUpdate(
        layer=layer, weight_name=weight_name, output_factor=residuals.float(), input_factor=directions.float()
    )
