"""`ResidualSchedule`: how much of what is still missing each layer takes on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import Enum

import torch
from torch import Tensor, nn

from kgmet.errors import ConfigError
from kgmet.lm.family import execution_device

__all__ = ["ResidualSchedule", "before_norm"]


class ResidualSchedule(Enum):
    """Share of the remaining residual, low layers first. The last layer always takes all that is left."""

    EVEN = "1/remaining"
    """MEMIT (arXiv:2210.07229): every layer adds about the same."""
    FRONT = "1/sqrt(remaining)"
    """AlphaEdit and KGMET as published: the first of five layers takes 45 %, the last 3 %."""
    LAST = "last"
    """One layer only: the last of the list takes everything."""

    def shares(self, layers: Sequence[int]) -> Iterator[tuple[int, float]]:
        """(layer, share of the residual measured before writing to it), ascending.

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
            yield layer, 1 / (remaining if self is ResidualSchedule.EVEN else math.sqrt(remaining))


def before_norm(norm: nn.Module, outputs: Tensor, residuals: Tensor) -> Tensor:
    """What to add before an RMS normalisation so that what comes out of it changes by a residual.

    With gain g the normalisation gives n(y) = g ⊙ y/rms(y), whatever the length of y. So y' = rms(y) · (n(y) + r)/g
    comes out along n(y) + r: exactly there if the normalisation can give it at all, else as near in direction.

    Args:
        norm: the module between a down-projection and the residual stream.
        outputs: (n_row, d_model) what the down-projection gives now.
        residuals: (n_row, d_model) wanted change after the normalisation.

    Returns:
        (n_row, d_model) wanted change of `outputs`.
    """
    device = execution_device(norm)
    with torch.no_grad():
        # At this length the module's ε is nothing, and what comes out is the gain itself.
        gain = norm(torch.full_like(outputs[:1], 1e3, device=device)).to(outputs)
    size = outputs.pow(2).mean(-1, keepdim=True).sqrt()
    wanted = gain * outputs / size.clamp(min=1e-30) + residuals
    usable = gain.abs() > 1e-6
    return torch.where(usable, size * wanted / torch.where(usable, gain, 1.0) - outputs, 0.0)
