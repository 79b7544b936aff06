"""`ReachableDirection`: a free shift in units of what the written layers can add to each coordinate.

Some families (Gemma 2 and 3, OLMo 2) normalise what a down-projection adds to the residual stream. Whatever is written,
a layer's output is then g ⊙ u with rms(u) = 1, and the gains g differ by orders of magnitude between coordinates. A
search that does not know this finds shifts that no write reaches: on Gemma 3 270M some 60 % of a shift were left, most
of it in the half of the coordinates with the smallest gains.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kgmet.lm.load.family import norm_gain
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.directions.source import FreeDirection

__all__ = ["ReachableDirection", "reach_of"]

_LARGEST = 4.0
"""Largest reach as a multiple of the median: three or four gains are much larger, at massive entries."""


class ReachableDirection(FreeDirection):
    """Every coordinate free, each in units of its reach (d_model,); starts at zero."""

    name = "reachable"

    def __init__(self, reach: Tensor) -> None:
        super().__init__(reach.numel(), device=reach.device)
        self._reach = reach

    def shift(self) -> Tensor:
        """Return the parameters times the reach."""
        return self._shift * self._reach


def reach_of(lm: LoadedLM, layers: Sequence[int], *, device: torch.device) -> Tensor | None:
    """Return how far these layers can move each coordinate together, (d_model,) with rms 1.

    ``None`` where nothing bounds it: without a normalisation after the down-projections.
    """
    norms = [norm for layer in layers if (norm := lm.family.norm_after_write(lm.model, layer)) is not None]
    if not norms:
        return None
    like = torch.ones(1, lm.d_model, dtype=lm.dtype, device=device)
    gains = torch.cat([norm_gain(norm, like).abs() for norm in norms]).sum(0)
    reach = gains.clamp(max=_LARGEST * float(gains.median()))
    return (reach / reach.square().mean().sqrt().clamp(min=1e-30)).float()
