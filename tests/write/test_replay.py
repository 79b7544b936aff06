"""Forward replay: each layer's own target is what the model gives under the shift."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.base.errors import ConfigError
from kgmet.lm.run.tracing import recorded, shifted
from kgmet.write.config import WriteConfig
from kgmet.write.layers import Unedited, solve_layers
from kgmet.write.patch import attached, attached_updates
from kgmet.write.replay import replayed_states
from kgmet.write.residual import ResidualSchedule
from kgmet.write.writer import NullSpaceWriter
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import all_free, random_patch, rows_of, shifts_of, states_of

CONFIG = WriteConfig(layers=(1, 2), schedule=ResidualSchedule.REPLAY, ridge=1e-7)


def test_each_target_is_the_state_of_the_text_alone_under_the_shift() -> None:
    lm = tiny_lm()
    rows = rows_of(lm, prefixes=("", "It is well known. "))
    deltas = torch.randn(len(rows), lm.d_model, generator=torch.Generator().manual_seed(3))
    found = replayed_states(lm, rows, deltas, layers=(1, 2))
    for number, row in enumerate(rows):
        ids = torch.tensor([row.input_ids])
        with recorded([lm.layers[1]]) as plain:
            lm.model(ids)
        with (
            shifted(lm, layer=1, positions=torch.tensor([ids.shape[1] - 1]), by=deltas[number]),
            recorded([lm.layers[2]]) as above,
        ):
            lm.model(ids)
        assert plain[0] is not None and above[0] is not None
        torch.testing.assert_close(found[1][number], plain[0][0, -1] + deltas[number], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[2][number], above[0][0, -1], rtol=1e-4, atol=1e-4)


def test_every_layer_reaches_its_own_target() -> None:
    lm = tiny_lm()
    rows = rows_of(lm)
    shifts = shifts_of(lm, rows, layer=1)
    wanted = replayed_states(lm, rows, torch.stack([shift.delta for shift in shifts]), layers=(1, 2))
    writer = NullSpaceWriter(free=all_free(lm, CONFIG.layers), ridge=CONFIG.ridge)
    result = solve_layers(lm, shifts, rows, writer=writer, config=CONFIG)
    with attached_updates(result.updates, lm):
        for layer in (1, 2):
            torch.testing.assert_close(states_of(lm, rows, layer), wanted[layer], rtol=1e-3, atol=1e-3)
    assert max(result.remaining.values()) < 1e-3


def test_a_shift_searched_on_the_unedited_model_is_replayed_there() -> None:
    lm = tiny_lm()
    rows, earlier = rows_of(lm), random_patch(lm, size=0.03)
    shifts = shifts_of(lm, rows, layer=1)
    deltas = torch.stack([shift.delta for shift in shifts])
    replayed = replayed_states(lm, rows, deltas, layers=(1, 2))
    unedited = Unedited(
        states=states_of(lm, rows),
        protected=torch.zeros(0, lm.d_model),
        applies=torch.tensor([True, False]),
        replayed=replayed,
    )
    writer = NullSpaceWriter(free=all_free(lm, CONFIG.layers), ridge=CONFIG.ridge)
    with attached(earlier, lm):
        on_top = replayed_states(lm, rows, deltas, layers=(1, 2))
        result = solve_layers(lm, shifts, rows, writer=writer, config=CONFIG, unedited=unedited)
        with attached_updates(result.updates, lm):
            now = states_of(lm, rows)
    torch.testing.assert_close(now[0], replayed[2][0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(now[1], on_top[2][1], rtol=1e-3, atol=1e-3)
    assert float((replayed[2] - on_top[2]).norm()) > 0.01


def test_a_shift_of_another_layer_is_refused() -> None:
    lm = tiny_lm()
    rows = rows_of(lm)
    writer = NullSpaceWriter(free=all_free(lm, CONFIG.layers), ridge=CONFIG.ridge)
    with pytest.raises(ConfigError, match="after the first written layer, 1"):
        solve_layers(lm, shifts_of(lm, rows, layer=2), rows, writer=writer, config=CONFIG)
    assert CONFIG.shift_layer == 1
    assert replace(CONFIG, schedule=ResidualSchedule.EVEN).shift_layer == 2
