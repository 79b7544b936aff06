"""Trace: empty, half filled and full; what is typed, clicked, stopped and switched."""

from __future__ import annotations

import time

import pytest
import torch
from streamlit.testing.v1 import AppTest

from kgmet.lm.say.score import next_tokens
from tests.tiny_models import N_LAYER, tiny_lm
from tests.workbench.sessions import batch_entry, edited, entry_for, state_of
from tests.workbench.shown_pages import settled, shown, words
from workbench.running import jobs
from workbench.running.resources import Resident, model_holder
from workbench.screens.trace.view import Map, Shown, Side
from workbench.shared import inspect_actions
from workbench.state.session import WorkbenchState


def traced(state: WorkbenchState) -> AppTest:
    return settled(shown("trace", state), state)


def chosen(page: AppTest, label: str) -> object:
    return next(item for item in page.selectbox if item.label == label)


def test_an_empty_session_is_told_what_to_do_next(resident: Resident) -> None:
    page = shown("trace", state_of())
    assert not page.exception
    assert "No edit yet" in words(page)


def test_an_applied_edit_is_traced(resident: Resident) -> None:
    page = traced(edited(state_of(), resident))
    assert not page.exception
    said = words(page)
    assert "with the subject unreadable \\(mean of 2 draws of noise\\)" in said
    assert "taken from the unedited model, the edited model goes on with" in said
    assert "Edited model, “Tokyo”" in said
    assert "How to read it" in said


@pytest.mark.parametrize("kind", list(Map), ids=lambda kind: kind.name)
def test_every_map_on_either_side(resident: Resident, kind: Map) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = traced(state)
    chosen(page, "What to draw").set_value(kind).run()  # type: ignore[attr-defined]
    settled(page, state)
    assert not page.exception
    result = state.result(f"trace-map-{kind.name}")
    assert result is not None and result.value.found.part is kind.part
    model = next(group for group in page.button_group if group.label == "Model")
    model.set_value(Side.UNEDITED).run()
    settled(page, state)
    assert not page.exception
    assert state.result(f"trace-map-{kind.name}").value.found.source.source.answer == "London"  # type: ignore[union-attr]


