"""Properties of key measurement: layer-by-layer rows equal full forward passes, with and without updates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.tracing import recorded
from kgmet.write.keys import KeyRow, StartedRows
from kgmet.write.patch import attached
from tests.tiny_models import FAMILY_KINDS, tiny_lm
from tests.write.tiny_edits import random_patch, rows_of

TOP = 2


def whole_passes(lm: LoadedLM, rows: list[KeyRow], layer: int) -> list[Tensor]:
    """Keys and outputs at `layer` and states at the top, each row in a forward pass of its own."""
    module, found = lm.family.write_module(lm.model, layer), []
    for row in rows:
        with recorded([module], inputs=True) as key, recorded([module, lm.layers[TOP]]) as outputs, torch.no_grad():
            lm.base(torch.tensor([row.input_ids]), use_cache=False)
        found.append([seen[0, -1] for seen in (*key, *outputs) if seen is not None])
    return [torch.stack(parts) for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("kind", FAMILY_KINDS)
@pytest.mark.parametrize("max_node", [1, 128])
def test_rows_run_on_layer_by_layer_as_they_would_from_the_start(kind: str, max_node: int) -> None:
    lm = tiny_lm(kind)
    rows = rows_of(lm, prefixes=("", "It is well known. "))
    started = StartedRows(lm, rows, first=1, top=TOP, max_node=max_node)
    plain = whole_passes(lm, rows, 1)
    # As in a write: layer 1 is measured before its update, layer 2 with it, the top with both; then once more.
    for updates in ((), (1,), (1, 2)):
        layer = 1 if not updates else 2
        with attached([random_patch(lm, layers=updates)] if updates else [], lm):
            expected, found = whole_passes(lm, rows, layer), started.measure(layer)
            torch.testing.assert_close(started.keys(layer), found.keys)
        for tensor, seen in zip(expected, (found.keys, found.outputs, found.states), strict=True):
            torch.testing.assert_close(seen, tensor, rtol=1e-4, atol=1e-4)
        assert torch.allclose(expected[2], plain[2], rtol=1e-4, atol=1e-4) is (updates == ())
    started.rewind()
    torch.testing.assert_close(started.measure(1).states, plain[2], rtol=1e-4, atol=1e-4)


def test_a_layer_that_is_left_behind_is_refused() -> None:
    lm = tiny_lm()
    started = StartedRows(lm, rows_of(lm), first=0, top=TOP)
    started.measure(1)
    with pytest.raises(ValueError, match="from 1"):
        started.measure(0)
