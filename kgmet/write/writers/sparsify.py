"""`SparseWriter`: RECT, which keeps the entries with the largest relative change and drops the rest.

RECT (arXiv:2401.04700). Checked against the authors' code (JasonForJoy/Model-Editing-Hurt,
easyeditor/models/rome/rome_main.py: ROME, a fifth is kept) and the baseline MEMIT_rect of jianghoucheng/AlphaEdit
(memit/memit_rect_main.py: 40 % is kept, our default). Both rank by ``|ΔW / W|``, as here. Differences here:

- Exactly the share is kept; that code keeps everything from the threshold on, one entry more.
- ``W`` is the unedited weight; there it includes the earlier edits. That code adds 1e-8 to it; here a zero weight
  counts as an infinite relative change.
- A layer is sparsified before the next one is solved, which compensates for what was dropped. That code solves all
  layers with full updates and sparsifies at the end, so the written update is not the measured one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.ranges import check_number
from kgmet.base.shapes import check_shape
from kgmet.write.solve import LayerUpdate
from kgmet.write.writer import Writer, WriteRequest

__all__ = ["SparseWriter", "largest_relative"]


def largest_relative(update: Tensor, weight: Tensor, share: float) -> Tensor:
    """Return the entries of `update` with the largest |ΔW/W|, all others zero; both (d_model, d_key).

    Exactly ``round(share · size)`` entries are kept; of equal ones those that come first.
    """
    check_shape("weight", weight, *update.shape)
    size = weight.abs().to(update.dtype)
    # Where the weight is 0, any change is infinitely large; no change counts as 0.
    relative = torch.where(update == 0, 0.0, update.abs() / size).flatten()
    order = relative.argsort(descending=True, stable=True)
    kept = torch.zeros_like(relative, dtype=torch.bool)
    kept[order[: round(share * relative.numel())]] = True
    return torch.where(kept.reshape(update.shape), update, 0.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseWriter:
    """RECT: another writer's update, of which the share of relatively largest entries is kept.

    `share` is above 0 and at most 1. The result is not low-rank: its factors are the identity and the matrix.
    """

    inner: Writer
    share: float = 0.4

    def __post_init__(self) -> None:
        """Check the range."""
        check_number("write.kept_share", self.share, above=0, most=1)

    @property
    def name(self) -> str:
        """For tables and saved artefacts."""
        return f"{self.inner.name}, sparse"

    def solve(self, request: WriteRequest) -> LayerUpdate:
        """Solve for the update of one layer, factors of d_model rows."""
        update = self.inner.solve(request)
        device = request.keys.device
        weight = request.weight().to(device=device, dtype=torch.float32)
        sparse = largest_relative(update.dense(device), weight, self.share).cpu()
        return LayerUpdate(
            layer=update.layer,
            weight_name=update.weight_name,
            output_factor=torch.eye(sparse.shape[0], dtype=torch.float32, device="cpu"),
            input_factor=sparse,
        )
