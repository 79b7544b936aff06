"""What the benchmarks say of the machine under their tables."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch

from tests.tiny_models import tiny_lm


def test_a_table_says_where_the_model_lay_and_in_what_precision(load: Callable[[str], ModuleType]) -> None:
    machine = load("measure").machine
    assert "CPU, float32, torch" in machine(2)
    assert "CPU, float32, torch" in machine(2, tiny_lm())
    assert machine(2, tiny_lm(dtype=torch.bfloat16)).startswith("2 threads")
    assert "CPU, bfloat16, torch" in machine(2, tiny_lm(dtype=torch.bfloat16))
