"""What Orthogonality and Trace measured: read back to the bit or not at all, small enough, and of one edit alone."""

from __future__ import annotations

import base64
import copy
import json
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from kgmet.base.errors import KgmetError
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import batch_entry, edited, entry_for, restarted, state_of
from tests.workbench.shown_pages import settled, shown
from workbench.drawing.protection import PROTECTION, Protection
from workbench.drawing.traced import READING, Map, Side, TracedMap, map_name
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.screens.orthogonality import kept as protection_kept
from workbench.screens.orthogonality.kept import protection_from_json
from workbench.screens.trace.kept import map_from_json, map_to_json, reading_from_json
from workbench.shared.inspect_actions import protection_from, queue, seen_with
from workbench.shared.publishing import links_of, publish
from workbench.state.kept import codecs
from workbench.state.published import published_links
from workbench.state.session import WorkbenchState
from workbench.state.tensors_json import SavedTensor
from workbench.state.values import Result, StackEntry

Damage = Callable[[Any], Any]


def measured(state: WorkbenchState, *names: str) -> WorkbenchState:
    for name in names:
        assert not settled(shown(name, state), state).exception
    return state


def protection_in(state: WorkbenchState) -> Protection:
    known = state.result(PROTECTION)
    assert known is not None
    found: Protection = known.value
    return found


def as_json(state: WorkbenchState, name: str) -> Any:
    known = state.result(name)
    assert known is not None
    return json.loads(json.dumps(codecs()[name].to_json(known.value)))


def test_a_tensor_comes_back_to_the_bit() -> None:
    for tensor in (torch.randn(3, 4), torch.tensor([[1e-310, -0.0]], dtype=torch.float64), torch.zeros(0, 5)):
        saved = json.loads(json.dumps(SavedTensor.of(tensor).__dict__))
        again = SavedTensor(shape=tuple(saved["shape"]), numbers=saved["numbers"]).tensor(n_axis=2)
        assert torch.equal(again, tensor.double()) and again.shape == tensor.shape


