"""`CompensatedWriter`: MEMIT-seq that also corrects what the treatment of earlier updates left undone.

Error compensation (arXiv:2605.26670). RECT and PRUNE treat the solved update Δ, so that post(Δ) is written. With
C₀ = λC the ordinary keys and C_t = C_{t−1} + K_tK_tᵀ,

    Δ_t = (R_tK_tᵀ − E_{t−1}) C_t⁻¹,    E_t = (post(Δ_t) − Δ_t) C_t.

E needs no memory of its own. With D the sum of what was written and V what all edits wanted of their keys' outputs,
V_s = R_s + D_{s−1}K_s, the recursion gives ``E_t = D_tC_t − Σ V_sK_sᵀ``. So the state follows from the ledger, whatever
was undone or reordered, and D_{t−1} + Δ_t is the least-squares solution for all edits at once. The treatment is another
writer around this one: `SparseWriter` (RECT) or `ConditionedWriter` (PRUNE).

Updates of editors without compensation count as part of the weights; their keys are kept, as in MEMIT-seq.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kgmet.write.ledger import AskedOutputs
from kgmet.write.solve import LayerUpdate
from kgmet.write.writer import WriteRequest
from kgmet.write.writers.least_squares import LeastSquaresWriter, moment_for

__all__ = ["CompensatedWriter", "compensation_error"]


def compensation_error(written: Tensor, asked: AskedOutputs, second_moment: Tensor, earlier: Tensor) -> Tensor:
    """Return E = D C_t − Σ V_sK_sᵀ, (d_model, d_key), float64.

    Args:
        written: D, (d_model, d_key).
        asked: keys K and wanted outputs V of the compensated edits.
        second_moment: λC, (d_key, d_key).
        earlier: (n_key, d_key) the keys of all earlier edits.
    """
    kept = (written @ earlier.T) @ earlier
    wanted = asked.outputs.to(written).T @ asked.keys.to(written)
    error: Tensor = written @ second_moment + kept - wanted
    return error


@dataclass(frozen=True, eq=False, kw_only=True)
class CompensatedWriter:
    """Least squares over all edits so far, minus what is written already; `asked` is the ledger's state by layer."""

    inner: LeastSquaresWriter
    asked: Mapping[int, AskedOutputs] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For tables and saved artefacts."""
        return f"{self.inner.name}, compensated"

    def solve(self, request: WriteRequest) -> LayerUpdate:
        """Solve for the update of one layer; factors of d_model rows once there is something to compensate.

        Raises:
            StaleArtifactError: if there are no key statistics for this layer, or they are of another model.
        """
        update = self.inner.solve(request)
        asked = self.asked.get(request.layer)
        if asked is None or not len(asked.names):
            return update
        device = request.keys.device
        moment = moment_for(request, self.inner.moments).second_moment.to(device)
        written = asked.written.to(device).double()
        earlier = request.written.keys.to(device).double()
        error = compensation_error(written, asked, self.inner.weight * moment, earlier)
        # A⁻¹ of the system is C_t⁻¹: A = λM⁻¹ + KKᵀ with M = C⁻¹.
        system = self.inner.system(request)
        apart = system.apart(system.metric.project(error))
        correction = system.metric.lift(apart) / system.ridge
        return LayerUpdate(
            layer=update.layer,
            weight_name=update.weight_name,
            output_factor=torch.eye(error.shape[0], dtype=torch.float32, device="cpu"),
            input_factor=(update.dense(device).double() - correction).float().cpu(),
        )
