"""`RankOneWriter`: ROME's update, exact on the key and minimal on ordinary keys.

ROME (arXiv:2202.05262, eq. 2), transposed: ``ΔWᵀ = C⁻¹k (kᵀC⁻¹k)⁻¹ rᵀ`` with C the second moment of the keys. For
several keys the same problem, least change of what ordinary keys give subject to ΔW K = R, has the solution
``ΔWᵀ = C⁻¹K (KᵀC⁻¹K)⁻¹ Rᵀ``.

As in the paper k is one key, the mean over contexts. The ROME code (kmeng01/rome, rome/compute_u.py and compute_v.py;
the same in jianghoucheng/AlphaEdit) uses that mean for the direction C⁻¹k, but divides by its product with the key of
the bare prompt and takes that prompt's residual. So it is exact there, not at the mean. It also searches for the MLP's
output at the layer itself, while our shift is of the residual stream after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from kgmet.base.shapes import check_finite, check_shape
from kgmet.write.moments import KeyMoment
from kgmet.write.solve import LayerUpdate
from kgmet.write.writer import WriteRequest
from kgmet.write.writers.least_squares import Whitening, metric_for

__all__ = ["RankOneWriter"]

_DEPENDENT = 1e-10


@dataclass(frozen=True, eq=False, kw_only=True)
class RankOneWriter:
    """Writer of ROME: rank one for one key. It ignores earlier edits; protected keys get a zero residual."""

    moments: Mapping[int, KeyMoment]
    name: str = "rank one"
    _metrics: dict[int, Whitening] = field(default_factory=dict, repr=False)

    def solve(self, request: WriteRequest) -> LayerUpdate:
        """Solve for the update of one layer, factors of n_key rows.

        Independent keys reach their residuals exactly; equal keys reach the mean of theirs.

        Raises:
            StaleArtifactError: if there are no key statistics for this layer, or they are of another model.
            NonFiniteError: if the keys or residuals are not finite.
        """
        check_finite("keys", request.keys)
        check_finite("residuals", request.residuals)
        check_shape("residuals", request.residuals, request.keys.shape[0], None)
        metric = metric_for(request, self.moments, self._metrics)
        n_key = request.keys.shape[0]
        white = metric.project(torch.cat([request.keys, request.protected.to(request.keys)]).double())
        # Equal keys make the Gram matrix singular; the pseudo-inverse then gives the mean of their residuals.
        inverse = torch.linalg.pinv(white @ white.T, rtol=_DEPENDENT, hermitian=True)
        return LayerUpdate(
            layer=request.layer,
            weight_name=request.weight_name,
            output_factor=request.residuals.float().cpu(),
            input_factor=metric.lift(inverse[:n_key] @ white).float().cpu(),
        )
