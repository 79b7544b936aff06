"""Properties of what is asked of a projection whose output is normalised before it reaches the residual stream."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kgmet.write.residual import before_norm

D_MODEL = 24


def norm_with(gain: Tensor) -> nn.RMSNorm:
    """An RMS normalisation with these gains (d_model,)."""
    norm = nn.RMSNorm(gain.numel(), eps=1e-6, dtype=torch.float64)
    norm.weight.data.copy_(gain)
    return norm.requires_grad_(False)


def uneven_gain() -> Tensor:
    """From 0.01 to 100, as trained models have them, some negative."""
    gain = torch.logspace(-2, 2, D_MODEL, dtype=torch.float64)
    gain[::5] *= -1
    return gain


def drawn(n_row: int, seed: int) -> Tensor:
    """Standard normal rows."""
    return torch.randn(n_row, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def reached(norm: nn.Module, outputs: Tensor, residuals: Tensor) -> Tensor:
    """How far what comes out is from what is wanted, (n_row,)."""
    got = norm(outputs + before_norm(norm, outputs, residuals))
    return (got - norm(outputs) - residuals).norm(dim=1)


def test_what_the_normalisation_can_give_it_gives() -> None:
    norm, outputs, others = norm_with(uneven_gain()), 3 * drawn(6, 1), drawn(6, 2)
    residuals = norm(others) - norm(outputs)
    got = norm(outputs + before_norm(norm, outputs, residuals))
    torch.testing.assert_close(got, norm(others), rtol=1e-3, atol=1e-3)


def test_nothing_wanted_is_nothing_changed() -> None:
    outputs = drawn(4, 1)
    change = before_norm(norm_with(uneven_gain()), outputs, torch.zeros_like(outputs))
    torch.testing.assert_close(change, torch.zeros_like(outputs), rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [1.0, 30.0, 1000.0])
def test_what_is_out_of_reach_is_met_as_nearly_as_can_be(length: float) -> None:
    norm, outputs, residuals = norm_with(uneven_gain()), drawn(4, 1), length * drawn(4, 2)
    ours = reached(norm, outputs, residuals)
    assert bool((ours < residuals.norm(dim=1)).all()), "nearer than with no change"
    wanted = norm(outputs) + residuals
    along = wanted / norm.weight  # comes out in the right direction, at whatever length
    assert bool((ours <= (norm(along) - wanted).norm(dim=1) + 1e-6).all())
    best = outputs + before_norm(norm, outputs, residuals)
    for seed in range(50):
        other = norm(best + 0.1 * drawn(4, seed + 10))
        assert bool((ours <= (other - wanted).norm(dim=1) + 1e-6).all())


def test_the_projections_output_keeps_its_length() -> None:
    norm, outputs = norm_with(uneven_gain()), 7 * drawn(4, 1)
    after = outputs + before_norm(norm, outputs, 100 * drawn(4, 2))
    torch.testing.assert_close(after.norm(dim=1), outputs.norm(dim=1))


def test_where_the_gain_is_nothing_nothing_is_asked() -> None:
    gain = uneven_gain()
    gain[3] = 0
    outputs = drawn(4, 1)
    change = before_norm(norm_with(gain), outputs, 10 * drawn(4, 2))
    assert not change[:, 3].any()
    assert change.any(dim=1).all()
