"""Properties of writing over layers: the shift arrives, in every family; the protected stays; cancel leaves nothing."""

from __future__ import annotations

import pytest
import torch

from kgmet.base.errors import Cancelled, ConfigError
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.config import WriteConfig
from kgmet.write.keys import KeyRow, key_rows, measure_keys
from kgmet.write.layers import Unedited, WrittenLayers, solve_layers
from kgmet.write.ledger import EditLedger
from kgmet.write.patch import attached, attached_updates
from kgmet.write.residual import ResidualSchedule
from kgmet.write.writer import NullSpaceWriter
from tests.progress import StopsAfter
from tests.tiny_models import FAMILY_KINDS, N_LAYER, tiny_lm
from tests.write.tiny_edits import (
    EDITS,
    NEIGHBOUR,
    TOP,
    all_free,
    logits_of,
    random_patch,
    rows_of,
    shifts_of,
    states_of,
)

every_family = pytest.mark.parametrize("kind", FAMILY_KINDS)


def written(lm: LoadedLM, rows: list[KeyRow], config: WriteConfig, protected: tuple[KeyRow, ...] = ()) -> WrittenLayers:
    """The given shifts, written with no direction closed and next to no ridge."""
    writer = NullSpaceWriter(free=all_free(lm, config.layers), ridge=config.ridge)
    return solve_layers(lm, shifts_of(lm, rows), rows, writer=writer, config=config, protected=protected)


@every_family
@pytest.mark.parametrize("layers", [(TOP,), (1, TOP)])
def test_the_state_moves_by_the_shift(kind: str, layers: tuple[int, ...]) -> None:
    lm = tiny_lm(kind)
    rows = rows_of(lm)
    before = states_of(lm, rows)
    # Where a normalisation follows, only shifts of this very layer's output can be had exactly.
    layers = layers if lm.family.write_norm is None else (TOP,)
    result = written(lm, rows, WriteConfig(layers=layers, ridge=1e-7, schedule=ResidualSchedule.EVEN))
    wanted = torch.stack([shift.delta for shift in shifts_of(lm, rows)])
    with attached_updates(result.updates, lm):
        moved = states_of(lm, rows) - before
    torch.testing.assert_close(moved, wanted, rtol=1e-2, atol=1e-2 * float(wanted.norm(dim=1).max()))
    assert max(result.remaining.values()) < 1e-2


@every_family
def test_no_shift_writes_nothing(kind: str) -> None:
    lm = tiny_lm(kind)
    rows = rows_of(lm)
    shifts = shifts_of(lm, rows)
    for shift in shifts:
        object.__setattr__(shift, "length", 0.0)
    config = WriteConfig(layers=(1, TOP))
    result = solve_layers(
        lm, shifts, rows, writer=NullSpaceWriter(free=all_free(lm, config.layers), ridge=1.0), config=config
    )
    for update in result.updates:
        assert float(update.dense().abs().max()) < 1e-5


def test_protected_keys_keep_their_outputs() -> None:
    lm = tiny_lm()
    rows, protected = rows_of(lm), key_rows(lm, "neighbour", [NEIGHBOUR])
    config = WriteConfig(layers=(TOP,), ridge=1e-7)
    for kept, most in ((protected, 1e-3), ((), torch.inf)):
        result = written(lm, rows, config, kept)
        before = measure_keys(lm, protected, layer=TOP, top=TOP).outputs
        with attached_updates(result.updates, lm):
            after = measure_keys(lm, protected, layer=TOP, top=TOP).outputs
        moved = float((after - before).norm() / before.norm())
        assert moved < most
    assert moved > 0.01, "without protection it must move for this to be a test"


def test_keys_of_an_earlier_edit_keep_their_outputs() -> None:
    lm = tiny_lm()
    config = WriteConfig(layers=(TOP,), ridge=1e-7)
    first_rows, second_rows = rows_of(lm, EDITS[:1]), rows_of(lm, EDITS[1:])
    first = written(lm, first_rows, config)
    ledger = EditLedger().appended("p", first.keys)
    writer = NullSpaceWriter(free=all_free(lm, config.layers), ridge=config.ridge)
    with attached_updates(first.updates, lm):
        reached = states_of(lm, first_rows)
        second = solve_layers(lm, shifts_of(lm, second_rows), second_rows, writer=writer, config=config, ledger=ledger)
    with attached_updates([*first.updates, *second.updates], lm):
        torch.testing.assert_close(states_of(lm, first_rows), reached, rtol=1e-3, atol=1e-3)


