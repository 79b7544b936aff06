"""`Sampling`: token sampling with its own random generator.

The argmax of ``logits / temperature + Gumbel noise`` is a sample by probability (arXiv:1611.01144, §2). So sampling is
greedy decoding of other logits and does not touch the global random generator.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Sampling"]


class Sampling:
    """Logits processor that adds noise, so that greedy decoding samples.

    Every row has its own generator, on the CPU and with the same seed, so a text depends neither on its batch nor on
    the device.

    Args:
        n_row: number of texts.
        temperature: above 0.
        seed: seed of every row's noise.
    """

    def __init__(self, n_row: int, *, temperature: float, seed: int) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for _ in range(n_row)]
        self._temperature = temperature

    def __call__(self, _ids: Tensor, logits: Tensor) -> Tensor:
        """Add the next step's noise to logits (n_row, d_vocab), in float32."""
        waits = torch.empty(logits.shape, dtype=torch.float64, device="cpu")
        for row, generator in zip(waits, self._generators, strict=True):
            row.exponential_(generator=generator)
        noise = -waits.clamp_(min=1e-300).log_()
        return logits.float() / self._temperature + noise.to(logits.device, torch.float32)
