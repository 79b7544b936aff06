"""Foresee: nothing yet, a fact typed, forecast, protected, applied; stopped, out of date, and of another model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.triple import Triple
from kgmet.lm.say.score import score_answers
from kgmet.write.patch import attached
from tests.forecast.tiny_world import known_world
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import edited, fresh_process, state_of
from tests.workbench.shown_pages import shown, words
from workbench.running import jobs, resources
from workbench.running.jobs import JobState
from workbench.running.resources import Resident, catalogue
from workbench.screens.foresee import actions as foresee_actions
from workbench.screens.foresee.values import PROTECTED
from workbench.shared.foreseen import CHECKED, FORESEEN, moves_of
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft

FRANCE = FactDraft(subject="France", template="The capital of {} is", new_object="Rome")


@pytest.fixture
def resident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resident]:
    monkeypatch.setattr(resources, "sample_store", lambda: known_world(tiny_lm())[0])
    yield fresh_process(tmp_path, monkeypatch)


def ended(state: WorkbenchState) -> jobs.Job:
    job = state.job(foresee_actions.KIND)
    assert job is not None
    end = time.monotonic() + 60
    while not job.is_finished and time.monotonic() < end:
        time.sleep(0.01)
    return job


def typed(draft: FactDraft = FRANCE) -> WorkbenchState:
    state = state_of()
    state.set_draft(draft)
    return state


def foreseen(state: WorkbenchState) -> AppTest:
    page = shown("foresee", state)
    page.button(key="foresee").click().run()
    job = ended(state)
    assert job.state is JobState.DONE, job.error
    return page.run()


def keys(page: AppTest) -> set[str]:
    return {str(button.key) for button in page.button}


def test_an_empty_session_is_told_what_to_do_next(resident: Resident) -> None:
    page = shown("foresee", state_of())
    assert not page.exception
    assert "No fact yet" in words(page)


def test_before_it_starts_it_says_how_long_it_takes_and_where_it_is_kept(resident: Resident) -> None:
    state = typed()
    page = shown("foresee", state)
    assert not page.exception
    assert "once for this model: they are kept on disk" in words(page)
    assert "No forecast yet" in words(page)
    assert state.job(foresee_actions.KIND) is None


def test_a_forecast_lists_what_moves_and_applies_nothing(resident: Resident) -> None:
    state = typed()
    before = score_answers(resident.lm, [("The capital of France is", "Rome")])
    page = foreseen(state)
    assert not page.exception
    known = state.result(FORESEEN)
    assert known is not None and known.value.forecasts
    first = known.value.strongest_first[0]
    assert first.fact.prompt.subject in page.checkbox[0].label and "→" in page.checkbox[0].label
    assert f"of {len(known.value.forecasts)}** known facts" in words(page)
    assert state.stack == () and state.live_patches(resident.lm) == []
    assert score_answers(resident.lm, [("The capital of France is", "Rome")]) == before
    assert "measured already and on disk" in words(page.run()) or "of them are on disk" in words(page)
    graph = shown("graph", state)
    assert not graph.exception
    assert "facts with figures are forecast to move most" in words(graph)
    assert graph.toggle(key="graph-moves").label == "Forecast side effects"


def test_ticked_facts_are_protected_before_anything_is_applied(resident: Resident) -> None:
    state = typed()
    page = foreseen(state)
    assert page.button(key="foresee-protect").disabled
    page.checkbox[0].check().run()
    assert not page.button(key="foresee-protect").disabled
    page.button(key="foresee-protect").click().run()
    assert ended(state).state is JobState.DONE
    page.run()
    assert not page.exception
    plain, safe = (state.result(name).value for name in (FORESEEN, PROTECTED))  # type: ignore[union-attr]
    assert safe.mean_change(safe.protected) < 0.2 * plain.mean_change(safe.protected)
    assert page.table[0].value.columns.tolist() == ["as it is", "protected"]
    assert state.stack == ()
    page.button(key="foresee-tick-none").click().run()
    assert "foresee-apply-protected" not in keys(page), "the protected edit is of the facts that were ticked"


@pytest.mark.parametrize("is_protected", [False, True])
def test_an_applied_forecast_is_compared_with_what_is_measured(resident: Resident, is_protected: bool) -> None:
    state = typed()
    page = foreseen(state)
    name = "foresee-apply"
    if is_protected:
        page.button(key="foresee-tick-worst").click().run()
        page.button(key="foresee-protect").click().run()
        ended(state)
        page.run()
        name = "foresee-apply-protected"
    made = state.result(PROTECTED if is_protected else FORESEEN)
    assert made is not None
    page.button(key=name).click().run()
    assert ended(state).error == ""
    page.run()
    assert not page.exception
    (entry,) = state.stack
    assert entry.id == made.value.patch.id and entry.report is not None
    checked = state.result(CHECKED)
    assert checked is not None
    asked = [(one.fact.prompt.text, one.fact.answer) for one in checked.value.forecasts]
    with attached(entry.patch, resident.lm):
        after = [score.logprob for score in score_answers(resident.lm, asked)]
    assert checked.value.after.tolist() == pytest.approx(after, abs=1e-5)
    assert "Forecast against measured" in words(page)
    assert f"n = {len(asked)}" in words(page).replace("\\", "")
    assert page.selectbox(key="foresee-choice").value == entry.id
    assert "foresee-apply" not in keys(page)
    assert ("written with a price on moving" in words(page)) is is_protected
    graph = shown("graph", state)
    assert not graph.exception
    assert graph.toggle(key="graph-moves").label == "Measured side effects"
    state.set_draft(replace(state.draft, new_object="Berlin"))
    assert moves_of(state, resident, state.draft.edit, catalogue()) == (), "a forecast of another edit"


def test_an_edit_applied_elsewhere_is_forecast_and_asked_at_once(resident: Resident) -> None:
    state = edited(state_of(), resident, FRANCE)
    page = foreseen(state)
    assert not page.exception
    assert "Forecast against measured" in words(page)
    assert len(state.stack) == 1


def test_stopped_half_way_nothing_is_applied_and_it_goes_on(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = typed()
    page = foreseen(state)
    check = foresee_actions.check_forecast

    def stopped(*given: object, **rest: object) -> object:
        ended_job = state.job(foresee_actions.KIND)
        assert ended_job is not None
        ended_job.flag.set()
        return check(*given, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(foresee_actions, "check_forecast", stopped)
    page.button(key="foresee-apply").click().run()
    assert ended(state).state is JobState.CANCELLED
    page.run()
    assert not page.exception
    assert "Nothing was applied" in words(page) and state.stack == ()
    monkeypatch.undo()


def test_a_forecast_of_other_settings_is_named_and_cannot_be_applied(resident: Resident) -> None:
    state = typed()
    page = foreseen(state)
    assert "Outdated" not in words(page)
    state.set_editor("KGMET", {**state.settings, "seed": 5})
    page.run()
    assert not page.exception
    assert "Outdated: the inputs have changed" in words(page)
    assert "foresee-apply" not in keys(page) and not page.checkbox
    question = foresee_actions.question_of(state, resident, "", 120)
    old = state.result(FORESEEN)
    assert old is not None
    assert "Make it again" in str(foresee_actions.apply(state, resident, question, old.value))
    assert "Make it again" in str(foresee_actions.protect_ticked(state, resident, question, {"x"}))


def test_an_edit_made_meanwhile_keeps_the_foreseen_one_from_being_applied(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forecast is of what is added to the edits that were on."""
    from tests.workbench.sessions import entry_for

    state = typed()
    page = foreseen(state)
    report = foresee_actions.report_edit

    def meanwhile(*given: object, **rest: object) -> object:
        state.record.push(entry_for(resident.lm, seed=3))
        return report(*given, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(foresee_actions, "report_edit", meanwhile)
    page.button(key="foresee-apply").click().run()
    assert "nothing was applied" in ended(state).error
    assert [entry.name for entry in state.stack] == ["edit 3"]


def test_another_model_makes_the_forecast_stale_and_leaves_its_edits_out(resident: Resident) -> None:
    state = typed()
    page = foreseen(state)
    page.button(key="foresee-apply").click().run()
    assert ended(state).error == ""
    resources.model_holder().put(tiny_lm(seed=1))
    page = shown("foresee", state)
    assert not page.exception
    assert "No edit was made for the model that is loaded" in words(page)
    state.set_draft(replace(FRANCE, new_object="Berlin"))
    page = shown("foresee", state)
    assert not page.exception
    assert "Outdated: the inputs have changed" in words(page)


def test_two_sessions_do_not_see_each_others_forecasts(resident: Resident) -> None:
    mine, other = typed(), typed(replace(FRANCE, new_object="Berlin"))
    foreseen(mine)
    page = shown("foresee", other)
    assert not page.exception
    assert other.result(FORESEEN) is None and "No forecast yet" in words(page)


@pytest.mark.parametrize("name", ["ROME", "FT"])
def test_an_editor_that_cannot_price_says_so(resident: Resident, name: str) -> None:
    state = typed()
    state.set_editor(name, {"write": {"layers": [2]}, "target": {"max_steps": 2}, "finetune": {"steps": 2}})
    page = foreseen(state)
    assert not page.exception
    page.checkbox[0].check().run()
    assert f"{name} cannot protect known facts" in words(page)
    assert page.button(key="foresee-protect").disabled
    page.button(key="foresee-apply").click().run()
    assert ended(state).error == ""
    assert [entry.patch.editor for entry in state.stack] == [name]


def test_an_unknown_subject_is_foreseen_from_the_prompt_alone(resident: Resident) -> None:
    state = typed(FactDraft(subject="Zorblax", template="{} grows in the land of", new_object="Berlin"))
    page = foreseen(state)
    assert not page.exception
    assert state.result(FORESEEN) is not None


@pytest.mark.parametrize(
    "draft",
    [
        FactDraft(subject="Paris"),
        FactDraft(subject="Paris", template="two {} places {}", new_object="Rome"),
        FactDraft(subject=" ", template="{}", new_object=" "),
    ],
    ids=["half typed", "two places", "blank"],
)
def test_what_is_no_edit_is_a_message(resident: Resident, draft: FactDraft) -> None:
    page = shown("foresee", typed(draft))
    assert not page.exception
    assert "foresee" not in keys(page)
    assert bool(page.error) is not draft.is_incomplete
    assert ("is not complete" in words(page)) is draft.is_incomplete


def test_labels_from_the_graph_are_text(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "<img src=x onerror=alert(1)> **b** $x$ [l](http://x)"
    plain = known_world(resident.lm)[0]
    triples = [
        Triple(
            subject=replace(t.subject, label=hostile) if t.subject.label == "Germany" else t.subject,
            relation=t.relation,
            object=t.object,
        )
        for t in plain
    ]
    monkeypatch.setattr(resources, "sample_store", lambda: MemoryStore(triples))
    resources.graph_holder.clear()
    state = typed()
    page = foreseen(state)
    assert not page.exception
    for box in page.checkbox:
        assert "<img" not in box.label.replace("\\<", "") and "](" not in box.label.replace("\\]\\(", "")
