"""`ConditionedWriter`: PRUNE, which keeps the singular values of the accumulated update near those of the weight.

PRUNE (arXiv:2405.16821): with σ the largest singular value of the weight, a singular value σ̂ ≥ σ of the accumulated
update becomes ``F(σ̂) = log_α(σ̂) − log_α(σ) + σ``, all others stay. Checked against the authors' code (mjy1111/PRUNE,
easyeditor/editors/bi_editor_loadw.py, `func_logn`; α is e, 2, 1.5 or 1.2). Differences here:

- Where σ < 1/ln α the formula, and the authors' code, enlarge values just above σ. The formula is meant as a
  restraint, so no value is enlarged here.
- The authors restrain the sum once, after the last edit. Here every edit can be used as soon as it is made, so the sum
  of what is attached, restrained already, and the new update is restrained each time. For a first edit it is the same.
- The baseline in jianghoucheng/AlphaEdit (experiments/evaluate.py, MEMIT_prune; α = e) adds the restrained sum to
  weights that hold the unrestrained one already. Here it takes that one's place, as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kgmet.base.ranges import check_number
from kgmet.lm.run.placement import exact_device
from kgmet.write.solve import LayerUpdate
from kgmet.write.writer import Writer, WriteRequest

__all__ = ["ConditionedWriter", "conditioned", "damped", "factored_svd", "largest_singular_value"]


_CHECK_EVERY = 8


def factored_svd(output_factor: Tensor, input_factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the singular value decomposition of ``output_factorᵀ · input_factor`` from the factors.

    Args:
        output_factor: (n_key, d_model).
        input_factor: (n_key, d_key).

    Returns:
        Left singular vectors as rows (rank, d_model), values (rank,) descending, right ones as rows (rank, d_key);
        float64, rank = min(n_key, d_model, d_key).
    """
    left, left_core = torch.linalg.qr(output_factor.double().T)
    right, right_core = torch.linalg.qr(input_factor.double().T)
    u, values, vh = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    return (left @ u).T, values, vh @ right.T


def largest_singular_value(weight: Tensor, *, tolerance: float = 1e-6, max_steps: int = 500) -> float:
    """Return ‖W‖₂ by power iteration on WᵀW in float64, to a relative change below `tolerance`.

    It runs on the matrix's device, with one synchronisation every `_CHECK_EVERY` steps.
    """
    matrix = weight.to(device=exact_device(weight.device), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(matrix.shape[1], dtype=torch.float64, generator=generator, device="cpu").to(matrix.device)
    norms: list[Tensor] = []
    for step in range(max_steps):
        image = matrix @ (vector / vector.norm().clamp(min=torch.finfo(torch.float64).tiny))
        norms.append(image.norm())
        if step % _CHECK_EVERY == 1:
            before, value = torch.stack(norms[-2:]).tolist()
            if value == 0 or abs(value - before) < tolerance * value:
                break
        vector = matrix.T @ image
    return float(norms[-1])


def damped(values: Tensor, largest: float, base: float) -> Tensor:
    """Apply PRUNE's restraint to singular values (n,): those above `largest` are brought near it, others stay."""
    if largest <= 0:
        return values
    above = torch.log(values.clamp(min=largest) / largest) / math.log(base) + largest
    return torch.where(values > largest, torch.minimum(above, values), values)


def conditioned(
    update: LayerUpdate,
    *,
    earlier: Sequence[LayerUpdate],
    largest: float,
    base: float,
    device: torch.device | None = None,
) -> LayerUpdate:
    """Return the update that makes the sum with earlier ones the restrained sum; `update` itself if none exceeds.

    It is computed on the CPU, or on another device with float64.
    """
    together = [*earlier, update]
    left, values, right = factored_svd(
        torch.cat([part.output_factor for part in together]).to(device or "cpu"),
        torch.cat([part.input_factor for part in together]).to(device or "cpu"),
    )
    if not bool((values > largest).any()):
        return update
    # The update is the restrained sum minus what is already attached.
    restrained = (damped(values, largest, base)[:, None] * left).cpu()
    output_factor = torch.cat([restrained, *(-e.output_factor for e in earlier)])
    input_factor = torch.cat([right.cpu(), *(e.input_factor for e in earlier)])
    return LayerUpdate(
        layer=update.layer,
        weight_name=update.weight_name,
        output_factor=output_factor.float(),
        input_factor=input_factor.float(),
    ).compacted()


@dataclass(frozen=True, eq=False, kw_only=True)
class ConditionedWriter:
    """PRUNE: another writer's update, restrained together with those attached already.

    `base` is α, above 1; larger restrains more (e is 2.718). `earlier` holds, by layer, the attached updates.
    """

    inner: Writer
    base: float = 1.2
    earlier: Mapping[int, Sequence[LayerUpdate]] = field(default_factory=dict)
    _largest: dict[int, float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check the range."""
        check_number("write.log_base", self.base, above=1)

    @property
    def name(self) -> str:
        """For tables and saved artefacts."""
        return f"{self.inner.name}, conditioned"

    def solve(self, request: WriteRequest) -> LayerUpdate:
        """Return the update of one layer."""
        layer = request.layer
        if layer not in self._largest:
            self._largest[layer] = largest_singular_value(request.weight())
        return conditioned(
            self.inner.solve(request),
            earlier=self.earlier.get(layer, ()),
            largest=self._largest[layer],
            base=self.base,
            device=request.keys.device,
        )
