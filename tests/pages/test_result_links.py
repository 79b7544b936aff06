"""A link to a result: made on Edit and Share, opened by another visitor, who gets a copy beside their own work."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kgmet.base import cache
from tests.tiny_models import tiny_lm
from tests.workbench.screens.test_report_card import SMALL
from tests.workbench.sessions import edited, entry_for, restarted, state_of, wait_for
from tests.workbench.shown_pages import ROOT, shown, words
from workbench.drawing.traced import Map, map_name
from workbench.running import jobs, resources
from workbench.running.access import Access, Door
from workbench.running.resources import Resident
from workbench.screens.models import actions as model_actions
from workbench.screens.report_card import actions as report_card
from workbench.shared import publishing
from workbench.shared.inspect_actions import queue
from workbench.shared.publishing import links_of, open_result, publish, withdraw
from workbench.state.published import published_links
from workbench.state.session import SESSION_KEY, WorkbenchState
from workbench.state.values import FactDraft, StackEntry

NOTHING = "This link leads to no result"


def visited(state: WorkbenchState, token: str, **values: Any) -> AppTest:
    """The whole app, opened by a link to a result."""
    app = AppTest.from_file(str(ROOT / "workbench" / "app.py"), default_timeout=60)
    app.session_state[SESSION_KEY] = state.session_id
    for key, value in values.items():
        app.session_state[key] = value
    app.query_params["result"] = token
    app.run()
    assert not app.exception
    return app


def made_by(resident: Resident, *, subject: str = "", earlier: int = 0, name: str = "") -> tuple[WorkbenchState, str]:
    """A session with a made-up edit, on top of others, and the token of a link to it."""
    state = state_of()
    for seed in range(earlier):
        state.record.push(entry_for(resident.lm, seed=10 + seed))
    entry = entry_for(resident.lm, seed=1, name=name, based_on=tuple(item.id for item in state.stack))
    state.record.push(entry if not subject else about(entry, subject))
    assert publish(state, resident.lm, state.stack[-1]) is None
    return state, links_of(state)[-1].token


def about(entry: StackEntry, subject: str) -> StackEntry:
    """The same edit of another subject."""
    assert entry.report is not None
    edit = replace(entry.patch.edits[0], subject=subject)
    return replace(
        entry, patch=replace(entry.patch, edits=(edit,), keys={}), report=replace(entry.report, edit=edit), name=subject
    )


def test_a_result_with_all_its_figures_is_opened_in_another_session_after_a_restart(resident: Resident) -> None:
    maker = edited(state_of(), resident)
    (entry,) = maker.stack
    shown("edit", maker).button(key=f"tell-now-{entry.id}").click().run()
    done(maker, "told")
    shown("probe", maker).button(key="ask").click().run()
    done(maker, "probe")
    assert report_card.score(maker, resident, entry, SMALL) is None
    done(maker, "card")
    for name in ("shift", "orthogonality", "trace"):
        looked_at(name, maker)
    shown("foresee", maker).button(key="foresee").click().run()
    done(maker, "foresee")
    made = {name: drawn(name, maker) for name in ("share", "orthogonality", "trace", "foresee")}
    assert "radio_button_unchecked" not in made["share"], "the file holds all there is"
    page = shown("share", maker)
    page.button(key="publish-share").click().run()
    assert not page.exception
    (link,) = links_of(maker)
    assert any(f"/edit?result={link.token}" in str(item.value) for item in page.code)

    again = restarted(maker)
    assert links_of(again) == (link,)
    visitor = state_of()
    app = visited(visitor, link.token)
    said = words(app)
    assert "A result that was shared with you" in said and "Model tiny" in said.replace("\\", "")
    assert all(what in said for what in publishing.FIGURES.values())
    app.button(key="link-open").click().run()
    assert not app.exception and "result" not in app.query_params
    (opened,) = visitor.stack
    assert opened.id == entry.id and opened.report is not None and entry.report is not None
    assert opened.report.to_json() == entry.report.to_json()
    assert visitor.draft.subject == "The Eiffel Tower"
    assert "kg-told" in drawn("edit", visitor) and "kg-card" in drawn("report_card", visitor)
    assert "Prompt by prompt" in drawn("probe", visitor)
    assert {name: drawn(name, visitor) for name in made} == made
    assert jobs.latest(queue(visitor)) is None and visitor.job("foresee") is None, "nothing was measured again"
    at_home = restarted(visitor)
    others = {map_name(kind) for kind in Map if kind is not Map.STATE}
    assert sorted(at_home.stack[0].figures) == sorted(publishing.FIGURES.keys() - others) and at_home.damage == ()
    assert drawn("share", at_home) == drawn("share", visitor)


def looked_at(name: str, state: WorkbenchState) -> None:
    """Open a page of figures and wait until they are measured."""
    assert not shown(name, state).exception
    look = jobs.latest(queue(state))
    assert look is not None and wait_for(look.id).error == ""


def done(state: WorkbenchState, kind: str) -> None:
    job = state.job(kind)
    assert job is not None and wait_for(job.id).error == ""


def drawn(name: str, state: WorkbenchState) -> str:
    """What a page shows."""
    page = shown(name, state)
    assert not page.exception
    return words(page) + "".join(str(item.proto.body) for item in page.get("html"))


def test_the_visitors_own_work_stays_and_undo_takes_only_the_copy(resident: Resident) -> None:
    maker, token = made_by(resident)
    visitor = edited(state_of(), resident)
    undone = entry_for(resident.lm, seed=5)
    visitor.record.change(redo=(undone,), draft=FactDraft(subject="Berlin"))
    (own,) = visitor.stack
    app = visited(visitor, token)
    assert "Your 1 live edit will stay as" in words(app)
    app.button(key="link-open").click().run()
    assert [entry.id for entry in visitor.stack] == [own.id, maker.stack[0].id]
    assert visitor.stack[0] is own and visitor.redo == (undone,) and visitor.draft.subject == "Berlin"
    app.button(key="undo").click().run()
    assert visitor.stack == (own,)
    assert published_links().is_there(token) and len(maker.stack) == 1


def test_what_the_maker_does_afterwards_does_not_change_the_copy(resident: Resident) -> None:
    maker, token = made_by(resident)
    entry = maker.stack[0]
    maker.record.replace_entry(entry.id, name="renamed", note="secret")
    maker.record.change(stack=(), redo=())
    for visitor in (state_of(), state_of()):
        assert open_result(visitor, resident.lm, token) is None
        assert visitor.stack[0].id == entry.id and visitor.stack[0].name == entry.name and visitor.stack[0].note == ""


def test_a_link_of_an_edit_on_others_says_so_and_keeps_its_figures(resident: Resident) -> None:
    maker, token = made_by(resident, earlier=2)
    visitor = state_of()
    app = visited(visitor, token)
    assert "on top of 2 other edits of its maker" in words(app)
    app.button(key="link-open").click().run()
    assert len(visitor.stack) == 1 and visitor.stack[0].report is not None
    assert [entry.id for entry in maker.stack[:2]] == list(visitor.stack[0].based_on)


@pytest.mark.parametrize("token", ["../../sessions", "%2e%2e%2f", "x" * 43, "", "<b>x</b>"])
def test_a_bad_link_is_a_sentence_and_the_page_works(resident: Resident, token: str) -> None:
    app = visited(state_of(), token)
    assert NOTHING in words(app) and "Open it" not in words(app)
    app.button(key="link-close").click().run()
    assert NOTHING not in words(app) and "result" not in app.query_params


def test_a_withdrawn_link_leads_to_nothing_also_for_who_looks_at_it(resident: Resident) -> None:
    maker, token = made_by(resident)
    visitor = state_of()
    app = visited(visitor, token)
    page = shown("share", maker)
    page.button(key="withdraw-share-0").click().run()
    assert not page.exception and links_of(maker) == ()
    app.button(key="link-open").click().run()
    assert not app.exception and NOTHING in words(app) and visitor.stack == ()


def test_only_who_made_a_link_can_withdraw_it(resident: Resident) -> None:
    _, token = made_by(resident)
    visitor = state_of()
    assert open_result(visitor, resident.lm, token) is None
    assert withdraw(visitor, token) is None
    assert published_links().is_there(token) and links_of(visitor) == ()
    assert not [b for b in shown("share", visitor).button if str(b.key).startswith("withdraw")]


def test_links_to_edits_that_are_gone_can_still_be_withdrawn(resident: Resident) -> None:
    maker, token = made_by(resident)
    maker.record.change(stack=(), redo=())
    page = shown("share", maker)
    page.button(key="withdraw-all-0").click().run()
    assert not published_links().is_there(token)


def test_no_page_of_another_and_no_link_tells_the_session(resident: Resident) -> None:
    maker, token = made_by(resident, name="mine")
    visitor = state_of()
    app = visited(visitor, token)
    for said in (words(app), words(shown("share", maker)), token):
        assert maker.session_id not in said and maker.record.folder.name not in said


def test_more_than_so_many_links_of_one_person_are_refused(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "MOST", 2)
    maker, token = made_by(resident)
    entry = maker.stack[0]
    assert publish(maker, resident.lm, entry) is None
    said = publish(maker, resident.lm, entry)
    assert said is not None and "You have 2 links" in said
    assert withdraw(maker, token) is None and publish(maker, resident.lm, entry) is None


def test_a_full_disk_publishes_nothing_and_says_so(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    maker, _ = made_by(resident)

    def refuse(*given: Any, **named: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    page = shown("edit", maker)
    with monkeypatch.context() as patch:
        patch.setattr(cache.tempfile, "mkstemp", refuse)
        patch.setattr(cache.tempfile, "mkdtemp", refuse)
        page.button(key="publish-edit").click().run()
        assert not page.exception and "No space left on device" in words(page).replace("\\", "")
    assert len(links_of(maker)) == 1


def test_names_of_strangers_are_text(resident: Resident) -> None:
    hostile = '**x** <img src=x onerror="alert(1)"> [a](javascript:alert(1)) $x$ :red[y]'
    _, token = made_by(resident, subject=hostile)
    visitor = state_of()
    app = visited(visitor, token)
    said = words(app)
    assert "<img" not in said.replace("\\<", "") and "**x**" not in said.replace("\\*", "")
    app.button(key="link-open").click().run()
    assert not app.exception and visitor.stack[0].name == hostile


def test_for_another_model_it_says_which_and_loads_it(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = made_by(resident)
    other = tiny_lm("gpt2")
    resources.model_holder().put(other)
    visitor = state_of()
    app = visited(visitor, token)
    assert app.button(key="link-open").disabled and "It was made for the model" in words(app)
    said = open_result(visitor, other, token)
    assert said is not None and "This patch was made for model" in said and visitor.stack == ()
    asked: list[Any] = []
    monkeypatch.setattr(
        model_actions, "load_model", lambda state, holder, source, **how: asked.append((source, how["dtype"]))
    )
    app.button(key="link-load").click().run()
    assert asked == [(resident.lm.name, "float32")]
    resources.model_holder().put(resident.lm)
    app.run()
    app.button(key="link-open").click().run()
    assert len(visitor.stack) == 1


def test_on_a_shared_server_only_allowed_models_are_loaded(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = entry_for(resident.lm)
    token = published_links().publish(entry, model="someone/model", dtype="float32")
    resources.model_holder().put(tiny_lm("gpt2"))
    monkeypatch.setattr(model_actions, "access", lambda: Access(is_shared=True))
    app = visited(state_of(), token)
    app.button(key="link-load").click().run()
    assert not app.exception and "may not be loaded on this shared server" in words(app)


def test_behind_a_password_nothing_is_shown_before_entering(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = made_by(resident)
    from workbench import shell

    closed = Door("correct horse")
    monkeypatch.setattr(shell, "door", lambda: closed)
    app = visited(state_of(), token)
    said = words(app)
    assert (
        "Password" in [item.label for item in app.text_input] and "shared with you" not in said and "Paris" not in said
    )
    app.text_input(key="typed-password").set_value("correct horse")
    app.button[0].click().run()
    assert not app.exception and "A result that was shared with you" in words(app)


def test_while_a_job_runs_nothing_is_opened(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = made_by(resident)
    visitor = state_of()
    monkeypatch.setattr(WorkbenchState, "is_busy", property(lambda state: True))
    said = open_result(visitor, resident.lm, token)
    assert said is not None and "A job is running" in said and visitor.stack == ()
