"""What was told, chatted, foreseen, asked, scored and inspected is there again after the server was started anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kgmet.editing.foresee import Foreseen, KeptForecast
from tests.forecast.tiny_world import known_world
from tests.pages.test_foresee_page import FRANCE
from tests.tiny_models import tiny_lm
from tests.workbench.screens.test_report_card import SMALL
from tests.workbench.sessions import edited, fresh_process, restarted, state_of, wait_for
from tests.workbench.shown_pages import shown, words
from workbench.drawing.traced import Map
from workbench.running import jobs, resources
from workbench.running.resources import Resident
from workbench.screens.forensics import actions as forensics
from workbench.screens.report_card import actions as report_card
from workbench.shared.inspect_actions import queue
from workbench.state.disk import DAMAGED
from workbench.state.kept import codecs, file_of
from workbench.state.session import WorkbenchState
from workbench.state.vault import vault

KEPT = {
    "card": "The report card",
    "card-of-edit": "The report card on Share",
    "chat": "The conversation",
    "foresee": "The forecast",
    "foresee-checked": "What was measured of the forecast",
    "foresee-ticked": "What is to be protected",
    "forensics": "The inspection of an edit",
    "orthogonality": "What the write protects",
    "probe": "The answers to the probes",
    "probe_story": "What Share tells of the probes",
    "shift": "The shift of the states",
    "told": "What the told model answered",
    "trace": "Contributions and ranks",
    "trace-map-OTHER_MLP": "The map “From the other side: MLP”",
    "trace-map-STATE": "The map “Causal trace: hidden state”",
}
PAGES = ("edit", "chat", "probe", "foresee", "share", "report_card", "shift", "orthogonality", "trace")


@pytest.fixture
def resident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resident]:
    monkeypatch.setattr(resources, "sample_store", lambda: known_world(tiny_lm())[0])
    yield fresh_process(tmp_path, monkeypatch)


def done(state: WorkbenchState, kind: str) -> None:
    job = state.job(kind)
    assert job is not None and wait_for(job.id).error == ""


def looked_at(name: str, state: WorkbenchState, map: Map | None = None) -> AppTest:
    """A page of figures once they are measured; on Trace those of one map."""
    page = shown(name, state)
    if map is not None:
        next(item for item in page.selectbox if item.label == "What to draw").set_value(map).run()
    look = jobs.latest(queue(state))
    assert look is not None and wait_for(look.id).error == ""
    return page.run()


def asked_everything(resident: Resident) -> WorkbenchState:
    """A session with an edit, in which everything was asked that is kept."""
    made = edited(state_of(), resident, FRANCE)
    shown("edit", made).button(key=f"tell-now-{made.stack[-1].id}").click().run()
    done(made, "told")
    shown("chat", made).chat_input(key="chat-text").set_value("Where is it?").run()
    done(made, "chat")
    shown("probe", made).button(key="ask").click().run()
    done(made, "probe")
    shown("foresee", made).button(key="foresee").click().run()
    done(made, "foresee")
    assert report_card.score(made, resident, made.stack[-1], SMALL) is None
    done(made, "card")
    inspected(made, resident)
    for name in ("shift", "orthogonality", "trace"):
        looked_at(name, made)
    other = looked_at("trace", made, map=Map.OTHER_MLP)
    assert not other.exception
    made.keep("foresee-ticked", frozenset({"a", "b"}), made_from="x")
    return made


def inspected(state: WorkbenchState, resident: Resident) -> None:
    source = forensics.from_entry(state.stack[-1].patch)
    assert forensics.inspect(state, resident, source, name="mine", limit=30) is None
    done(state, "forensics")


def as_json(state: WorkbenchState, name: str) -> Any:
    result = state.result(name)
    assert result is not None, name
    return json.loads(json.dumps([codecs()[name].to_json(result.value), result.made_from]))


def drawn(name: str, state: WorkbenchState) -> str:
    """What a page shows, without what is said of seconds in the job's own caption."""
    page = shown(name, state)
    assert not page.exception
    return words(page) + "".join(str(item.proto.body) for item in page.get("html"))


@dataclass(frozen=True, kw_only=True)
class Before:
    """What there was before the server was started again: the cache folder, and what pages showed of the session."""

    cache: Path
    session_id: str
    drawn: dict[str, str]
    values: dict[str, Any]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Before:
    cache = tmp_path_factory.mktemp("before")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources, "sample_store", lambda: known_world(tiny_lm())[0])
        made = asked_everything(fresh_process(cache, patch))
        return Before(
            cache=cache,
            session_id=made.session_id,
            drawn={name: drawn(name, made) for name in PAGES},
            values={name: as_json(made, name) for name in KEPT},
        )


@pytest.fixture
def state(before: Before, resident: Resident, tmp_path: Path) -> WorkbenchState:
    """That session, read back by a process that has just been started, in a cache of the test's own."""
    shutil.copytree(before.cache, tmp_path, dirs_exist_ok=True)
    found = vault().find(before.session_id)
    assert found is not None
    return WorkbenchState(found)


def test_every_page_shows_after_a_restart_what_it_showed_before(before: Before, state: WorkbenchState) -> None:
    was = before.drawn
    assert "Prompt by prompt" in was["probe"] and "kg-told" in was["edit"] and "kg-side" in was["chat"]
    assert "Forecast against measured" in was["foresee"]
    assert "kg-card" in was["report_card"] and "check_circle: the report card" in was["share"]
    assert "cutoff the edit was written with" in was["orthogonality"] and "subject unreadable" in was["trace"]
    assert state.damage == () and state.record.unsaved == ""
    assert {name: as_json(state, name) for name in KEPT} == before.values
    assert {name: drawn(name, state) for name in PAGES} == was, "as fresh as it was, and the same words"
    assert jobs.latest(queue(state)) is None, "nothing was measured again"


