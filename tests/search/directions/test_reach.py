"""A free shift in units of what layers can add: by the gains of their norms, and as before where there are none."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.editing.editors import EDITORS
from kgmet.editing.factories import make_source
from kgmet.fact import FactEdit
from kgmet.search.directions.config import DirectionConfig, SourceKind
from kgmet.search.directions.reach import ReachableDirection, reach_of
from kgmet.search.directions.source import FreeDirection
from tests.tiny_models import tiny_lm

CPU = torch.device("cpu")
CONTEXT = EditContext(edit=FactEdit(subject="Rome", template="{} is in", new_object="Asia"))


def model_with(*gains: Tensor) -> SimpleNamespace:
    """A model whose layers have nothing but a norm after the write."""
    norms = []
    for gain in gains:
        norms.append(nn.RMSNorm(gain.numel(), eps=1e-6))
        norms[-1].weight.data.copy_(gain)
    family = SimpleNamespace(norm_after_write=lambda _, layer: norms[layer])
    return SimpleNamespace(family=family, model=None, d_model=gains[0].numel(), dtype=torch.float32)


def test_a_coordinate_reaches_as_far_as_the_gains_of_all_layers_together() -> None:
    lm = model_with(torch.tensor([1.0, -2.0, 3.0]), torch.tensor([1.0, 1.0, 0.0]), torch.tensor([50.0, 0, 0]))
    reach = reach_of(lm, [0, 1], device=CPU)  # type: ignore[arg-type]
    wanted = torch.tensor([2.0, 3.0, 3.0])
    torch.testing.assert_close(reach, wanted / wanted.square().mean().sqrt())


def test_a_massive_gain_does_not_take_the_whole_reach() -> None:
    gain = torch.ones(9)
    gain[4] = 800.0
    reach = reach_of(model_with(gain), [0], device=CPU)  # type: ignore[arg-type]
    assert reach is not None
    assert float(reach[4] / reach[0]) == pytest.approx(4.0)
    assert float(reach.square().mean()) == pytest.approx(1.0)


def test_the_shift_is_the_parameters_times_the_reach() -> None:
    reach = torch.tensor([0.5, 2.0])
    source = ReachableDirection(reach)
    assert not source.shift().any()
    (parameter,) = source.parameters()
    with torch.no_grad():
        parameter.copy_(torch.tensor([3.0, -1.0]))
    torch.testing.assert_close(source.shift(), torch.tensor([1.5, -2.0]))
    source.shift().sum().backward()
    torch.testing.assert_close(parameter.grad, reach)


@pytest.mark.parametrize("kind", ["gemma2", "gemma3"])
def test_models_that_normalise_what_is_written_bound_the_search(kind: str) -> None:
    lm = tiny_lm(kind)
    config = replace(EditConfig(), direction=DirectionConfig(source=SourceKind.REACHABLE))
    config = replace(config, write=replace(config.write, layers=(0, 1)))
    source = make_source(lm, CONTEXT, config)
    assert isinstance(source, ReachableDirection)
    assert source.name == "reachable"
    free = make_source(lm, CONTEXT, replace(config, direction=DirectionConfig(source=SourceKind.FREE)))
    assert type(free) is FreeDirection


def test_other_models_are_searched_as_before() -> None:
    lm = tiny_lm("llama")
    assert reach_of(lm, [0, 1], device=CPU) is None
    config = EDITORS["KGMET"].config
    assert config.direction.source is SourceKind.REACHABLE
    config = replace(config, write=replace(config.write, layers=(0, 1)))
    assert type(make_source(lm, CONTEXT, config)) is FreeDirection
