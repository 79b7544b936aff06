"""SUIT's shift by its formula."""

from __future__ import annotations

import pytest
import torch

from kgmet.search.directions.swap import SwapDirection


def test_the_shift_is_the_formula_and_the_penalty_its_overlap() -> None:
    state = torch.randn(8, generator=torch.Generator().manual_seed(1))
    source = SwapDirection(8, seed=2)
    source.begin(state, 0.5)
    first, second = (row / row.norm() for row in source.parameters()[0].detach())
    wanted = (state @ second - state @ first) * first + (state @ first - state @ second) * second
    torch.testing.assert_close(source.shift().detach() * 0.5, wanted)
    torch.testing.assert_close(source.penalty().detach(), 0.3 * (first @ second) ** 2)


def test_on_orthogonal_directions_the_coefficients_are_exchanged() -> None:
    state, source = torch.tensor([3.0, -1.0, 2.0]), SwapDirection(3, seed=0)
    with torch.no_grad():
        source.parameters()[0].copy_(torch.tensor([[2.0, 0.0, 0.0], [0.0, 5.0, 0.0]]))
    source.begin(state, 1.0)
    torch.testing.assert_close(state + source.shift().detach(), torch.tensor([-1.0, 3.0, 2.0]))


def test_without_a_state_there_is_no_shift() -> None:
    with pytest.raises(RuntimeError, match="needs the state"):
        SwapDirection(3, seed=0).shift()
