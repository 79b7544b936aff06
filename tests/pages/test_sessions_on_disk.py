"""Pages open, and say so, where a session is damaged in part or cannot be written."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kgmet.base import cache
from tests.workbench.sessions import edited, entry_for, restarted, state_of
from tests.workbench.shown_pages import ROOT, words
from workbench.running.resources import Resident
from workbench.state.session import SESSION_KEY, WorkbenchState

PAGES = ("edit", "graph", "shift", "orthogonality", "probe", "compare", "benchmark", "ledger", "models", "method")


def app_at(name: str, state: WorkbenchState) -> AppTest:
    """The whole app on one page: what surrounds the page, and the page."""
    app = AppTest.from_file(str(ROOT / "workbench" / "app.py"), default_timeout=60)
    app.session_state[SESSION_KEY] = state.session_id
    app.run()
    if name != "edit":
        app.switch_page(f"../pages/{name}.py").run()
    assert not app.exception
    return app


def refuse_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **named: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cache.tempfile, "mkstemp", refuse)


@pytest.mark.parametrize("name", ["edit", "ledger"])
def test_a_damaged_session_opens_and_names_what_is_missing(resident: Resident, name: str) -> None:
    state = edited(state_of(), resident)
    bad = entry_for(resident.lm, seed=1, name="the *second*")
    state.record.push(bad)
    (state.record.folder / bad.id / "patch.json").write_text("[" * 10_000)
    again = restarted(state)
    app = app_at(name, again)
    assert "Part of this session could not be read" in words(app)
    assert "Edit 2, “the \\*second\\*”, cannot be read" in words(app) and "damaged" in words(app)
    assert len(again.stack) == 1
    app.button(key="close-damage").click().run()
    assert not app.exception and "could not be read" not in words(app)


@pytest.mark.parametrize("name", ["edit", "ledger"])
def test_a_read_only_folder_is_said_and_work_goes_on(
    resident: Resident, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = edited(state_of(), resident)
    app = app_at(name, state)
    assert "Not saved" not in words(app)
    with monkeypatch.context() as patch:
        refuse_to_write(patch)
        app.button(key="undo").click().run()
        assert not app.exception
        assert "Not saved" in words(app) and "Read\\-only file system" in words(app)
        assert state.stack == () and len(state.redo) == 1
    assert len(restarted(state).stack) == 1, "the undo is not on disk"


@pytest.mark.parametrize("name", ["edit", "ledger"])
def test_saving_again_saves(resident: Resident, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = edited(state_of(), resident)
    with monkeypatch.context() as patch:
        refuse_to_write(patch)
        state.record.replace_entry(state.stack[0].id, is_on=False)
        app = app_at(name, state)
        app.button(key="save-again").click().run()
        assert "Not saved" in words(app)
    app.button(key="save-again").click().run()
    assert not app.exception and "Not saved" not in words(app)
    assert not restarted(state).stack[0].is_on


def test_an_edit_is_applied_and_switched_where_nothing_can_be_written(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first edit as well, which measures the model's key statistics: they stay in memory, and that is said."""
    refuse_to_write(monkeypatch)
    state = edited(state_of(), resident)
    job = state.job("edit")
    assert job is not None
    assert any("kept in memory until the program ends" in remark for remark in job.remarks)
    assert resident.statistics.is_ready([1, 2])
    edited(state, resident)
    again = state.job("edit")
    assert again is not None and not any("kept in memory" in remark for remark in again.remarks), "measured once"
    state = edited(state_of(), resident)
    app = app_at("ledger", state)
    (entry,) = state.stack
    app.text_input(key=f"name-{entry.id}").set_value("mine").run()
    app.toggle(key=f"on-{entry.id}").set_value(False).run()
    assert not app.exception
    assert (state.stack[0].name, state.stack[0].is_on) == ("mine", False)
    assert "Not saved" in words(app)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_on_a_session_that_is_damaged_and_cannot_be_written(
    resident: Resident, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = edited(state_of(), resident)
    bad = entry_for(resident.lm, seed=1)
    state.record.push(bad)
    (state.record.folder / bad.id / "patch.safetensors").write_bytes(b"no tensors")
    (state.record.folder / state.stack[0].id / "report.json").write_bytes(b"\xff")
    (state.record.folder / "compare.json").write_text("NaN")
    refuse_to_write(monkeypatch)
    monkeypatch.setattr(Path, "rename", lambda *given: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only")))
    app = app_at(name, restarted(state))
    assert "Not saved" in words(app) and "Part of this session could not be read" in words(app)
