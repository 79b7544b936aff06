"""Ways to sum and to solve, told apart by their errors."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

Load = Callable[[str], ModuleType]


@pytest.fixture
def keys() -> torch.Tensor:
    """Keys of neurons of very different size, with many tokens for their width."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(20_000, 24, generator=generator) * torch.logspace(-2, 1, 24)


def test_ways_to_sum_differ_by_what_they_round(load: Load, keys: torch.Tensor) -> None:
    script = load("precision")
    exact = script.moment_by(script.in_double, keys)
    torch.testing.assert_close(exact, (keys.double().T @ keys.double()) / len(keys))
    errors = {name: script.apart(script.moment_by(way, keys), exact) for name, way in script.SUMS.items()}
    assert errors["folded (the product)"] < 1e-6 and errors["compensated"] < 1e-6
    assert 10 * errors["folded (the product)"] < errors["TF32 factors"] < errors["bfloat16 factors"] < 1e-2


def test_the_table_has_every_way_and_the_product_is_near_float64(load: Load, keys: torch.Tensor) -> None:
    script = load("precision")
    lines = str(script.table_of(keys)).splitlines()[2:]
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines}
    assert len(cells) == len(script.SUMS) + 4
    assert float(cells["the product on a GPU"][3]) < 1e-5
    assert cells["the product on a GPU"][2].endswith("(+0)")
    wide = str(script.wide_table(64, 4000))
    assert "basis and solve in float32" in wide and "bfloat16 factors" in wide
