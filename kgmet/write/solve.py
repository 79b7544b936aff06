"""`solve_layer_update`: the update of one weight that moves each key's output by its residual. Linear algebra only.

AlphaEdit (arXiv:2410.02355), transposed because our batches are rows:
keys → K₁ᵀ, residuals → Rᵀ, free.project → P, written → K_pᵀ, ridge → λ,
``(P (K₁K₁ᵀ + K_pK_pᵀ) + λI) ΔWᵀ = P K₁ Rᵀ``.

With K = [K_p, K₁] and E choosing the new columns, the push-through identity gives ``ΔWᵀ = P K (KᵀPK + λI)⁻¹ E Rᵀ``: a
system of size n_key instead of d_key, which yields the factors directly. With more keys than free directions the same
is solved in d_key dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.base.ranges import check_number
from kgmet.base.shapes import check_finite, check_shape

__all__ = ["KeyMetric", "KeySystem", "LayerUpdate", "solve_layer_update"]

_OLDEST_INVERSE = 256
"""Appends after which an inverse is recomputed, so that rounding errors do not accumulate."""
_MOST_CONDITION = 1e8
"""Largest ratio of the sum's trace to λ at which an inverse is kept; beyond it every solve factorises."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerUpdate:
    """Low-rank update of one down-projection: ``x ↦ (x · input_factorᵀ) · output_factor``.

    `output_factor` (n_key, d_model) and `input_factor` (n_key, d_key) are float32 on the CPU and finite. Their product,
    always (out, in), is ``output_factorᵀ · input_factor``.
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

    def dense(self, device: torch.device | None = None) -> Tensor:
        """Return the full matrix, (d_model, d_key), computed on the CPU or on another device."""
        where = device or self.output_factor.device
        return self.output_factor.to(where).T @ self.input_factor.to(where)

    @property
    def is_whole(self) -> bool:
        """Whether `input_factor` is the full matrix and `output_factor` the identity."""
        n_row, d_model = self.output_factor.shape
        return n_row == d_model and torch.equal(
            self.output_factor, torch.eye(d_model, dtype=self.output_factor.dtype, device="cpu")
        )

    @property
    def norm(self) -> float:
        """Frobenius norm of the full matrix, computed from the factors."""
        gram_out = self.output_factor.double() @ self.output_factor.double().T
        gram_in = self.input_factor.double() @ self.input_factor.double().T
        return float((gram_out * gram_in).sum().clamp(min=0).sqrt())

    def compacted(self) -> LayerUpdate:
        """Return the same update with at most d_model rows; with more keys the full matrix is smaller."""
        d_model = self.output_factor.shape[1]
        if self.output_factor.shape[0] <= d_model:
            return self
        identity = torch.eye(d_model, dtype=self.output_factor.dtype, device="cpu")
        return LayerUpdate(
            layer=self.layer, weight_name=self.weight_name, output_factor=identity, input_factor=self.dense()
        )


class KeyMetric(Protocol):
    """Cost of writing in each direction of the key space: a symmetric matrix M = FᵀF.

    `NullSpace` is the projector P; `Whitening` is the inverse of the second moment, C⁻¹.
    """

    @property
    def d_key(self) -> int:
        """Width of the keys."""

    @property
    def device(self) -> torch.device:
        """Device of the computation; keys are moved there, and a system of keys is kept there."""

    @property
    def rank(self) -> int:
        """Number of writable directions."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits for M."""

    @property
    def single(self) -> KeyMetric:
        """The same metric, computed in float32 where that is faster: for many rows that are no more precise."""

    def project(self, rows: Tensor) -> Tensor:
        """Apply F to each row of (n, d_key)."""

    def lift(self, rows: Tensor) -> Tensor:
        """Apply Fᵀ to each row of (n, d_key)."""


