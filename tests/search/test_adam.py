"""Our Adam is torch's, step for step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kgmet.search.adam import Adam


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_step_is_torchs_own(betas: tuple[float, float], dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, dtype=dtype, generator=draw) for shape in ((7,), (3, 5), ())]
    ours, theirs = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    mine = Adam(ours, rate=0.12, betas=betas)
    reference = torch.optim.Adam(theirs, lr=0.12, betas=betas, foreach=False)
    for step in range(30):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            gradient = torch.randn(one.shape, dtype=dtype, generator=draw)
            skipped = step % 3 == 0 and number == 1
            one.grad, other.grad = (None, None) if skipped else (gradient, gradient.clone())
        mine.step()
        reference.step()
        mine.zero_grad()
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
        assert all(one.grad is None for one in ours)
