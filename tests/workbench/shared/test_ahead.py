"""The search made ahead on the side: the same edit, searched once, and never for anything but what is typed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kgmet.base.errors import ConfigError
from kgmet.editing.session import EditSession
from kgmet.search.search import find_target_shifts
from tests.workbench.sessions import EIFFEL, SMALL_SETTINGS, fresh_process, state_of, wait_for
from workbench.running import jobs
from workbench.running.jobs import JobState
from workbench.running.resources import Resident
from workbench.shared import actions, ahead
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

START = ahead.start


@pytest.fixture
def searches() -> list[int]:
    """Filled with one entry for each search."""
    return []


@pytest.fixture
def resident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searches: list[int]) -> Iterator[Resident]:
    made = fresh_process(tmp_path, monkeypatch)
    monkeypatch.setattr(ahead, "start", START)
    monkeypatch.setattr(ahead, "_PAUSE", 0.0)

    def counted(*arguments: Any, **settings: Any) -> Any:
        searches.append(len(arguments[1]))
        return find_target_shifts(*arguments, **settings)

    monkeypatch.setattr("kgmet.editing.plan.find_target_shifts", counted)
    yield made


def typed(**changes: Any) -> WorkbenchState:
    state = state_of()
    state.set_draft(replace(EIFFEL, **changes))
    assert actions.prepare(state) is None
    return state


def looked_ahead(state: WorkbenchState, resident: Resident) -> jobs.Job:
    actions.look_ahead(state, resident)
    job = next(one for one in reversed(jobs.registry()._jobs.values()) if one.kind.startswith(ahead.KIND))
    return wait_for(job.id)


def applied(state: WorkbenchState, resident: Resident) -> StackEntry:
    assert actions.apply(state, resident) is None
    job = jobs.latest(state.session_id, "edit")
    assert job is not None and wait_for(job.id).error == ""
    return state.stack[-1]


def test_apply_after_a_search_ahead_writes_the_same_patch_and_searches_no_more(
    resident: Resident, searches: list[int]
) -> None:
    plain = applied(typed(), resident)
    n_plain = sum(searches)
    state = typed()
    job = looked_ahead(state, resident)
    assert (job.state, job.is_aside) == (JobState.DONE, True)
    assert not state.stack and state.job() is None and not state.is_busy
    assert sum(searches) == 2 * n_plain
    entry = applied(state, resident)
    assert sum(searches) == 2 * n_plain
    assert entry.curve == plain.curve and len(entry.patch.updates) == len(plain.patch.updates)
    for one, other in zip(entry.patch.updates, plain.patch.updates, strict=True):
        assert torch.equal(one.dense(), other.dense())


def test_it_is_searched_ahead_once_and_again_only_for_other_inputs(resident: Resident, searches: list[int]) -> None:
    state = typed()
    looked_ahead(state, resident)
    n = sum(searches)
    actions.look_ahead(state, resident)
    assert len([one for one in jobs.registry()._jobs.values() if one.kind.startswith(ahead.KIND)]) == 1
    state.set_editor("KGMET", {**SMALL_SETTINGS, "target": {"max_steps": 1}})
    looked_ahead(state, resident)
    assert sum(searches) == 2 * n


@pytest.mark.parametrize("change", ["draft", "settings"])
def test_a_search_for_other_inputs_is_not_used(resident: Resident, searches: list[int], change: str) -> None:
    state = typed()
    looked_ahead(state, resident)
    n = sum(searches)
    if change == "draft":
        state.set_draft(replace(EIFFEL, new_object="Rome"))
    else:
        state.set_editor("KGMET", {**SMALL_SETTINGS, "target": {"max_steps": 1}})
    entry = applied(state, resident)
    assert sum(searches) == 2 * n
    assert entry.edit is not None and entry.edit.new_object == state.draft.new_object


def the_search_ahead() -> jobs.Job:
    return next(one for one in jobs.registry()._jobs.values() if one.kind.startswith(ahead.KIND))


def test_apply_during_the_pause_begins_the_search_ahead_and_uses_it(
    resident: Resident, searches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_PAUSE", 60.0)
    state = typed()
    actions.look_ahead(state, resident)
    entry = applied(state, resident)
    assert entry.edit is not None and len(searches) == 2  # of one search, a call for each kind of base
    assert the_search_ahead().state is JobState.DONE


def test_apply_during_a_search_ahead_waits_for_it_and_searches_no_more(
    resident: Resident, searches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate = threading.Event(), threading.Event()
    search = EditSession.search

    def held_up(*arguments: Any, **settings: Any) -> Any:
        begun.set()
        assert gate.wait(60)
        return search(*arguments, **settings)

    monkeypatch.setattr(EditSession, "search", held_up)
    state = typed()
    actions.look_ahead(state, resident)
    assert begun.wait(60)
    assert actions.apply(state, resident) is None
    gate.set()
    job = jobs.latest(state.session_id, "edit")
    assert job is not None and wait_for(job.id).error == ""
    assert len(state.stack) == 1 and len(searches) == 2
    assert the_search_ahead().state is JobState.DONE


def test_another_job_ends_the_pause_before_a_search_ahead(
    resident: Resident, searches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_PAUSE", 60.0)
    state = typed()
    actions.look_ahead(state, resident)
    assert wait_for(jobs.submit("probe", lambda progress: 7, state.session_id)).value == 7
    assert the_search_ahead().state is JobState.CANCELLED and not searches


def test_shifts_of_another_edit_are_refused(resident: Resident) -> None:
    one, other = typed(), typed(new_object="Rome")
    assert one.context is not None and other.context is not None
    session = actions.session_of(one, resident)
    searched = session.search([one.context])
    with pytest.raises(ConfigError, match="other edits"):
        session.edit_prepared([other.context], searched=searched)