@every_family
def test_a_shift_aims_from_the_unedited_model_where_it_was_searched_there(kind: str) -> None:
    lm = tiny_lm(kind)
    rows, protected, earlier = rows_of(lm), key_rows(lm, "neighbour", [NEIGHBOUR]), random_patch(lm, size=0.03)
    shifts, config = shifts_of(lm, rows), WriteConfig(layers=(TOP,), ridge=1e-7, restores=True)
    wanted = torch.stack([shift.delta for shift in shifts])
    starts, kept = states_of(lm, rows), states_of(lm, list(protected))
    unedited = Unedited(states=starts, protected=kept, applies=torch.tensor([True, False]))
    writer = NullSpaceWriter(free=all_free(lm, config.layers), ridge=config.ridge)
    with attached(earlier, lm):
        moved = states_of(lm, rows)
        result = solve_layers(lm, shifts, rows, writer=writer, config=config, protected=protected, unedited=unedited)
        with attached_updates(result.updates, lm):
            reached, restored = states_of(lm, rows), states_of(lm, list(protected))
    assert float((moved - starts).norm()) > 1e-3, "the earlier patch must move them for this to be a test"
    tolerance = 2e-2 * float(wanted.norm(dim=1).max())
    if lm.family.write_norm is None:  # else only what the normalisation can give is reached
        torch.testing.assert_close(reached[0], starts[0] + wanted[0], rtol=1e-2, atol=tolerance)
        torch.testing.assert_close(reached[1], moved[1] + wanted[1], rtol=1e-2, atol=tolerance)
    torch.testing.assert_close(restored, kept, rtol=1e-2, atol=tolerance)
    assert result.keys[TOP][0] == ("tower/0", "rome/1", "neighbour")


def test_a_lighter_protected_key_moves_further() -> None:
    lm = tiny_lm()
    rows, protected = rows_of(lm), key_rows(lm, "neighbour", [NEIGHBOUR])
    before, moved, keys = states_of(lm, list(protected)), [], []
    for weight in (1.0, 0.1, 0.01):
        result = written(lm, rows, WriteConfig(layers=(TOP,), ridge=0.1, protected_weight=weight), protected)
        with attached_updates(result.updates, lm):
            moved.append(float((states_of(lm, list(protected)) - before).norm()))
        keys.append(result.keys[TOP][1])
    assert moved == sorted(moved)
    assert moved[-1] > 2 * moved[0]
    torch.testing.assert_close(keys[-1], keys[0])


@pytest.mark.parametrize("wanted", [0.1, 0.5])
def test_edits_are_weighed_until_each_misses_as_much_of_its_shift(wanted: float) -> None:
    lm = tiny_lm()
    rows = rows_of(lm)
    alike = written(lm, rows, WriteConfig(layers=(TOP,), ridge=10.0))
    even = written(lm, rows, WriteConfig(layers=(TOP,), ridge=10.0, even_remaining=wanted))
    for owner, left in alike.remaining.items():
        assert abs(even.remaining[owner] - wanted) < 0.3 * abs(left - wanted)
    torch.testing.assert_close(even.keys[TOP][1], alike.keys[TOP][1])


def test_one_key_an_edit_is_the_mean_of_its_contexts() -> None:
    lm = tiny_lm()
    rows = rows_of(lm, EDITS[:1], prefixes=("", "In the news today: "))
    mean = written(lm, rows, WriteConfig(layers=(TOP,)))
    each = written(lm, rows, WriteConfig(layers=(TOP,), keys_per_edit="each"))
    names, keys = mean.keys[TOP]
    assert names == ("tower/0",)
    torch.testing.assert_close(keys[0], measure_keys(lm, rows, layer=TOP, top=TOP).keys.mean(0))
    assert each.keys[TOP][0] == ("tower/0", "tower/1")


