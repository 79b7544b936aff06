"""After an edit that did not take, remedies are tried on the side, shown with their price, and used with one click."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kgmet.editing import remedies as remedies_module
from kgmet.editing import report as report_module
from kgmet.editing.remedies import Remedies, RemedyKind
from kgmet.measure.answer import Answer
from kgmet.measure.edit_verdict import EditVerdict, Outcome, Reason, judge_edit
from tests.workbench.sessions import EIFFEL, edited, fresh_process, state_of, wait_for
from tests.workbench.shown_pages import shown, words
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.shared import actions, remedies
from workbench.shared.remedies import look_for
from workbench.shared.remedy_panels import remedy_line
from workbench.state.session import WorkbenchState


@pytest.fixture
def resident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resident]:
    made = fresh_process(tmp_path, monkeypatch)
    monkeypatch.setattr(remedies, "look_for", look_for)  # as in the app
    yield made


def tried(state: WorkbenchState) -> jobs.Job:
    job = state.job(remedies.KIND)
    assert job is not None and job.is_aside
    return wait_for(job.id)


class FromThenOn:
    """The first verdict is the model's; later ones say that the edit took."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, before: Answer, after: Answer, *, search: Sequence[Reason] = ()) -> EditVerdict:
        self.n += 1
        if self.n == 1:
            return judge_edit(before, after, search=search)
        return EditVerdict(outcome=Outcome.TOOK, prompt=after.question.text, new="Tokyo", says="Tokyo")


def test_an_edit_that_did_not_take_is_looked_after_on_the_side(resident: Resident) -> None:
    state = edited(state_of(), resident)
    assert not state.is_busy, "no one waits for it"
    page = shown("edit", state)
    assert "What would make it take" in words(page)
    assert tried(state).error == ""
    entry = state.stack[-1]
    found = remedies.remedies_for(state, resident.lm, entry)
    assert found is not None and found.is_over and found.found == ()
    page.run()
    assert not page.exception
    assert f"{found.n_candidate} remedies were tried, and with none does the model say the new object" in words(page)
    assert [item.id for item in state.stack] == [entry.id], "nothing was put in its place"


def test_any_other_job_stops_it_and_it_can_be_asked_for_again(resident: Resident) -> None:
    state = edited(state_of(), resident)
    jobs.submit("other", lambda progress: None, state_of().session_id)
    job = tried(state)
    if job.state is jobs.JobState.CANCELLED:  # it may have been done by then
        page = shown("edit", state)
        assert not page.exception
        page.button(key="look-for-remedies").click().run()
        assert tried(state).error == ""
    assert remedies.remedies_for(state, resident.lm, state.stack[-1]) is not None


def test_one_click_puts_the_remedy_in_the_place_of_the_edit(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "judge_edit", FromThenOn())
    state = edited(state_of(), resident)
    failed = state.stack[-1]
    assert tried(state).error == ""
    found = remedies.remedies_for(state, resident.lm, failed)
    assert found is not None and len(found.found) == 3
    page = shown("edit", state)
    assert not page.exception
    number = next(n for n, item in enumerate(found.found) if item.typed is None)
    chosen = found.found[number]
    assert remedy_line(chosen, found) in words(page)
    page.button(key=f"remedy-{number}").click().run()
    assert not page.exception
    (entry,) = state.stack
    assert entry.id == chosen.edited.patch.id != failed.id and entry.report is chosen.edited.report
    assert state.live_patches(resident.lm) == [chosen.edited.patch] and state.redo == ()
    assert "What would make it take" not in words(page)
    assert actions.undo(state) is None and state.stack == ()


def test_another_wording_is_put_into_the_form_with_it(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "judge_edit", FromThenOn())
    monkeypatch.setattr(remedies_module, "MOST_FOUND", 99)
    state = edited(state_of(), resident)
    tried(state)
    found = remedies.remedies_for(state, resident.lm, state.stack[-1])
    assert found is not None
    worded = next(item for item in found.found if item.remedy.kind is RemedyKind.WORDING)
    assert remedies.use(state, resident.lm, state.stack[-1], worded) is None
    assert state.draft.template == worded.remedy.edit.template != EIFFEL.template
    assert state.draft.subject == EIFFEL.subject


def test_a_remedy_is_refused_where_the_edit_is_gone(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "judge_edit", FromThenOn())
    state = edited(state_of(), resident)
    failed = state.stack[-1]
    tried(state)
    found = remedies.remedies_for(state, resident.lm, failed)
    assert found is not None
    assert actions.undo(state) is None
    said = remedies.use(state, resident.lm, failed, found.found[0])
    assert said is not None and "Apply the edit again" in said and state.stack == ()


def test_the_line_says_what_it_costs(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "judge_edit", FromThenOn())
    state = edited(state_of(), resident)
    tried(state)
    found = remedies.remedies_for(state, resident.lm, state.stack[-1])
    assert isinstance(found, Remedies) and found.n_stay > 1
    item = found.found[0]
    line = remedy_line(item, found).replace("\\", "")
    assert f"{item.kept} of {found.n_stay} neighbours kept their answer ({found.kept} with the edit as it is)." in line
    assert item.remedy.sentence in line