def test_a_deep_models_map_has_some_layers_first_and_the_others_when_asked_for(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.screens.trace.view.MOST_ROWS", 2)
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = traced(state)
    assert not page.exception
    assert "trying every 2nd layer," in words(page)
    coarse = state.result("trace-map-STATE").value.found  # type: ignore[union-attr]
    assert coarse.layers == (1, 3)
    assert page.slider(key="trace-layer").value == 3
    chosen(page, "Layers").set_value(1).run()  # type: ignore[attr-defined]
    settled(page, state)
    assert not page.exception
    whole = state.result("trace-map-STATE").value.found  # type: ignore[union-attr]
    assert whole.layers == tuple(range(N_LAYER)) and torch.equal(whole.restored[[1, 3]], coarse.restored)
    assert "every 2nd layer" not in words(page)
    page.slider(key="trace-layer").set_value(2).run()
    chosen(page, "Layers").set_value(2).run()  # type: ignore[attr-defined]
    settled(page, state)
    assert not page.exception
    assert page.slider(key="trace-layer").value == 3, "layer 2 has no row now: the next one that has is chosen"


def test_the_first_map_and_its_contributions_and_ranks_are_one_job(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = shown("trace", state)
    job = jobs.latest(inspect_actions.queue(state))
    settled(page, state)
    assert job is not None and jobs.latest(inspect_actions.queue(state)) is job
    assert state.result("trace") is not None and state.result("trace-map-STATE") is not None
    next(group for group in page.button_group if group.label == "View").set_value("Contributions").run()
    assert jobs.latest(inspect_actions.queue(state)) is job
    assert not page.exception and "gradient × activation" in words(page)


@pytest.mark.parametrize("view", ["Contributions", "Recall by layer"])
def test_the_other_views(resident: Resident, view: str) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = traced(state)
    next(group for group in page.button_group if group.label == "View").set_value(view).run()
    assert not page.exception
    assert {"Contributions": "gradient × activation", "Recall by layer": "logit lens"}[view] in words(page)


def test_ranks_are_first_shown_at_the_last_token_of_the_last_layer(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = traced(state)
    next(group for group in page.button_group if group.label == "View").set_value("Recall by layer").run()
    box = page.selectbox(key="trace-rank-position")
    assert box.value == len(box.options) - 1
    assert page.slider(key="trace-rank-layer").value == N_LAYER - 1
    page.slider(key="trace-rank-layer").set_value(0).run()
    assert not page.exception
    assert page.slider(key="trace-rank-layer").value == 0


def test_a_part_can_be_chosen_and_is_really_taken_out(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = traced(state)
    next(group for group in page.button_group if group.label == "View").set_value("Contributions").run()
    page.selectbox(key="trace-part").set_value(0).run()
    assert not page.exception
    table = str(page.table[0].value)
    assert "taken out after, it falls by" in table
    for which in Shown:
        next(group for group in page.button_group if group.label == "Contributions").set_value(which).run()
        assert not page.exception
    assert "they are first order" in words(page)


def test_the_cell_chosen_by_keyboard_is_patched(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = traced(state)
    page.slider(key="trace-layer").set_value(N_LAYER - 1).run()
    last = len(page.selectbox(key="trace-position").options) - 1
    page.selectbox(key="trace-position").select_index(last).run()
    assert not page.exception
    found = state.result("trace-patch")
    assert found is not None and found.value.cells == ((N_LAYER - 1, last),)
    assert found.value.patched.answer == pytest.approx(found.value.giver.answer, rel=1e-4)
    assert "100 % of the way" in words(page).replace("\u00a0", " ")


def type_prompt(page: AppTest, *texts: str) -> AppTest:
    box = chosen(page, "Prompt")
    box.select_index(len(box.options) - 1).run()  # type: ignore[attr-defined]
    for field, text in zip(page.text_input, texts, strict=False):
        field.set_value(text)
    return page.run()


def test_half_a_prompt_is_told_what_is_missing(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = type_prompt(traced(state), "Big Ben is in", "Big Ben")
    assert not page.exception
    assert "Type a text that ends before the answer" in words(page)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("Big Ben is in", "The Louvre", "London"), "occurs 0 times"),
        (("Rome or Rome is", "Rome", "Paris"), "occurs 2 times"),
        (("Big Ben is in", "Big Ben", "London", "london"), "nothing changes"),
        (("{} and {} are in", "Big Ben", "London"), "2 places"),
        (("Big Ben is" + " in the" * 70, "Big Ben", "London"), "tokens"),
        (("Big Ben is" + " in the" * 22, "Big Ben", "London"), "Bridge"),
    ],
)
def test_a_prompt_that_cannot_be_traced_is_a_message(resident: Resident, texts: tuple[str, ...], said: str) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = settled(type_prompt(traced(state), *texts), state)
    assert not page.exception
    shown_words = words(page) + " ".join(field.label for field in page.text_input)
    assert said in shown_words.replace("\\", "")


def test_hostile_text_is_shown_as_text(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = traced(state)
    hostile = "<script>alert(1)</script> **bold** $x$ </s>"
    settled(type_prompt(page, f"{hostile} is in", hostile, "[a](http://b) :red[c]", "<b>no</b>", "`x` {}"), state)
    assert not page.exception
    told = [item.value for item in page.markdown]
    assert told and not any("<script>" in text or "**bold**" in text or "[a](" in text for text in told)
    for view in ("Contributions", "Recall by layer"):
        next(group for group in page.button_group if group.label == "View").set_value(view).run()
        assert not page.exception
    ranks = next(group for group in page.button_group if group.label == "Rank of")
    assert not any("[a](" in option or ":red[" in option for option in ranks.options)


def test_a_typed_prompt_with_a_bridge_says_where_the_chain_ends(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = settled(type_prompt(traced(state), "Big Ben is in", "Big Ben", "France", "Italy", "Rome"), state)
    assert not page.exception
    reading = state.result("trace").value  # type: ignore[union-attr]
    assert [side for side, _ in reading.breaks] == [Side.EDITED, Side.UNEDITED]
    assert reading.breaks[0][1].bridge is not None
    assert "ranks" in words(page) or "likeliest next token" in words(page)


def test_a_stopped_trace_can_be_measured_again(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = shown("trace", state)
    job = jobs.latest(inspect_actions.queue(state))
    assert job is not None
    job.flag.set()
    while not job.is_finished:
        time.sleep(0.01)
    page.run()
    assert not page.exception
    if job.state is jobs.JobState.CANCELLED:
        assert "Stopped as you asked" in words(page)
        next(button for button in page.button if button.label == "Measure").click().run()
    settled(page, state)
    assert "How to read it" in words(page)


def test_another_choice_stops_what_was_being_measured(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = traced(state)
    gate = jobs.threading.Event()

    def slow(progress: jobs.Progress) -> None:
        while not gate.is_set():
            progress.check()
            time.sleep(0.01)

    assert inspect_actions.start_look(state, "slow", slow, made_from="x", title="slow") is None
    busy = jobs.latest(inspect_actions.queue(state))
    chosen(page, "What to draw").set_value(Map.MLP).run()  # type: ignore[attr-defined]
    settled(page, state)
    assert busy is not None and busy.state is jobs.JobState.CANCELLED
    assert not page.exception
    assert state.result("trace-map-MLP") is not None


def test_going_back_to_an_earlier_prompt_measures_it_again_by_itself(resident: Resident) -> None:
    state = state_of()
    entry = batch_entry(resident.lm)
    state.record.push(entry)
    page = traced(state)
    page.selectbox(key=f"edit-of-{entry.id}-0").select_index(1).run()
    settled(page, state)
    page.selectbox(key=f"edit-of-{entry.id}-1").select_index(0).run()
    settled(page, state)
    assert not page.exception
    assert not any(button.label == "Measure" for button in page.button)
    assert state.result("trace").value.after.source.source.answer == "Tokyo"  # type: ignore[union-attr]


def test_a_switched_model_is_said_to_be_so_and_a_chosen_cell_beyond_it_is_moved(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = traced(state)
    other = tiny_lm(seed=1)
    model_holder().put(other)
    page.run()
    assert not page.exception
    assert "No edit was made for the model that is loaded" in words(page)
    state.record.push(entry_for(other))
    settled(page, state)
    assert not page.exception
    assert "How to read it" in words(page)


def test_the_chosen_cell_stays_with_the_text_and_moves_to_the_subject_of_another(resident: Resident) -> None:
    state = state_of()
    entry = batch_entry(resident.lm)
    state.record.push(entry)
    page = traced(state)
    page.slider(key="trace-layer").set_value(1).run()
    page.selectbox(key="trace-position").select_index(0).run()
    chosen(page, "What to draw").set_value(Map.MLP).run()  # type: ignore[attr-defined]
    settled(page, state)
    assert (page.slider(key="trace-layer").value, page.selectbox(key="trace-position").value) == (1, 0)
    page.selectbox(key=f"edit-of-{entry.id}-0").select_index(2).run()
    settled(page, state)
    where = state.result("trace-map-MLP").value.found.source  # type: ignore[union-attr]
    assert page.selectbox(key="trace-position").value == where.subject[-1] > 0
    assert page.slider(key="trace-layer").value == N_LAYER // 2


def test_nothing_is_left_on_the_shared_model(resident: Resident) -> None:
    said = next_tokens(resident.lm, ["Big Ben is in"], k=5)
    state = state_of()
    state.record.push(entry_for(resident.lm))
    page = traced(state)
    next(group for group in page.button_group if group.label == "View").set_value("Contributions").run()
    assert not [module for module in resident.lm.model.modules() if module._forward_hooks]
    assert next_tokens(resident.lm, ["Big Ben is in"], k=5) == said
    assert torch.is_grad_enabled()
