"""The page Inspect an edit: nothing yet, an edit of mine, a folder, an archive, and what is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kgmet.base.errors import ConfigError
from kgmet.inspect.forensics.inspection import EditInspection
from kgmet.write.patch import attached, save_patch
from tests.forecast.tiny_world import NAMES, known_world
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import fresh_process, patch_for, state_of, wait_for
from tests.workbench.shown_pages import sentences, shown
from tests.write.tiny_edits import logits_of
from workbench.running import jobs
from workbench.running.access import Access
from workbench.running.resources import Resident
from workbench.screens.forensics import actions, view
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry


@pytest.fixture
def resident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resident]:
    monkeypatch.setattr(actions, "store", lambda: known_world(tiny_lm())[0])
    yield fresh_process(tmp_path, monkeypatch)


def inspected(state: WorkbenchState, resident: Resident, source: actions.Source, name: str) -> EditInspection:
    assert actions.inspect(state, resident, source, name=name, limit=100) is None
    job = jobs.latest(state.session_id, "forensics")
    assert job is not None
    assert wait_for(job.id).error == ""
    kept = state.result(actions.RESULT)
    assert kept is not None
    found: EditInspection = kept.value
    return found


def test_an_empty_page_says_what_can_be_inspected(resident: Resident) -> None:
    page = shown("forensics", state_of())
    assert not page.exception
    assert "Nothing inspected yet" in sentences(page)
    assert next(button for button in page.button if button.label == "Inspect").disabled


def test_an_edit_of_mine_is_inspected_without_its_facts_and_undone(resident: Resident) -> None:
    state, lm = state_of(), resident.lm
    patch = patch_for(lm)
    state.record.push(StackEntry(patch=patch, name="*mine*"))
    page = shown("forensics", state)
    next(button for button in page.button if button.label == "Inspect").click().run()
    job = jobs.latest(state.session_id, "forensics")
    assert job is not None
    assert wait_for(job.id).error == ""
    page = shown("forensics", state)
    assert not page.exception
    assert "Whose work it looks like" in sentences(page)
    assert r"\*mine\*" in sentences(page), "a name is text"
    kept = state.result(actions.RESULT)
    assert kept is not None
    found = kept.value
    assert found.changed.stated == ()
    assert len(view.subject_table(found)) == len(NAMES)
    assert view.facts(found)[0] == ("Changed weights", "1")
    before = logits_of(lm)
    next(button for button in page.button if button.label == "Put it on my edits").click().run()
    with attached(state.live_patches(lm), lm):
        assert (logits_of(lm) - before).abs().max() < 1e-3
    assert "already" in (actions.put_undo(state, lm, found) or "")


def test_a_folder_and_an_archive_give_the_same(resident: Resident, tmp_path: Path) -> None:
    patch = patch_for(resident.lm)
    save_patch(patch, tmp_path / "patch")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("patch.json", "patch.safetensors"):
            archive.write(tmp_path / "patch" / name, name)
    by_folder = inspected(state_of(), resident, actions.from_folder(str(tmp_path / "patch")), "folder")
    by_archive = inspected(state_of(), resident, actions.from_archive(buffer.getvalue()), "archive")
    assert by_folder.scan == by_archive.scan
    assert by_folder.changed.stated == ("Paris",)
    assert zipfile.ZipFile(io.BytesIO(actions.undo_archive(by_folder))).namelist() == [
        "patch.json",
        "patch.safetensors",
    ]


def test_what_cannot_be_inspected_is_said_in_words(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of()
    assert actions.inspect(state, resident, actions.from_archive(b"no zip"), name="x.zip", limit=10) is None
    job = jobs.latest(state.session_id, "forensics")
    assert job is not None
    assert "no zip archive" in wait_for(job.id).error
    page = shown("forensics", state)
    assert not page.exception
    assert "no zip archive" in sentences(page).replace("\\", "")
    state.record.push(StackEntry(patch=patch_for(resident.lm), name="mine"))
    assert "no zip archive" not in sentences(shown("forensics", state)).replace("\\", ""), "another source is chosen"
    monkeypatch.setattr(actions, "access", lambda: Access(is_shared=True))
    with pytest.raises(ConfigError, match="uploaded, not named"):
        actions.from_folder("/etc")


def test_an_undo_for_another_model_stays_off_the_stack(resident: Resident, tmp_path: Path) -> None:
    save_patch(patch_for(resident.lm), tmp_path / "patch")
    state = state_of()
    found = inspected(state, resident, actions.from_folder(str(tmp_path / "patch")), "folder")
    assert found.undo is not None
    other = replace(found, undo=replace(found.undo, model_fingerprint="0" * 16))
    assert "Load that model" in (actions.put_undo(state, resident.lm, other) or "")
    assert state.stack == ()
