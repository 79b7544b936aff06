"""Every page in its states: nothing yet, a fact typed, an edit applied, something wrong."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kgmet.editing.session import EditSession
from kgmet.measure.compare import AnswerPair
from tests.workbench.sessions import EIFFEL, edited, entry_for, state_of, wait_for
from tests.workbench.shown_pages import ROOT, shown, words
from workbench import wording
from workbench.running import access, jobs, resources
from workbench.running.resources import Resident
from workbench.screens.edit import form
from workbench.screens.models import actions as model_actions
from workbench.shared import actions, graph_panels
from workbench.shared.examples import examples
from workbench.shared.told import Telling, what_is_told
from workbench.state.session import SESSION_KEY, WorkbenchState
from workbench.state.values import FactDraft

OURS = ("edit", "graph", "probe", "ledger", "models")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("edit", "Try it: move the Eiffel Tower to Rome"),
        ("graph", "No fact yet"),
        ("probe", "No edit yet"),
        ("ledger", "No edit yet"),
        ("models", "Loaded now"),
    ],
)
def test_an_empty_session_is_told_what_to_do_next(resident: Resident, name: str, said: str) -> None:
    page = shown(name, state_of())
    assert not page.exception
    assert said in words(page)


@pytest.mark.parametrize(("name", "said"), [("edit", "What the graph says"), ("graph", "Use these triples")])
def test_a_typed_fact_is_shown_before_anything_is_applied(resident: Resident, name: str, said: str) -> None:
    state = state_of()
    state.set_draft(EIFFEL)
    page = shown(name, state)
    assert not page.exception
    assert said in words(page)


@pytest.mark.parametrize(
    ("draft", "follows", "denied"),
    [
        (FactDraft(subject="Mount Fuji", template="{} is in", new_object="Chile"), "peso", ("Japan", "Asia")),
        (
            FactDraft(subject="Mount Fuji", template="{} rises in", new_object="Chile"),
            "Chilean peso",
            ("Japan", "Asia"),
        ),
        (
            FactDraft(subject="Zorblax Inc.", template="{} has its headquarters in the city of", new_object="Berlin"),
            "euro",
            ("Zorblax",),
        ),
        (FactDraft(subject="Apple", template="{} was founded by", new_object="Linus Torvalds"), "", ("Steve",)),
    ],
    ids=["fuji", "fuji rises", "zorblax", "apple"],
)
def test_the_list_of_what_must_stay_holds_nothing_that_the_edit_denies(
    resident: Resident, draft: FactDraft, follows: str, denied: tuple[str, ...]
) -> None:
    """On the graph that comes with the program, as the page lists it; nothing follows by way of a neighbour."""
    state = state_of()
    state.set_draft(draft)
    page = shown("edit", state)
    assert not page.exception
    ticks = [str(item.label) for item in page.checkbox if str(item.key).startswith("hold-")]
    stays = [label for label in ticks if "–" in label]
    own = [label for label in stays if label.startswith(wording.safe(draft.subject))]
    assert stays and not [label for label in own for name in denied if name in label]
    changed = [label for label in ticks if label not in stays]
    assert any(follows in label for label in changed) or not follows
    assert not [label for label in changed for name in ("Peruvian sol", "Buenos Aires", "Lima") if name in label]


@pytest.mark.parametrize(
    ("name", "said"),
    [("edit", "Result"), ("graph", "Triples"), ("probe", "Ask "), ("ledger", "1 live"), ("models", "Key statistics")],
)
def test_an_applied_edit_is_on_every_page(resident: Resident, name: str, said: str) -> None:
    page = shown(name, edited(state_of(), resident))
    assert not page.exception
    assert said in words(page)


@pytest.mark.parametrize("name", OURS)
def test_a_fact_that_cannot_be_edited_is_a_message_and_no_exception(resident: Resident, name: str) -> None:
    state = state_of()
    state.set_draft(FactDraft(subject="Paris", template="two {} places {}", new_object="Rome"))
    page = shown(name, state)
    assert not page.exception
    if name == "edit":
        assert any("2 places" in item.value for item in page.caption) and not page.error
        assert page.button(key="apply").disabled
    if name == "graph":
        assert any("2 places" in item.value for item in page.error)


def test_typing_and_picking_an_example_fill_the_fact(resident: Resident) -> None:
    state = state_of()
    page = shown("edit", state)
    page.text_input(key="fact-subject").set_value("Germany").run()
    assert state.draft.subject == "Germany"
    example = page.selectbox(key="fact-example")
    example.select_index(0).run()
    first = examples()[0]
    assert (state.draft.subject, state.draft.template) == (first.subject, first.template)
    assert page.text_input(key="fact-new_object").value == first.new_object
    assert not page.exception


def test_a_half_typed_fact_is_not_scolded_and_apply_waits(resident: Resident) -> None:
    state = state_of()
    page = shown("edit", state)
    assert page.button(key="apply").disabled
    page.text_input(key="fact-subject").set_value("Germany").run()
    assert not page.error and not page.warning
    assert any("Still missing: template, new object" in item.value for item in page.caption)
    page.text_input(key="fact-template").set_value("The capital of {} is").run()
    page.text_input(key="fact-new_object").set_value("Rome").run()
    assert not page.button(key="apply").disabled


def test_a_text_whose_callback_was_cut_short_is_taken_all_the_same(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that comes while a callback runs ends it: the text is in the field, and nothing was taken."""
    state = state_of()
    page = shown("edit", state)
    take, calls = form._take, list[str]()

    def cut_short_once(of: WorkbenchState) -> None:
        calls.append("")
        if len(calls) > 1:
            take(of)

    monkeypatch.setattr(form, "_take", cut_short_once)
    page.run()  # its fields have the callback that is cut short
    page.text_input(key="fact-subject").set_value("Germany").run()
    assert len(calls) == 2
    assert state.draft.subject == "Germany"
    page.run()
    assert len(calls) == 2, "what was taken is not taken again"
    assert page.text_input(key="fact-subject").value == "Germany"


