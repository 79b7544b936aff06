"""Edits change places and are made again, each on what lies under it; what the ledger says of them is so."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch

from kgmet.base.errors import Cancelled
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.inspect.settings import settings_of
from kgmet.write.patch import attached
from kgmet.write.so_far import EditsSoFar
from tests.workbench.sessions import EIFFEL, edited, entry_for, patch_for, state_of, wait_for
from workbench.running import jobs
from workbench.running.jobs import JobState
from workbench.running.resources import Resident
from workbench.screens.ledger import actions as ledger_actions
from workbench.screens.ledger.recompute import move, outdated, recompute
from workbench.shared import actions
from workbench.shared.actions import context_of
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft, StackEntry
from workbench.state.vault import SessionVault

ROME = FactDraft(subject="Germany", template="The capital of {} is", new_object="Rome")


def applied(state: WorkbenchState, resident: Resident, *drafts: FactDraft) -> tuple[StackEntry, ...]:
    for draft in drafts:
        edited(state, resident, draft)
    return state.stack


def done(state: WorkbenchState, kind: str = "recompute") -> jobs.Job:
    job = jobs.latest(state.session_id, kind)
    assert job is not None
    return wait_for(job.id)


def test_any_order_can_be_made_and_survives_a_restart(resident: Resident) -> None:
    state = state_of()
    for seed in range(3):
        state.record.push(entry_for(resident.lm, seed=seed))
    first, second, third = (entry.id for entry in state.stack)
    assert move(state, third, by=-1) is None and [e.id for e in state.stack] == [first, third, second]
    assert move(state, first, by=1) is None and [e.id for e in state.stack] == [third, first, second]
    for entry_id, by in ((third, -1), (second, 1)):
        assert move(state, entry_id, by=by) is None
    assert [entry.id for entry in state.stack] == [third, first, second]
    found = SessionVault(state.record.folder.parent).find(state.session_id)
    assert found is not None and [entry.id for entry in found.saved.stack] == [third, first, second]
    said = move(state, "gone", by=1)
    assert said is not None and "no longer exists" in said


def test_the_order_does_not_change_what_the_model_answers(resident: Resident) -> None:
    lm = resident.lm
    patches = [patch_for(lm, subject=f"Paris {seed}", seed=seed) for seed in range(3)]
    ids = torch.arange(1, 12)[None]
    found = []
    for order in permutations(patches):
        with torch.no_grad(), attached(order, lm):
            found.append(lm.model(ids).logits)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-4)


def test_undo_takes_the_one_that_is_last_now(resident: Resident) -> None:
    state = state_of()
    for seed in range(2):
        state.record.push(entry_for(resident.lm, seed=seed))
    first, second = state.stack
    move(state, first.id, by=1)
    assert actions.undo(state) is None
    assert state.stack == (second,)


def test_edits_made_in_this_order_are_up_to_date(resident: Resident) -> None:
    state = state_of()
    applied(state, resident, EIFFEL, ROME)
    assert outdated(state, resident.lm) == ()
    said = recompute(state, resident)
    assert said is not None and "up to date" in said


def test_after_a_swap_each_is_made_as_if_in_this_order_from_the_start(resident: Resident) -> None:
    state, lm = state_of(), resident.lm
    tower, germany = applied(state, resident, EIFFEL, ROME)
    state.record.replace_entry(germany.id, name="mine", note="why")
    move(state, germany.id, by=-1)
    assert [entry.id for entry in outdated(state, lm)] == [germany.id, tower.id]
    state.set_focus(germany.id)
    assert recompute(state, resident) is None
    assert done(state).error == ""
    first, second = state.stack
    assert (first.name, first.note) == ("mine", "why") and state.record.saved.focus == first.id
    assert (first.based_on, second.based_on) == ((), (first.id,))
    assert outdated(state, lm) == ()
    earlier: list[StackEntry] = []
    for made, old in ((first, germany), (second, tower)):
        config = settings_of(old.patch)
        plan = plan_edits(
            lm,
            [context_of(old, config)],
            editor=state.editor,
            statistics=resident.statistics,
            config=config,
            earlier=EditsSoFar.of(item.patch for item in earlier),
        )
        for have, want in zip(made.patch.updates, plan.patch.updates, strict=True):
            torch.testing.assert_close(
                have.output_factor.T @ have.input_factor, want.output_factor.T @ want.input_factor
            )
        earlier.append(made)
    found = SessionVault(state.record.folder.parent).find(state.session_id)
    assert found is not None and [entry.id for entry in found.saved.stack] == [first.id, second.id]


def test_what_rests_on_an_outdated_edit_is_outdated_and_what_lies_under_it_is_not(resident: Resident) -> None:
    state, lm = state_of(), resident.lm
    base = entry_for(lm, seed=0)
    middle = entry_for(lm, seed=1, based_on=(base.id, "gone"))
    top = entry_for(lm, seed=2, based_on=(base.id, middle.id))
    for entry in (base, middle, top):
        state.record.push(entry)
    assert [entry.id for entry in outdated(state, lm)] == [middle.id, top.id]
    ledger_actions.change_entries(state, [ledger_actions.renamed(middle, name="", note="", is_on=False)])
    assert [entry.id for entry in outdated(state, lm)] == [top.id]


def test_stopped_before_the_end_nothing_has_changed(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of()
    _, germany = applied(state, resident, EIFFEL, ROME)
    move(state, germany.id, by=-1)
    before, planned = state.stack, []

    def stopped_in_the_second(*given: Any, **named: Any) -> EditPlan:
        planned.append(given)
        if len(planned) == 2:
            raise Cancelled("stopped")
        return plan_edits(*given, **named)

    monkeypatch.setattr("workbench.screens.ledger.recompute.plan_edits", stopped_in_the_second)
    assert recompute(state, resident) is None
    assert done(state).state is JobState.CANCELLED
    assert len(planned) == 2 and state.stack == before
