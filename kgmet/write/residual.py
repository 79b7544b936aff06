"""`ResidualSchedule`: the share of the remaining residual that each layer takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import Enum

import torch
from torch import Tensor, nn

from kgmet.base.errors import ConfigError
from kgmet.lm.load.family import norm_gain

__all__ = ["ResidualSchedule", "before_norm"]

_HALVINGS = 80


class ResidualSchedule(Enum):
    """Shares of the remaining residual, low layers first. The last layer always takes all that is left."""

    EVEN = "1/remaining"
    """MEMIT (arXiv:2210.07229): every layer adds about the same amount."""
    FRONT = "1/sqrt(remaining)"
    """AlphaEdit and KGMET as published: the first of five layers takes 45 %, the last 3 %."""
    LAST = "last"
    """One layer only: the last of the list takes everything."""
    REPLAY = "forward replay"
    """FE (arXiv:2605.00358): the shift is searched after the first layer, and every layer has its own target, the state
    that it gives under that shift."""

    def shares(self, layers: Sequence[int]) -> Iterator[tuple[int, float]]:
        """Yield (layer, share of the residual measured before writing to it), ascending.

        Raises:
            ConfigError: if there is no layer.
        """
        if not layers:
            raise ConfigError("There is no layer to write to. Give at least one, for example layers = [4, 5, 6].")
        ordered = sorted(set(layers))
        if self is ResidualSchedule.LAST:
            yield ordered[-1], 1.0
            return
        for done, layer in enumerate(ordered):
            remaining = len(ordered) - done
            if self is ResidualSchedule.REPLAY:
                yield layer, 1.0  # of the way to its own target
            else:
                yield layer, 1 / (remaining if self is ResidualSchedule.EVEN else math.sqrt(remaining))


def before_norm(norm: nn.Module, outputs: Tensor, residuals: Tensor) -> Tensor:
    """Return what to add before an RMS normalisation so that its output changes by a residual.

    With gain g the normalisation gives n(y) = g ⊙ y/rms(y), whatever the length of y. So y' = rms(y) · u gives w = n(y)
    + r for u = w/g, if that has rms 1. Where it is longer, w is out of the normalisation's reach; then u is the vector
    of rms 1 whose g ⊙ u is nearest to w. (Rescaling w/g is not enough: where some gains are small, w/g lies along these
    few entries, and all others would vanish.)

    Args:
        norm: the module between a down-projection and the residual stream.
        outputs: (n_row, d_model) present outputs of the down-projection.
        residuals: (n_row, d_model) wanted change after the normalisation.

    Returns:
        (n_row, d_model) wanted change of `outputs`.
    """
    gain = norm_gain(norm, outputs)
    size = outputs.double().pow(2).mean(-1, keepdim=True).sqrt().clamp(min=1e-30)
    now = outputs.double() / size
    usable = gain.abs() > 1e-6
    unit = torch.where(usable, _nearest_unit(gain, gain * now + residuals, now.masked_fill(usable, 0)), now)
    return (size * (unit - now)).to(outputs)


def _nearest_unit(gain: Tensor, wanted: Tensor, fixed: Tensor) -> Tensor:
    """Return u (rms at most 1, together with `fixed`) with gain ⊙ u nearest to `wanted` (n_row, d_model).

    Lagrange multiplier: u = g w/(g² + μ), with the smallest μ ≥ 0 that satisfies the bound, found by bisection.
    """
    room = (1 - fixed.pow(2).mean(-1, keepdim=True)).clamp(min=0)

    def unit(weight: Tensor) -> Tensor:
        return torch.where(fixed == 0, gain * wanted / (gain.pow(2) + weight).clamp(min=1e-30), 0.0)

    low = torch.zeros_like(room)
    high = ((gain * wanted).pow(2).mean(-1, keepdim=True) / room.clamp(min=1e-12)).sqrt()  # short enough: g² ≥ 0
    high = torch.where(unit(low).pow(2).mean(-1, keepdim=True) <= room, low, high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_long = unit(middle).pow(2).mean(-1, keepdim=True) > room
        low, high = torch.where(is_long, middle, low), torch.where(is_long, high, middle)
    return unit(high)
