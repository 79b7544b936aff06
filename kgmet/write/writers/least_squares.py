"""`LeastSquaresWriter`: MEMIT's update, unconstrained but penalised in the directions that ordinary keys use.

MEMIT (arXiv:2210.07229, eq. 14), transposed because our batches are rows:
keys → K₁ᵀ, residuals → Rᵀ, second moment → C, weight → λ, written → K_pᵀ (MEMIT-seq),
``(λC + K₁K₁ᵀ + K_pK_pᵀ) ΔWᵀ = K₁ Rᵀ``.

With K = [K_p, K₁] and C = LLᵀ this is ``ΔWᵀ = C⁻¹K (KᵀC⁻¹K + λI)⁻¹ E Rᵀ``: the null-space solve with C⁻¹ in place of
the projector, so earlier keys are kept in the same growing system.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError, StaleArtifactError
from kgmet.base.fingerprint import digest
from kgmet.base.ranges import check_number
from kgmet.base.shapes import check_shape
from kgmet.write.moments import KeyMoment
from kgmet.write.solve import KeyMetric
from kgmet.write.writer import MetricWriter, WriteRequest

__all__ = ["LeastSquaresWriter", "Whitening"]

_JITTERS = (0.0, 1e-12, 1e-10, 1e-8, 1e-6)


@dataclass(frozen=True, eq=False, kw_only=True)
class Whitening:
    """C⁻¹ as a `KeyMetric`: `factor` (d_key, d_key), float64, is the lower Cholesky factor L of C."""

    factor: Tensor
    moment_fingerprint: str

    def __post_init__(self) -> None:
        """Check the shape."""
        check_shape("factor", self.factor, self.factor.shape[0], self.factor.shape[0])

    @property
    def d_key(self) -> int:
        """Width of the keys."""
        return self.factor.shape[0]

    @property
    def device(self) -> torch.device:
        """Device of the computation."""
        return self.factor.device

    @property
    def rank(self) -> int:
        """Number of writable directions: all."""
        return self.d_key

    @property
    def fingerprint(self) -> str:
        """16 hex digits for the moment."""
        return digest("whitening", self.moment_fingerprint)[:16]

    @property
    def single(self) -> Whitening:
        """Itself: C is ill-conditioned, so it is solved in float64 only."""
        return self

    def project(self, rows: Tensor) -> Tensor:
        """Return L⁻¹k for each row k of (n, d_key)."""
        white: Tensor = torch.linalg.solve_triangular(self.factor, rows.double().T, upper=False)
        return white.T

    def lift(self, rows: Tensor) -> Tensor:
        """Return L⁻ᵀw for each row w of (n, d_key)."""
        lifted: Tensor = torch.linalg.solve_triangular(self.factor.T, rows.double().T, upper=True)
        return lifted.T

    @classmethod
    def from_moment(cls, moment: KeyMoment, *, device: torch.device | None = None) -> Whitening:
        """Compute the Cholesky factor of the second moment; d_key³/3, once per layer.

        Directions that no token uses make the moment singular. Then the smallest of 1e-12 … 1e-6 times the mean
        eigenvalue that makes it definite is added to the diagonal.

        Raises:
            ConfigError: if the moment is far from positive definite.
        """
        factor = definite_cholesky(moment.second_moment, device=device)
        return cls(factor=factor, moment_fingerprint=moment.fingerprint)


def definite_cholesky(moment: Tensor, *, device: torch.device | None = None) -> Tensor:
    """Compute the lower Cholesky factor of a second moment (n, n), float64, on a device; by default on its own.

    See `Whitening.from_moment`. Beside the factor there is one copy of the moment on the device.
    """
    scale = float(moment.diagonal().mean())
    for jitter in _JITTERS:
        system = moment.to(device=device or moment.device, copy=True)
        system.diagonal().add_(jitter * scale)
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex(system)
        if not bool(failed):
            return factor
        del system, factor  # before the next try takes as much again
    raise ConfigError("The key statistics have negative eigenvalues and are damaged. Estimate them again.")


def moment_for(request: WriteRequest, moments: Mapping[int, KeyMoment]) -> KeyMoment:
    """Return the moment of the written layer.

    Raises:
        StaleArtifactError: if there is none, or it is of another model.
    """
    if request.layer not in moments:
        raise StaleArtifactError(f"There are no key statistics for layer {request.layer}. Estimate them first.")
    moment = moments[request.layer]
    request.check_model(moment.model_fingerprint)
    return moment


def metric_for(
    request: WriteRequest, moments: Mapping[int, KeyMoment], made: MutableMapping[int, Whitening]
) -> Whitening:
    """Return C⁻¹ of the written layer, computed on its keys' device and cached in `made`.

    An accelerator has one layer's at a time: at width 14,336 each takes 1.6 GB, and layers are written in turn.
    """
    moment = moment_for(request, moments)
    if request.layer not in made:
        if request.keys.device.type != "cpu":
            made.clear()
        made[request.layer] = Whitening.from_moment(moment, device=request.keys.device)
    return made[request.layer]


@dataclass(frozen=True, eq=False, kw_only=True)
class LeastSquaresWriter(MetricWriter):
    """Writer of MEMIT, and of MEMIT-seq with `keeps_earlier`. Protected keys of a request count like earlier ones.

    `weight` is λ, above 0: the weight of ordinary keys relative to the edit's. 15,000 in the paper for GPT-J; 1,500 for
    the default model.
    """

    moments: Mapping[int, KeyMoment]
    weight: float = 1500.0
    keeps_earlier: bool = False
    name: str = "least squares"
    _metrics: dict[int, Whitening] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check the range."""
        check_number("write.moment_weight", self.weight, above=0)

    def measure(self, request: WriteRequest) -> tuple[KeyMetric, float, float]:
        """Return C⁻¹ and λ."""
        return metric_for(request, self.moments, self._metrics), self.weight, 1.0