def test_repeating_brings_the_residual_down_until_it_is_small() -> None:
    lm = tiny_lm()
    rows = rows_of(lm)
    left = [
        max(written(lm, rows, WriteConfig(layers=(1, TOP), ridge=1.0, repeats=repeats)).remaining.values())
        for repeats in (1, 3, 6)
    ]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.9 * left[0]
    stopped = written(lm, rows, WriteConfig(layers=(1, TOP), ridge=1.0, repeats=6, tolerance=1.01 * left[0]))
    once = written(lm, rows, WriteConfig(layers=(1, TOP), ridge=1.0))
    assert torch.equal(stopped.updates[0].input_factor, once.updates[0].input_factor)


@pytest.mark.parametrize("schedule", list(ResidualSchedule))
def test_the_last_layer_always_takes_all_that_is_left(schedule: ResidualSchedule) -> None:
    shares = list(schedule.shares([6, 4, 5]))
    assert shares[-1] == (6, 1.0)
    assert [layer for layer, _ in shares] == sorted(layer for layer, _ in shares)


def test_even_shares_spread_evenly_and_front_loads_the_first() -> None:
    taken = {}
    for schedule in (ResidualSchedule.EVEN, ResidualSchedule.FRONT):
        left, parts = 1.0, []
        for _, share in schedule.shares(range(5)):
            parts.append(left * share)
            left -= left * share
        taken[schedule] = parts
    assert taken[ResidualSchedule.EVEN] == pytest.approx([0.2] * 5)
    assert taken[ResidualSchedule.FRONT] == pytest.approx([0.45, 0.28, 0.16, 0.08, 0.03], abs=0.01)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_cancelling_at_any_step_leaves_nothing_attached(n: int) -> None:
    lm = tiny_lm()
    rows, before = rows_of(lm), logits_of(lm)
    config = WriteConfig(layers=(0, 1, TOP))
    writer = NullSpaceWriter(free=all_free(lm, config.layers), ridge=1.0)
    with pytest.raises(Cancelled):
        solve_layers(lm, shifts_of(lm, rows), rows, writer=writer, config=config, progress=StopsAfter(n))
    assert torch.equal(logits_of(lm), before)
    assert not any(module._forward_hooks for module in lm.model.modules())


@pytest.mark.parametrize(
    ("layers", "message"), [((1, N_LAYER), f"0 to {N_LAYER - 1}"), ((1, TOP + 1), f"after layer {TOP}")]
)
def test_layers_that_cannot_be_written_are_refused(layers: tuple[int, ...], message: str) -> None:
    lm = tiny_lm()
    rows = rows_of(lm)
    with pytest.raises(ConfigError, match=message):
        written(lm, rows, WriteConfig(layers=layers))


def test_shifts_and_texts_must_belong_together() -> None:
    lm = tiny_lm()
    rows = rows_of(lm)
    shifts = shifts_of(lm, rows)
    writer = NullSpaceWriter(free=all_free(lm, (TOP,)), ridge=1.0)
    with pytest.raises(ConfigError, match="no shift"):
        solve_layers(lm, shifts[:1], rows, writer=writer, config=WriteConfig(layers=(TOP,)))
    with pytest.raises(ConfigError, match="no text"):
        solve_layers(lm, shifts, rows[:1], writer=writer, config=WriteConfig(layers=(TOP,)))
    with pytest.raises(ConfigError, match="one and the same layer"):
        solve_layers(lm, [], rows, writer=writer, config=WriteConfig(layers=(TOP,)))


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": ()},
        {"layers": (3, 2)},
        {"layers": (-1, 2)},
        {"layers": (2, 2)},
        {"ridge": 0.0},
        {"ordinary_weight": -1.0},
        {"protected_weight": 0.0},
        {"keys_per_edit": "all"},
        {"repeats": 0},
        {"tolerance": -0.1},
        {"even_remaining": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"write.{next(iter(settings))}"):
        WriteConfig(**settings)  # type: ignore[arg-type]