def test_hop_by_hop_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the graph that comes with the program, which has chains."""
    resident = fresh_process(tmp_path, monkeypatch)
    state = edited(state_of(), resident)
    shown("probe", state).button(key="ask").click().run()
    done(state, "probe")
    before, values = drawn("probe", state), as_json(state, "probe")
    assert "Hop by hop" in before and 'class="kg-hops"' in before
    again = restarted(state)
    assert as_json(again, "probe") == values and drawn("probe", again) == before
    run = again.result("probe")
    assert run is not None and run.value.chains and any(chain.whole for chain in run.value.chains)
    assert drawn("share", again) == drawn("share", state)


def test_a_forecast_of_a_typed_fact_can_be_read_again_and_not_applied(resident: Resident) -> None:
    state = state_of()
    state.set_draft(FRANCE)
    shown("foresee", state).button(key="foresee").click().run()
    done(state, "foresee")
    before = state.result("foresee")
    assert before is not None and isinstance(before.value, Foreseen)
    again = restarted(state)
    page = shown("foresee", again)
    after = again.result("foresee")
    assert after is not None and isinstance(after.value, KeptForecast)
    assert after.value.strongest_first == before.value.strongest_first
    assert "before the server was started again" in words(page) and "Outdated" not in words(page)
    assert not {str(button.key) for button in page.button} & {"foresee-apply", "foresee-protect"}


def test_an_inspection_can_be_read_again_and_not_undone_with(resident: Resident) -> None:
    state = edited(state_of(), resident, FRANCE)
    inspected(state, resident)
    before, again = state.result("forensics"), restarted(state)
    after = again.result("forensics")
    assert before is not None and after is not None
    assert after.value.to_json() == {**before.value.to_json(), "undo": False, "no_undo": after.value.no_undo}
    assert before.value.undo is not None and "Inspect the edit once more" in after.value.no_undo
    page = shown("forensics", again)
    assert not page.exception and "Inspect the edit once more" in words(page) and "Outdated" not in words(page)
    assert "forensics-put" not in {button.key for button in page.button}


def test_a_conversation_is_kept_where_there_is_nothing_else(resident: Resident) -> None:
    state = state_of()
    shown("chat", state).chat_input(key="chat-text").set_value("Where is it?").run()
    done(state, "chat")
    again = restarted(state)
    assert as_json(again, "chat") == as_json(state, "chat")
    assert again.stack == () and again.draft.is_blank


def replaced_in(key: str, value: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), key: value}).encode()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[:-40],
    "no JSON": lambda data: b"[" * 100_000,
    "no text": lambda data: b"\xff\xfe",
    "another format": replaced_in("format", 7),
    "changed": replaced_in("made_from", "something else"),
    "another value": replaced_in("value", {"a": 1}),
}


def test_a_damaged_result_is_named_and_set_aside_and_the_others_stay(before: Before, state: WorkbenchState) -> None:
    """Every result is damaged in every way, in each turn each in another one; those whose turn it is stay sound."""
    ways, folder = [*DAMAGE.values(), None], state.record.folder
    sound = {name: (folder / file_of(name)).read_bytes() for name in KEPT}
    for turn in range(len(ways)):
        chosen = {name: ways[(number + turn) % len(ways)] for number, name in enumerate(KEPT)}
        damaged = {name: damage(sound[name]) for name, damage in chosen.items() if damage is not None}
        for name, data in damaged.items():
            (folder / file_of(name)).write_bytes(data)
        again = restarted(state)
        assert len(again.damage) == len(damaged) < len(KEPT)
        for name, data in damaged.items():
            (said,) = [text for text in again.damage if file_of(name) in text]
            assert said.startswith(KEPT[name])
            assert again.result(name) is None and not (folder / file_of(name)).exists()
            assert (folder / DAMAGED / file_of(name)).read_bytes() == data
        assert all(as_json(again, name) == before.values[name] for name in KEPT if name not in damaged)
        assert [entry.id for entry in again.stack] == [entry.id for entry in state.stack]
        assert restarted(state).damage == (), "what is aside is no news any more"
        for name in damaged:
            (folder / DAMAGED / file_of(name)).unlink()
            (folder / file_of(name)).write_bytes(sound[name])


def test_a_result_that_leads_elsewhere_is_not_followed(state: WorkbenchState, tmp_path: Path) -> None:
    path = state.record.folder / file_of("chat")
    elsewhere = tmp_path / "elsewhere.json"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    again = restarted(state)
    assert again.result("chat") is None and len(again.damage) == 1
    assert elsewhere.is_file()


def test_a_session_of_before_opens_without_any(state: WorkbenchState) -> None:
    for path in state.record.folder.glob("result-*.json"):
        path.unlink()
    again = restarted(state)
    assert again.damage == () and all(again.result(name) is None for name in KEPT)
    assert [entry.id for entry in again.stack] == [entry.id for entry in state.stack]


def test_a_screen_that_is_loaded_later_finds_its_result(state: WorkbenchState, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session can be read back before the module of a screen was imported."""
    known = dict(codecs())
    monkeypatch.delitem(codecs(), "chat")  # type: ignore[arg-type]
    again = restarted(state)
    assert again.result("chat") is None
    monkeypatch.setitem(codecs(), "chat", known["chat"])  # type: ignore[arg-type]
    assert as_json(again, "chat") == as_json(state, "chat")
