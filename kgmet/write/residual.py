"""`ResidualSchedule`: how much of what is still missing each layer takes on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import Enum

from kgmet.errors import ConfigError

__all__ = ["ResidualSchedule"]


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