def test_a_sentence_fills_the_form_or_says_how_to_write_one(resident: Resident) -> None:
    state = state_of()
    page = shown("edit", state)
    page.text_input(key="sentence").set_value("The Eiffel Tower is in Rome, not in Paris.").run()
    draft = state.draft
    assert (draft.subject, draft.template, draft.new_object) == ("The Eiffel Tower", "{} is in", "Rome")
    assert draft.old_object == "Paris"
    page.text_input(key="sentence").set_value("hello").run()
    assert any("Write it like this" in item.value for item in page.caption)
    assert not page.exception


def test_the_first_edit_is_one_click(resident: Resident) -> None:
    state = state_of()
    page = shown("edit", state)
    page.button(key="try-it").click().run()
    assert wait_for(state.job("edit").id).error == ""  # type: ignore[union-attr]
    page.run()
    assert [edit.new_object for edit in state.stack[-1].patch.edits] == ["Rome"]
    assert "try-it" not in {button.key for button in page.button}
    assert not page.exception


def test_before_and_after_are_shown_while_the_other_questions_are_asked(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, gate = threading.Event(), threading.Event()
    edit_prepared = EditSession.edit_prepared

    def held_up(session: EditSession, *arguments: Any, on_answer: Callable[[AnswerPair], None], **settings: Any) -> Any:
        def answered(pair: AnswerPair) -> None:
            on_answer(pair)
            known.set()
            assert gate.wait(60)

        return edit_prepared(session, *arguments, on_answer=answered, **settings)

    monkeypatch.setattr(EditSession, "edit_prepared", held_up)
    state = state_of()
    state.set_draft(EIFFEL)
    assert actions.apply(state, resident) is None
    assert known.wait(60)
    page = shown("edit", state)
    assert not page.exception and not state.stack
    assert "still being asked" in words(page) and cards(page) == ["before", "after"]
    gate.set()
    job = state.job("edit")
    assert job is not None and wait_for(job.id).error == ""
    page = shown("edit", state)
    assert "still being asked" not in words(page) and cards(page) == ["before", "after"]


def test_answers_of_an_earlier_job_are_not_shown_for_the_next(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = edited(state_of(), resident)
    assert actions.undo(state) is None
    assert actions.first_answers(state) is not None
    gate = threading.Event()
    monkeypatch.setattr(EditSession, "edit_prepared", lambda *_, **__: gate.wait(60))
    assert actions.apply(state, resident) is None
    assert actions.first_answers(state) is None
    gate.set()


def cards(page: AppTest) -> list[str]:
    """The headings of the answers side by side."""
    drawn = "".join(str(item.proto.body) for item in page.get("html"))
    return re.findall(r'class="kg-side"><h4>([^<]*)</h4>', drawn)


def test_a_live_edit_is_applied_again_only_when_confirmed(resident: Resident) -> None:
    state = edited(state_of(), resident)
    page = shown("edit", state)
    page.button(key="apply").click().run()
    assert len(state.stack) == 1 and state.job("edit").is_finished  # type: ignore[union-attr]
    page.button(key="apply-leave").click().run()
    assert "apply-again" not in {button.key for button in page.button}
    page.button(key="apply").click().run()
    page.button(key="apply-again").click().run()
    assert wait_for(state.job("edit").id).error == ""  # type: ignore[union-attr]
    assert len(state.stack) == 2


def test_a_table_of_facts_is_edited_row_by_row(resident: Resident) -> None:
    state = state_of()
    page = shown("edit", state)
    text = "subject,prompt,new\nThe Eiffel Tower,{} is in,Rome\n,{} is in,Rome\nBig Ben,{} is in,Tokyo"
    page.text_area(key="many-text").set_value(text).run()
    assert any("subject missing" in item.value for item in page.caption)
    page.button(key="many-apply").click().run()
    assert wait_for(state.job("edits").id).error == ""  # type: ignore[union-attr]
    page.run()
    assert [entry.name for entry in state.stack] == ["The Eiffel Tower → Rome", "Big Ben → Tokyo"]
    assert state.stack[1].based_on == (state.stack[0].id,)
    rows = state.result("edits").value  # type: ignore[union-attr]
    assert [row.fact.subject for row in rows] == ["The Eiffel Tower", "Big Ben"]
    assert not page.exception


def test_a_link_fills_the_form(resident: Resident) -> None:
    state = state_of()
    page = AppTest.from_file(str(ROOT / "pages" / "edit.py"), default_timeout=60)
    page.session_state[SESSION_KEY] = state.session_id
    page.query_params["subject"] = "Germany"
    page.query_params["prompt"] = "The capital of {} is"
    page.query_params["new"] = "Rome"
    page.run()
    assert not page.exception
    assert (state.draft.subject, state.draft.new_object) == ("Germany", "Rome")


@pytest.mark.parametrize("text", ["subject,template,new_object\n", "[]"])
def test_a_table_without_a_row_is_told_so(resident: Resident, text: str) -> None:
    page = shown("edit", state_of())
    assert "No fact is in it" not in words(page)
    page.text_area(key="many-text").set_value(text).run()
    assert "No fact is in it" in words(page) and page.button(key="many-apply").disabled
    page.text_area(key="many-text").set_value("subject,template,new_object\nItaly,The capital of {} is,Oslo").run()
    assert "No fact is in it" not in words(page) and not page.button(key="many-apply").disabled


def test_what_follows_is_counted_in_words(resident: Resident) -> None:
    state = state_of()
    state.set_draft(FactDraft(subject="Zorblax", template="{} was founded by", new_object="Quux"))
    page = shown("edit", state)
    labels = [item.label for item in page.expander]
    assert [label for label in labels if "asked on the Probe page" in label], labels
    assert not [label for label in labels if " more " in label or "1 facts" in label], labels


def test_what_the_edited_model_says_is_not_offered_as_the_old_object(resident: Resident) -> None:
    state = state_of()
    state.set_draft(EIFFEL)
    page = shown("edit", state)
    assert [item.key for item in page.button if item.key == "take-old"] == ["take-old"]
    edited(state, resident)
    page.run()
    assert "with this edit live" in words(page) or "That is the new object" in words(page)
    assert not [item for item in page.button if item.key == "take-old"]


def test_apply_undo_and_redo_by_button(resident: Resident) -> None:
    state = state_of()
    state.set_draft(EIFFEL)
    page = shown("edit", state)
    page.button(key="apply").click().run()
    job = jobs.latest(state.session_id, "edit")
    assert job is not None and wait_for(job.id).error == ""
    page.run()
    assert "multi-hop questions" in words(page) and "consequences (" in words(page)
    page.button(key="undo").click().run()
    assert not page.exception
    assert "bit for bit" in words(page)
    assert not state.stack
    page.button(key="redo").click().run()
    assert len(state.stack) == 1


def test_the_unedited_model_is_told_the_fact_beside_the_result(resident: Resident) -> None:
    state = edited(state_of(), resident)
    entry = state.stack[-1]
    page = shown("edit", state)
    assert not any("kg-told" in str(item.proto.body) for item in page.get("html"))
    page.button(key=f"tell-now-{entry.id}").click().run()
    assert wait_for(state.job("told").id).error == ""  # type: ignore[union-attr]
    page.run()
    assert not page.exception
    assert any("kg-told" in str(item.proto.body) for item in page.get("html"))
    told = state.result("told").value.told  # type: ignore[union-attr]
    assert told.sentences == ("The Eiffel Tower is located in the city of Tokyo.",)
    assert [answer.question for answer in told.answers] == [
        answer.question
        for answer in entry.report.before_answers  # type: ignore[union-attr]
    ]


def test_probe_asks_before_after_and_told_and_draws_the_chains(resident: Resident) -> None:
    state = edited(state_of(), resident)
    page = shown("probe", state)
    page.button(key="ask").click().run()
    assert wait_for(state.job("probe").id).error == ""  # type: ignore[union-attr]
    page.run()
    assert not page.exception
    run = state.result("probe").value  # type: ignore[union-attr]
    assert run.told.sentences == ("The Eiffel Tower is located in the city of Tokyo.",)
    assert len(run.told.answers) == len(run.comparison.pairs)
    drawn = "".join(str(item.proto.body) for item in page.get("html"))
    assert 'class="kg-hops"' in drawn and "all in one question" in drawn and ">told</th>" in drawn
    page.segmented_control(key="probe-told").set_value(Telling.NOTHING).run()
    assert "Outdated: the inputs have changed" in words(page)


def test_what_is_told_grows_with_the_choice(resident: Resident) -> None:
    state = state_of()
    state.set_draft(EIFFEL)
    assert actions.prepare(state) is None and state.context is not None
    fact, graph, follows, nothing = (what_is_told([state.context], telling) for telling in Telling)
    assert nothing == () and fact == ("The Eiffel Tower is located in the city of Tokyo.",)
    assert "Tokyo is located in the country of Japan." in graph
    assert any(sentence.startswith("The Eiffel Tower") and "Japan" in sentence for sentence in follows)
    assert max(len(graph), len(follows)) <= 13


def test_leaving_a_consequence_out_is_kept(resident: Resident) -> None:
    state = state_of()
    state.set_draft(EIFFEL)
    page = shown("edit", state)
    box = next(box for box in page.checkbox if str(box.key).startswith("hold-"))
    box.uncheck().run()
    assert state.draft.leave == {str(box.key).removeprefix("hold-")}
    assert not page.exception


def test_settings_out_of_range_are_said_and_not_taken(resident: Resident) -> None:
    state = state_of()
    page = shown("edit", state)
    page.multiselect(key="setting-layers-KGMET").set_value([]).run()
    assert not page.exception
    assert any("layers" in item.value for item in page.error)
    assert state.config.write.layers == (1, 2)


def test_settings_that_no_field_reaches_are_shown_and_stay(resident: Resident) -> None:
    """A saved session or a comparison may hold what its makers could not have typed."""
    settings = {
        "write": {"layers": [1, 2], "ridge": 1e7},
        "target": {"max_steps": 1000, "max_norm_ratio": 20.0},
        "cutoff": {"value": 5e3},
        "hold": {"consequences": 50, "neighbours": 500},
    }
    state = state_of()
    state.set_editor("KGMET", settings)
    page = shown("edit", state)
    assert not page.exception
    assert page.number_input(key="setting-steps-KGMET").value == 1000
    assert state.config.write.ridge == 1e7 and state.config.hold.neighbours == 500


def test_a_changed_setting_is_in_the_title_at_once_and_the_panel_stays_open(resident: Resident) -> None:
    page = shown("edit", state_of())
    page.number_input(key="setting-ridge-KGMET").set_value(5.0).run()
    assert not page.exception
    (panel,) = (item for item in page.expander if item.label.startswith("Settings"))
    assert panel.label == "Settings · KGMET · changed"
    assert panel.proto.expanded


def test_a_hostile_name_stays_text_on_every_page(resident: Resident) -> None:
    state = state_of()
    draft = FactDraft(subject="<img src=x onerror=alert(1)>", template="{} is in", new_object="**Rome** :red[x]")
    edited(state, resident, draft)
    for name in OURS:
        page = shown(name, state)
        assert not page.exception
        for item in page.markdown:
            assert not re.search(r"(?<!\\)<img|(?<![\\*])\*\*Rome\*\* :red", str(item.value))


def test_switching_an_edit_off_in_the_ledger_takes_it_out(resident: Resident) -> None:
    state = state_of()
    first, second = entry_for(resident.lm, seed=1), entry_for(resident.lm, seed=2)
    state.record.push(first)
    state.record.push(second)
    page = shown("ledger", state)
    page.toggle(key=f"on-{first.id}").set_value(False).run()
    assert [entry.id for entry in state.live(resident.lm)] == [second.id]
    page.text_input(key=f"name-{second.id}").set_value("the second").run()
    assert state.stack[1].name == "the second"
    page.button(key=f"out-{second.id}").click().run()
    assert [entry.id for entry in state.stack] == [first.id]
    assert not page.exception


def test_moving_an_edit_in_the_ledger_says_what_that_means(resident: Resident) -> None:
    state = state_of()
    first = entry_for(resident.lm, seed=1)
    second = entry_for(resident.lm, seed=2, based_on=(first.id,))
    state.record.push(first)
    state.record.push(second)
    page = shown("ledger", state)
    assert "again" not in "".join(button.label for button in page.button)
    assert page.button(key=f"move-1-{first.id}").disabled and page.button(key=f"move1-{second.id}").disabled
    page.button(key=f"move-1-{second.id}").click().run()
    assert not page.exception
    assert [entry.id for entry in state.stack] == [second.id, first.id]
    assert "without edit 1" in words(page) and "with edit 2" in words(page)
    assert "Apply 2 edits again in this order" in words(page)


def test_a_failed_switch_keeps_the_model(resident: Resident, tmp_path: Path) -> None:
    state = state_of()
    page = shown("models", state)
    page.session_state["from"] = "Hugging Face id or folder"
    page.session_state["source"] = str(tmp_path / "no such model")
    page.run()
    page.button(key="load-model").click().run()
    job = jobs.latest(state.session_id, "model")
    assert job is not None and "config.json" in wait_for(job.id).error
    page.run()
    assert not page.exception
    assert "still loaded" in words(page)
    assert resources.model_holder().resident is resident


@pytest.mark.parametrize("source", ["", "no slash", "a/b/c", "http://evil.example/model", "owner/<b>"])
def test_a_source_that_is_none_is_refused_before_any_work(resident: Resident, source: str) -> None:
    from workbench.screens.models.actions import load_model

    state = state_of()
    said = load_model(state, resources.model_holder(), source, device="cpu", dtype="float32")
    assert said is not None
    assert jobs.latest(state.session_id) is None


def test_a_model_that_does_not_fit_is_refused_by_numbers(resident: Resident) -> None:
    from kgmet.base.errors import MemoryLimitError

    with pytest.raises(MemoryLimitError, match="current model stays loaded"):
        resources.check_fits(1 << 60)


def test_memory_for_loading_and_editing_is_shown_before_a_model_is_loaded(
    resident: Resident, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident.lm.config.save_pretrained(tmp_path)
    page = shown("models", state_of())
    page.session_state["from"] = "Hugging Face id or folder"
    page.session_state["source"] = str(tmp_path)
    page.run()
    assert not page.exception
    assert re.search(r"parameters need [\d.]+ .B as float32; editing with KGMET needs about [\d.]+ .B", words(page))
    monkeypatch.setattr("kgmet.editing.budget.free_memory", lambda device: 1000)
    monkeypatch.setattr("workbench.screens.models.panels.free_memory", lambda device: 1000)
    page.run()
    assert "Fits here\\: fewer layers" in words(page)


def test_the_whole_app_runs_with_navigation_guide_and_sidebar(resident: Resident) -> None:
    app = AppTest.from_file(str(ROOT / "workbench" / "app.py"), default_timeout=60)
    app.session_state[SESSION_KEY] = state_of().session_id
    app.run()
    assert not app.exception
    assert "Five steps" in words(app)
    next(button for button in app.button if button.label == "Got it").click().run()
    assert "Five steps" not in words(app)


def test_the_root_leads_to_the_edit_page_with_what_the_address_says(resident: Resident) -> None:
    state = state_of()
    app = AppTest.from_file(str(ROOT / "workbench" / "app.py"), default_timeout=60)
    app.session_state[SESSION_KEY] = state.session_id
    app.query_params["subject"] = "Germany"
    app.query_params["prompt"] = "The capital of {} is"
    app.query_params["new"] = "Rome"
    app.run()
    assert not app.exception
    assert [title.value for title in app.title] == ["Edit"]
    assert (state.draft.subject, state.draft.new_object) == ("Germany", "Rome")


def test_a_hostile_link_fills_what_it_may_says_the_rest_and_applies_nothing(resident: Resident) -> None:
    state = state_of()
    page = AppTest.from_file(str(ROOT / "pages" / "edit.py"), default_timeout=60)
    page.session_state[SESSION_KEY] = state.session_id
    page.query_params["subject"] = "<img src=x onerror=alert(1)>"
    page.query_params["prompt"] = "x" * 100_000
    page.query_params["new"] = "Ro\x07me"
    page.query_params["relation"] = "P131"
    page.query_params["session_id"] = "somebody-elses"
    page.run()
    assert not page.exception
    assert (state.draft.subject, state.draft.relation) == ("<img src=x onerror=alert(1)>", "P131")
    assert (state.draft.template, state.draft.new_object) == ("", "")
    said = words(page)
    assert "100,000 characters" in said and "control characters" in said
    assert not state.stack and state.job() is None


def test_chat_asks_all_three_with_one_seed(resident: Resident) -> None:
    state = edited(state_of(), resident)
    page = shown("chat", state)
    assert "earlier ones are not part of it" in words(page)
    page.chat_input(key="chat-text").set_value("Where is <b>it</b>?").run()
    assert wait_for(state.job("chat").id).error == ""  # type: ignore[union-attr]
    page.run()
    assert not page.exception
    (exchange,) = state.result("chat").value  # type: ignore[union-attr]
    assert exchange.edits == ("The Eiffel Tower → Tokyo",)
    assert exchange.told.sentences == ("The Eiffel Tower is located in the city of Tokyo.",)
    drawn = "".join(str(item.proto.body) for item in page.get("html"))
    assert drawn.count('class="kg-side"') == 3 and "<b>it" not in drawn
    next(button for button in page.button if button.label == "Begin again").click().run()
    assert state.result("chat").value == ()  # type: ignore[union-attr]


def test_without_an_edit_chat_says_that_both_are_the_same(resident: Resident) -> None:
    page = shown("chat", state_of())
    assert not page.exception
    assert "both models are the same" in words(page)


def test_share_says_what_is_in_the_file_and_what_is_not_yet(resident: Resident) -> None:
    state = edited(state_of(), resident)
    page = shown("share", state)
    assert not page.exception
    said = words(page)
    assert "the edit, the answers before and after" in said and "hop by hop" in said and "not yet" in said
    assert any("subject=The+Eiffel+Tower" in str(item.value) for item in page.code)
    assert state.session_id not in said + "".join(str(item.value) for item in page.code)


def test_share_has_nothing_to_share_without_an_edit(resident: Resident) -> None:
    page = shown("share", state_of())
    assert not page.exception
    assert "No edit yet" in words(page)


def test_a_run_caused_by_one_field_does_not_write_into_the_others(resident: Resident) -> None:
    """Otherwise what is being typed there, and not yet sent, would be wiped out."""
    state = state_of()
    page = shown("edit", state)
    page.text_input(key="fact-subject").set_value("Germany").run()
    sent = {item.key: item.proto.set_value for item in page.text_input if str(item.key).startswith("fact-")}
    assert sent == dict.fromkeys(("fact-subject", "fact-template", "fact-new_object", "fact-old_object"), False)
    page.selectbox(key="fact-example").select_index(0).run()
    assert page.text_input(key="fact-subject").value == examples()[0].subject
    assert page.text_input(key="fact-subject").proto.set_value


def test_opening_a_name_keeps_it_chosen_and_adds_to_the_picture(resident: Resident) -> None:
    state = state_of()
    state.set_draft(replace(EIFFEL, new_object="Rome"))
    page = shown("graph", state)
    page.selectbox(key="graph-node").set_value("Q38").run()
    page.button(key="graph-open").click().run()
    assert not page.exception
    assert page.selectbox(key="graph-node").value == "Q38"
    opened = graph_panels.opened_triples(state, actions.context_fingerprint(state))
    assert opened and all("Q38" in triple.key for triple in opened)


@pytest.fixture
def guarded(resident: Resident, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that others reach, with a password, which lets one session's model be chosen from a list."""
    (tmp_path / "password").write_text("correct horse\n")
    monkeypatch.setenv("KGMET_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("KGMET_SHARED", "1")
    monkeypatch.setattr(access, "_PAUSE", 0.0)  # the whole process shares time.sleep: waits for jobs would spin
    for cached in (access.access, access.door):
        cached.cache_clear()
    yield
    for cached in (access.access, access.door):
        cached.cache_clear()


def test_nothing_is_shown_before_the_password(guarded: None, resident: Resident) -> None:
    app = AppTest.from_file(str(ROOT / "workbench" / "app.py"), default_timeout=60)
    app.session_state[SESSION_KEY] = edited(state_of(), resident).session_id
    app.run()
    assert [item.label for item in app.text_input] == ["Password"]
    assert not app.sidebar.caption and "Tokyo" not in words(app)
    app.text_input[0].set_value("correct mule")
    app.button[0].click().run()
    assert "Wrong password" in words(app) and not app.sidebar.caption
    app.text_input[0].set_value("correct horse")
    app.button[0].click().run()
    assert not app.exception
    assert "Password" not in [item.label for item in app.text_input]
    assert app.sidebar.caption


def test_visitors_of_a_shared_server_name_no_folder(guarded: None) -> None:
    page = shown("models", state_of())
    (way,) = [item for item in page.segmented_control if item.key == "from"]
    assert way.options == ["bundled", "allowed here"]
    holder = resources.model_holder()
    said = model_actions.load_model(state_of(), holder, "/etc", device="cpu", dtype="float32")
    assert said is not None and "may not be loaded on this shared server" in said


def test_a_password_that_cannot_be_read_opens_nothing(guarded: None, tmp_path: Path) -> None:
    (tmp_path / "password").unlink()
    app = AppTest.from_file(str(ROOT / "workbench" / "app.py"), default_timeout=60)
    app.session_state[SESSION_KEY] = state_of().session_id
    app.run()
    assert not app.exception and not app.sidebar.caption
    assert "The password cannot be read" in words(app)
