"""Laws of measuring keys: started rows see what whole forward passes see, with and without updates."""

from __future__ import annotations

import pytest
import torch

from kgmet.write.keys import StartedRows, measure_keys
from kgmet.write.patch import attached
from tests.tiny_models import FAMILY_KINDS, tiny_lm
from tests.write.tiny_edits import random_patch, rows_of


@pytest.mark.parametrize("kind", FAMILY_KINDS)
@pytest.mark.parametrize("batch_size", [1, 64])
def test_rows_run_on_from_a_layer_as_they_would_from_the_start(kind: str, batch_size: int) -> None:
    lm = tiny_lm(kind)
    rows = rows_of(lm, prefixes=("", "It is well known. "))
    started = StartedRows(lm, rows, first=1, top=2, batch_size=batch_size)
    patch = random_patch(lm, layers=(1, 2))
    for layer in (1, 2):
        plain = measure_keys(lm, rows, layer=layer, top=2)
        torch.testing.assert_close(started.measure(layer).keys, plain.keys)
        torch.testing.assert_close(started.measure(layer).states, plain.states)
        with attached(patch, lm):
            edited, again = measure_keys(lm, rows, layer=layer, top=2), started.measure(layer)
        torch.testing.assert_close(again.keys, edited.keys)
        torch.testing.assert_close(again.outputs, edited.outputs)
        torch.testing.assert_close(again.states, edited.states)
        assert not torch.allclose(edited.states, plain.states)
