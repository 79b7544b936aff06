"""`Sampling`: draws tokens by their probabilities, from random numbers of its own.

The likeliest of ``logits / temperature + Gumbel noise`` is a token drawn by its probability (arXiv:1611.01144, §2). So
drawing is greedy decoding of other logits, and nothing reads or sets the process's random generator.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Sampling"]


class Sampling:
    """Puts noise on logits so that greedy decoding samples.

    Every row has a generator of its own, on the CPU and with the same seed: a text depends neither on the texts beside
    it nor on the device.

    Args:
        n_row: number of texts.
        temperature: above 0.
        seed: of every row's noise.
    """

    def __init__(self, n_row: int, *, temperature: float, seed: int) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for _ in range(n_row)]
        self._temperature = temperature

    def __call__(self, _ids: Tensor, logits: Tensor) -> Tensor:
        """Logits (n_row, d_vocab) with the next step's noise, float32."""
        waits = torch.empty(logits.shape, dtype=torch.float64, device="cpu")
        for row, generator in zip(waits, self._generators, strict=True):
            row.exponential_(generator=generator)
        noise = -waits.clamp_(min=1e-300).log_()
        return logits.float() / self._temperature + noise.to(logits.device, torch.float32)
