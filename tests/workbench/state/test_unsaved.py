"""Where a session cannot be written, everything goes on in memory, and it is said that nothing was saved."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from kgmet.base import cache
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import EIFFEL, entry_for
from workbench.shared import actions
from workbench.state.disk import SESSION
from workbench.state.session import WorkbenchState
from workbench.state.vault import SessionRecord, SessionVault


class FullDisk:
    """Every file written fails, as on a disk without room; tests may run as a user who may write anywhere."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def fill(self, code: int = errno.ENOSPC) -> None:
        def refuse(*given: Any, **named: Any) -> Any:
            raise OSError(code, "No space left on device" if code == errno.ENOSPC else "Read-only file system")

        self._patch.setattr(cache.tempfile, "mkstemp", refuse)
        self._patch.setattr(Path, "mkdir", refuse)
        self._patch.setattr(Path, "rename", refuse)

    def free(self) -> None:
        self._patch.undo()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    return FullDisk(monkeypatch)


@pytest.fixture
def record(tmp_path: Path) -> SessionRecord:
    made = SessionVault(tmp_path / "sessions").new()
    made.change(draft=EIFFEL)
    made.push(entry_for(tiny_lm(), seed=0))
    return made


def on_disk(record: SessionRecord) -> SessionRecord:
    found = SessionVault(record.folder.parent).find(record.session_id)
    assert found is not None
    return found


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_edits_go_on_in_memory_and_are_saved_once_there_is_room(
    record: SessionRecord, disk: FullDisk, code: int
) -> None:
    state, entry = WorkbenchState(record), entry_for(tiny_lm(), seed=1)
    disk.fill(code)
    record.push(entry)
    record.replace_entry(entry.id, name="mine", is_on=False)
    assert [item.name for item in state.stack] == ["edit 0", "mine"]
    assert "cannot be written" in state.unsaved
    disk.free()
    assert [item.name for item in on_disk(record).saved.stack] == ["edit 0"]
    state.save_again()
    assert state.unsaved == ""
    assert [(item.name, item.is_on) for item in on_disk(record).saved.stack] == [("edit 0", True), ("mine", False)]


def test_an_undo_that_is_not_saved_is_said_to_be_so(record: SessionRecord, disk: FullDisk) -> None:
    state = WorkbenchState(record)
    disk.fill()
    assert actions.undo(state) is None
    assert state.stack == () and len(state.redo) == 1 and state.unsaved != ""
    disk.free()
    assert len(on_disk(record).saved.stack) == 1, "what was saved before is still there"
    assert actions.redo(state) is None and state.unsaved == ""
    assert len(on_disk(record).saved.stack) == 1 and on_disk(record).saved.redo == ()


def test_a_session_that_never_could_be_saved_works_and_can_be_saved_later(tmp_path: Path, disk: FullDisk) -> None:
    disk.fill(errno.EROFS)
    record = SessionVault(tmp_path / "sessions").new()
    record.change(draft=EIFFEL)
    record.push(entry_for(tiny_lm(), seed=0))
    assert record.unsaved and not record.folder.exists()
    disk.free()
    record.save()
    assert len(on_disk(record).saved.stack) == 1 and on_disk(record).saved.draft == EIFFEL


def test_a_folder_that_vanished_is_written_anew(record: SessionRecord) -> None:
    shutil.rmtree(record.folder.parent)
    record.push(entry_for(tiny_lm(), seed=1))
    assert record.unsaved == ""
    found = on_disk(record)
    assert found.damage == () and len(found.saved.stack) == 2
    assert [entry.report for entry in found.saved.stack] == [entry.report for entry in record.saved.stack]


def test_a_place_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("a file")
    record = SessionVault(tmp_path / "sessions").new()
    record.change(draft=EIFFEL)
    assert "cannot be written" in record.unsaved and record.saved.draft == EIFFEL
    assert SessionVault(tmp_path / "sessions").find("a" * 43) is None


def test_nothing_is_written_over_what_could_not_be_kept_aside(record: SessionRecord, disk: FullDisk) -> None:
    (record.folder / SESSION).write_text("{")
    disk.fill()
    found = on_disk(record)
    assert found.unsaved and found.damage and len(found.saved.stack) == 1
    disk.free()
    assert (record.folder / SESSION).read_text() == "{"
    found.save()
    assert found.unsaved == "" and (record.folder / "damaged" / SESSION).read_text() == "{"


def test_a_write_that_is_cut_short_leaves_the_session_as_it_was(
    record: SessionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file it is that cannot be put in its place."""
    replace = Path.replace
    for n_good in range(4):
        left = [n_good]

        def sometimes(self: Path, target: Path, left: list[int] = left) -> Path:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.EIO, "Input/output error")
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", sometimes)
            record.push(entry_for(tiny_lm(), seed=5 + n_good))
            assert record.unsaved
        found = on_disk(record)
        assert found.damage == () and len(found.saved.stack) == 1 + n_good
        record.save()
        assert record.unsaved == "" and len(on_disk(record).saved.stack) == 2 + n_good


def test_two_servers_on_one_cache_do_not_write_over_each_other(record: SessionRecord) -> None:
    """Whoever saves second is told, keeps the edit in memory, and removes nothing of the first one's."""
    other = on_disk(record)
    mine, theirs = entry_for(tiny_lm(), seed=1), entry_for(tiny_lm(), seed=2)
    other.push(theirs)
    record.change(stack=(mine,))
    assert "Another server" in record.unsaved and other.unsaved == ""
    assert record.saved.stack == (mine,)
    assert [entry.id for entry in on_disk(record).saved.stack] == [entry.id for entry in other.saved.stack]
    record.save()
    assert "Another server" in record.unsaved
    other.change(redo=())
    assert other.unsaved == ""


def test_sessions_that_cannot_be_looked_through_do_not_keep_the_app_from_starting(
    record: SessionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    vault = SessionVault(record.folder.parent)
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert vault.clean(days=30, runs=record.folder.parent) == []
    found = vault.find(record.session_id)
    assert found is not None and len(found.saved.stack) == 1