class KeySystem:
    """``KᵀMK + λI`` for a growing set of keys, with an incrementally updated Cholesky factor.

    Appending m keys to n costs O(n² m), not (n + m)³. With more keys than free directions the same is solved in d_key
    dimensions from the sum FKKᵀFᵀ alone, so the cost per edit stays constant.
    """

    def __init__(self, metric: KeyMetric, ridge: float) -> None:
        check_number("write.ridge", ridge, above=0)
        self.metric = metric
        self.ridge = ridge
        self._n_key = 0
        self._projected = torch.zeros(0, metric.d_key, dtype=torch.float64, device=metric.device)
        """F of every key; only of the keys appended last, once the sum is used."""
        self._factor: Tensor | None = torch.zeros(0, 0, dtype=torch.float64, device=metric.device)
        self._sum: Tensor | None = None
        self._inverse: Tensor | None = None
        """Inverse of ``sum + λI``, updated at each append where that is accurate."""
        self._age = 0
        """Appends since the inverse was computed from the sum."""

    def __len__(self) -> int:
        """Return the number of keys."""
        return self._n_key

    def appended(self, keys: Tensor) -> KeySystem:
        """Return a new system with more keys, (n_new, d_key)."""
        new = KeySystem(self.metric, self.ridge)
        projected = self._project(keys)
        new._n_key = self._n_key + keys.shape[0]
        if self._sum is None and new._n_key <= self.metric.rank:
            new._projected = torch.cat([self._projected, projected]) if len(self) else projected
            new._factor = self._extended_factor(projected)
            return new
        before = self._projected.T @ self._projected if self._sum is None else self._sum
        new._projected, new._factor, new._sum = projected, None, before + projected.T @ projected
        new._inverse, new._age = self._next_inverse(projected, new._sum)
        return new

    def directions(self, n_last: int) -> Tensor:
        """Return ``M K (KᵀMK + λI)⁻¹`` for the last `n_last` keys, as rows (n_last, d_key), float64.

        Raises:
            ValueError: if there are more keys than free directions and `n_last` exceeds the number appended last.
        """
        n_held = self._projected.shape[0]
        if n_last > n_held:
            raise ValueError(f"only the last {n_held} keys can still be asked for, not {n_last}")
        if self._sum is not None:
            # More keys than free directions: (FKKᵀFᵀ + λI)⁻¹ FK is the same by push-through and no larger than d_key.
            wanted = self._projected[n_held - n_last :]
            if self._inverse is not None:
                return self.metric.lift(wanted @ self._inverse)
            return self.metric.lift(torch.cholesky_solve(wanted.T, _summed_factor(self._sum, self.ridge)).T)
        assert self._factor is not None
        chosen = torch.eye(n_held, dtype=torch.float64, device=self.metric.device)[:, n_held - n_last :]
        return self.metric.lift(torch.cholesky_solve(chosen, self._factor).T @ self._projected)

    def directions_of(self, keys: Tensor, n_last: int) -> Tensor:
        """Return ``appended(keys).directions(n_last)``, n_last ≤ n_new, without building the larger system.

        With U for the new keys' projections it is ``(UA + λI)⁻¹ A``, where A = λU(FKKᵀFᵀ + λI)⁻¹ is their part apart
        from the stored keys. No d_key² or n_key² matrix is written, only read.
        """
        if keys.shape[0] > self.metric.rank or (self._sum is not None and self._inverse is None):
            return self.appended(keys).directions(n_last)
        projected = self._project(keys)
        apart = self._apart(projected)
        small = projected @ apart.T
        small.diagonal().add_(self.ridge)
        chosen = torch.eye(keys.shape[0], dtype=torch.float64, device=self.metric.device)[:, keys.shape[0] - n_last :]
        return self.metric.lift(torch.cholesky_solve(chosen, _cholesky(small, self.ridge)).T @ apart)

    def apart(self, projected: Tensor) -> Tensor:
        """Return ``λ u (FKKᵀFᵀ + λI)⁻¹`` for each row u of (n, d_key), float64.

        Lifted and divided by λ this is A⁻¹ k for u = F k. A = λM⁻¹ + KKᵀ is the cost of a change: λ for its size, plus
        the keys it moves.
        """
        if self._sum is not None and self._inverse is None:
            solved: Tensor = torch.cholesky_solve(projected.T, _summed_factor(self._sum, self.ridge))
            return self.ridge * solved.T
        return self._apart(projected)

    def _project(self, keys: Tensor) -> Tensor:
        return self.metric.project(keys.to(self.metric.device).double())

    def _apart(self, projected: Tensor) -> Tensor:
        """Return ``λ u (FKKᵀFᵀ + λI)⁻¹`` for each row u of (n, d_key)."""
        if self._inverse is not None:
            return self.ridge * (projected @ self._inverse)
        assert self._factor is not None
        if not self._n_key:
            return projected
        held = torch.cholesky_solve(self._projected @ projected.T, self._factor)
        return projected - held.T @ self._projected

    def _next_inverse(self, projected: Tensor, total: Tensor) -> tuple[Tensor | None, int]:
        """Return the inverse with more keys, by Woodbury's identity (d_key² per key instead of d_key³), and its age."""
        if float(total.trace()) > _MOST_CONDITION * self.ridge:
            return None, 0
        if self._inverse is None or self._age >= _OLDEST_INVERSE:
            return torch.cholesky_inverse(_summed_factor(total, self.ridge)), 0
        seen = projected @ self._inverse
        small = seen @ projected.T
        small.diagonal().add_(1)
        return self._inverse - seen.T @ torch.cholesky_solve(seen, _cholesky(small, self.ridge)), self._age + 1

    def _extended_factor(self, projected: Tensor) -> Tensor:
        assert self._factor is not None
        n_old, n_new = self._n_key, projected.shape[0]
        corner = projected @ projected.T
        corner.diagonal().add_(self.ridge)
        cross = torch.linalg.solve_triangular(self._factor, self._projected @ projected.T, upper=False)
        factor = corner.new_zeros(n_old + n_new, n_old + n_new)
        factor[:n_old, :n_old] = self._factor
        factor[n_old:, :n_old] = cross.T
        factor[n_old:, n_old:] = _cholesky(corner - cross.T @ cross, self.ridge)
        return factor


def _summed_factor(total: Tensor, ridge: float) -> Tensor:
    system = total.clone()
    system.diagonal().add_(ridge)
    return _cholesky(system, ridge)


def _cholesky(system: Tensor, ridge: float) -> Tensor:
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(system)
    if bool(failed):
        raise ConfigError(
            f"write.ridge {ridge} is too small for keys as alike as these: the system is singular in float64. "
            "Use a larger one, for example 1."
        )
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
    """Solve for the update, confined to the free directions, that moves each key's output by its residual.

    Args:
        keys: (n_key, d_key) keys of the edits.
        residuals: (n_key, d_model) wanted change of each key's output.
        written: the system of earlier edits' keys, which must stay, with the free directions and λ.
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
    new = keys if protected is None else torch.cat([protected.to(keys), keys])
    directions = written.directions_of(new, keys.shape[0])
    return LayerUpdate(
        layer=layer,
        weight_name=weight_name,
        output_factor=residuals.float().cpu(),
        input_factor=directions.float().cpu(),
    )
