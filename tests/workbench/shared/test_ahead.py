"""The edit made ahead on the side: the same edit, made once, and never for anything but what is typed."""

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
from kgmet.lm.say.score import score_answers
from kgmet.search.search import find_target_shifts
from kgmet.write.statistics import KeyStatistics
from tests.passes import passes
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


@pytest.mark.parametrize("change", ["draft", "settings", "text"])
def test_a_search_for_other_inputs_is_not_used(resident: Resident, searches: list[int], change: str) -> None:
    state = typed()
    looked_ahead(state, resident)
    n = sum(searches)
    if change == "draft":
        state.set_draft(replace(EIFFEL, new_object="Rome"))
    elif change == "text":
        corpus = resident.statistics.corpus
        other = KeyStatistics(resident.lm, replace(corpus, lines=corpus.lines[:-1]))
        resident = replace(resident, statistics=other)
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


def test_apply_after_an_edit_was_made_ahead_asks_the_model_nothing(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = applied(typed(), resident)
    state, said = typed(), [answer_said(resident)]
    looked_ahead(state, resident)
    assert not state.stack and not state.live_patches(resident.lm) and answer_said(resident) == said[0]
    monkeypatch.setattr("workbench.shared.remedies.can_be_tried", lambda *_: False)
    with passes(resident.lm) as shapes:
        entry = applied(state, resident)
    assert not shapes
    assert entry.report is not None and plain.report is not None
    assert entry.report.to_json() | {"seconds": 0} == plain.report.to_json() | {"seconds": 0}
    assert actions.undo(state) is None
    checked = actions.undo_check(state, resident.lm, entry)
    assert checked is not None and checked[1]
    again = applied(state, resident)
    assert again.id == entry.id and [item.id for item in state.stack] == [entry.id] and not state.redo
    second = applied(state, resident)
    assert len(state.stack) == 2 and second.id != entry.id, "made on top of the first, so made anew"


def answer_said(resident: Resident) -> float:
    return score_answers(resident.lm, [(EIFFEL.subject + " is located in the city of", "Tokyo")])[0].logprob


def test_the_answers_of_an_edit_that_is_being_made_are_shown_once_apply_was_clicked(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, gate = threading.Event(), threading.Event()
    reports = EditSession._reports

    def held_up(session: EditSession, plan: Any, earlier: Any, on_answer: Any, progress: Any) -> Any:
        def told(pair: Any) -> None:
            on_answer(pair)
            known.set()
            assert gate.wait(60)

        return reports(session, plan, earlier, told, progress)

    monkeypatch.setattr(EditSession, "_reports", held_up)
    state = typed()
    actions.look_ahead(state, resident)
    assert known.wait(60)
    assert actions.first_answers(state) is None
    assert actions.apply(state, resident) is None
    assert actions.first_answers(state) is not None
    gate.set()
    job = jobs.latest(state.session_id, "edit")
    assert job is not None and wait_for(job.id).error == ""
    assert len(state.stack) == 1


def test_an_edit_that_is_stopped_while_it_is_measured_ahead_leaves_its_search(
    resident: Resident, searches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate = threading.Event(), threading.Event()
    reports = EditSession._reports

    def held_up(*arguments: Any) -> Any:
        begun.set()
        assert gate.wait(60)
        return reports(*arguments)

    monkeypatch.setattr(EditSession, "_reports", held_up)
    state = typed()
    actions.look_ahead(state, resident)
    assert begun.wait(60)
    other = jobs.submit("probe", lambda progress: 7, "another visitor")
    gate.set()
    assert wait_for(other).value == 7
    assert the_search_ahead().state is JobState.CANCELLED
    n = len(searches)
    entry = applied(state, resident)
    assert len(searches) == n and entry.report is not None