def numbers(*values: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()


@pytest.mark.parametrize(
    ("saved", "n_axis"),
    [
        (SavedTensor(shape=(2,), numbers=numbers(1.0)), 1),
        (SavedTensor(shape=(1,), numbers=numbers(1.0)), 2),
        (SavedTensor(shape=(-1, -1), numbers=numbers(1.0)), 2),
        (SavedTensor(shape=(1,), numbers=numbers(math.inf)), 1),
        (SavedTensor(shape=(1,), numbers=numbers(math.nan)), 1),
        (SavedTensor(shape=(1,), numbers="no base 64!"), 1),
        (SavedTensor(shape=(1 << 40,), numbers=numbers(1.0)), 1),
    ],
    ids=["too few", "axes", "negative", "infinite", "nan", "text", "huge"],
)
def test_a_tensor_that_is_none_is_refused(saved: SavedTensor, n_axis: int) -> None:
    with pytest.raises(ValueError, match="a tensor"):
        saved.tensor(n_axis=n_axis)


def test_what_the_write_protects_comes_back_to_the_bit_with_its_overlap(resident: Resident) -> None:
    state = edited(state_of(), resident)
    state.record.push(batch_entry(resident.lm))
    measured(state, "orthogonality")
    before = protection_in(state)
    assert before.overlap is not None and bool(before.overlap.crosstalk.isnan().any()), "three were written together"
    after = protection_from_json(as_json(state, PROTECTION))
    assert after.overlap is not None and after.overlap.edits == before.overlap.edits
    torch.testing.assert_close(after.overlap.crosstalk, before.overlap.crosstalk, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(after.drift.values, before.drift.values) and after.drift.texts == before.drift.texts
    for one, other in zip(after.writes, before.writes, strict=True):
        assert torch.equal(one.keys, other.keys) and torch.equal(one.eigenvalues, other.eigenvalues)
        assert one.cost(3) == other.cost(3) and one.binned() == other.binned()


def put(*path: str | int, value: Any) -> Damage:
    """Return what puts a value at a place in JSON values."""

    def damage(data: Any) -> Any:
        place = data
        for step in path[:-1]:
            place = place[step]
        assert path[-1] in place or isinstance(path[-1], int)
        place[path[-1]] = value
        return data

    return damage


WRONG = {
    PROTECTION: [
        put("writes", 0, "rank", value=10_000),
        put("writes", 0, "rank", value=0),
        put("writes", 0, "ridge", value=0.0),
        put("writes", 0, "text_output", value=-1.0),
        put("writes", 0, "keys", "shape", value=[1, 2, 3]),
        put("writes", 0, "layer", value=77),
        put("writes", value=[]),
        put("drift", "numbers", value=""),
        put("texts", value=[]),
    ],
    READING: [
        put("n_token", value=0),
        put("breaks", value=[]),
        put("removed_after", value=[]),
        put("removed_after", 0, "component", "layer", value=99),
        put("after", "rank", value={}),
        put("after", "source", "subject", value=[3, 900]),
        put("before", "source", "tokens", value=["one"]),
        put("contributions_after", "mlps", "shape", value=[1]),
        put("breaks", 0, "outcome", value="nobody knows"),
    ],
    map_name(Map.STATE): [
        put("kind", value=Map.OTHER_STATE.value),
        put("layers", value=[]),
        put("layers", 0, value=90),
        put("step", value=0),
        put("values", "shape", value=[1, 1]),
        put("source", "ids", value=[]),
        put("side", value="neither"),
    ],
}


def test_what_is_no_such_figure_is_refused(resident: Resident) -> None:
    state = measured(edited(state_of(), resident), "orthogonality", "trace")
    for name, damages in WRONG.items():
        sound = as_json(state, name)
        codecs()[name].from_json(copy.deepcopy(sound))
        for number, damage in enumerate(damages):
            with pytest.raises((KgmetError, ValueError, LookupError)):
                codecs()[name].from_json(damage(copy.deepcopy(sound)))
                raise AssertionError(f"{name}, damage {number}, was read")


def test_a_damaged_value_in_a_session_is_damage_whatever_is_wrong_with_it(resident: Resident) -> None:
    """The file itself is sound and sealed: only what it says cannot be."""
    state = measured(edited(state_of(), resident), "orthogonality", "trace")
    for name, damages in WRONG.items():
        known, codec = state.result(name), codecs()[name]
        assert known is not None
        sound = as_json(state, name)
        for damage in damages:
            false = damage(copy.deepcopy(sound))
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(codecs(), name, replace(codec, to_json=lambda _, said=false: said))  # type: ignore[misc]
                state.record.keep(name, known)
            state = restarted(state)
            assert state.result(name) is None and state.damage and codec.what in state.damage[0]
            state.close_damage()


def test_every_kind_of_map_comes_back_to_the_bit(resident: Resident) -> None:
    state = edited(state_of(), resident)
    page = settled(shown("trace", state), state)
    for kind in (Map.STATE, Map.OTHER_ATTENTION):
        next(item for item in page.selectbox if item.label == "What to draw").set_value(kind).run()
        settled(page, state)
        known = state.result(map_name(kind))
        assert known is not None
        before: TracedMap = known.value
        after = map_from_json(json.loads(json.dumps(map_to_json(before))))
        values = [getattr(one.found, "restored" if kind.is_causal else "patched") for one in (before, after)]
        assert torch.equal(*values) and values[0].dtype == values[1].dtype == torch.float32
        assert after.inputs == before.inputs and after.found.source == before.found.source
        assert (after.side, after.found.layers) == (Side.EDITED, before.found.layers)


def test_contributions_and_ranks_come_back_to_the_bit(resident: Resident) -> None:
    state = measured(edited(state_of(), resident), "trace")
    known = state.result(READING)
    assert known is not None
    before, after = known.value, reading_from_json(as_json(state, READING))
    assert torch.equal(after.contributions.after.heads, before.contributions.after.heads)
    assert all(torch.equal(after.after.rank[one], before.after.rank[one]) for one in before.after.rank)
    assert after.breaks == before.breaks and after.contributions.removed_after == before.contributions.removed_after


def test_what_is_too_large_stays_in_memory(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection_kept, "MOST_NUMBERS", 100)
    state = measured(edited(state_of(), resident), "orthogonality")
    assert protection_in(state).n_number > 100 and not state.unsaved
    assert publish(state, resident.lm, state.stack[-1]) is None
    assert PROTECTION not in published_links().about(links_of(state)[-1].token).figures
    assert restarted(state).result(PROTECTION) is None


def opened(state: WorkbenchState) -> StackEntry:
    """What a link to the edit in focus leads to."""
    entry = state.focus
    assert entry is not None
    assert publish(state, tiny_lm(), entry) is None
    return published_links().open(links_of(state)[-1].token)


def test_a_link_tells_nothing_of_the_makers_other_edits(resident: Resident) -> None:
    state = edited(state_of(), resident)
    first = state.stack[0]
    state.record.push(replace(entry_for(resident.lm), name="secret"))
    state.set_focus(first.id)
    measured(state, "orthogonality")
    overlap = protection_in(state).overlap
    assert overlap is not None and "Paris 0" in [edit.subject for edit in overlap.edits]
    figure = opened(state).figures[PROTECTION]
    assert figure.value.overlap is None
    visitor = state_of()
    visitor.record.add(replace(first, figures={PROTECTION: figure}))
    (entry,) = visitor.stack
    assert entry.edit is not None
    assert figure.made_from == protection_from(visitor, resident.lm, entry, entry.edit), "as the visitor would measure"
    measured(visitor, "orthogonality")
    assert jobs.latest(queue(visitor)) is None

    state.set_focus(state.stack[1].id)
    measured(state, "orthogonality")
    assert PROTECTION not in opened(state).figures, "it holds the keys of the edit below it"


def test_figures_of_another_model_or_other_edits_are_not_shown(resident: Resident) -> None:
    state = measured(edited(state_of(), resident), "orthogonality", "trace")
    (entry,) = state.stack
    assert entry.edit is not None
    came = {name: state.result(name) for name in (PROTECTION, READING, map_name(Map.STATE))}
    visitor = state_of()
    visitor.record.add(replace(entry, figures={name: one for name, one in came.items() if one is not None}))
    (held,) = visitor.stack
    now = protection_from(visitor, resident.lm, held, entry.edit)
    assert visitor.measured(held, PROTECTION, now) is came[PROTECTION]
    other = tiny_lm("gpt2")
    assert visitor.measured(held, PROTECTION, protection_from(visitor, other, held, entry.edit)) is None
    reading: Result | None = came[READING]
    assert reading is not None
    assert visitor.measured(held, READING, seen_with(visitor, other, held, *reading.value.inputs)) is None
    below = state_of()
    below.record.push(entry_for(resident.lm, seed=3))
    below.record.add(held)
    now = seen_with(below, resident.lm, below.stack[1], *reading.value.inputs)
    assert below.measured(below.stack[1], READING, now) is None, "measured with other edits on"
