"""Sessions are apart from each other, and what a person would miss survives a restart."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from tests.tiny_models import tiny_lm
from tests.workbench.sessions import EIFFEL, entry_for
from workbench.running import jobs
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft, Result
from workbench.state.vault import SessionVault


def test_ids_cannot_be_guessed_and_folders_do_not_tell_them(tmp_path: Path) -> None:
    vault = SessionVault(tmp_path)
    records = [vault.new() for _ in range(20)]
    assert len({record.session_id for record in records}) == 20
    assert all(len(record.session_id) >= 43 for record in records)
    records[0].change(draft=EIFFEL)
    names = [path.name for path in tmp_path.iterdir()]
    assert names and all(record.session_id not in name for record in records for name in names)


@pytest.mark.parametrize("wrong", [None, "", "short", "../../etc/passwd", "a" * 43, "é" * 43, "x" * 5000])
def test_an_id_nobody_was_given_finds_nothing(tmp_path: Path, wrong: str | None) -> None:
    vault = SessionVault(tmp_path)
    vault.new().change(draft=EIFFEL)
    assert vault.find(wrong) is None


def test_a_restarted_process_finds_drafts_stack_redo_and_patches(tmp_path: Path) -> None:
    lm = tiny_lm()
    record = SessionVault(tmp_path).new()
    first, second = entry_for(lm, seed=1, name="<b>one</b>"), entry_for(lm, seed=2)
    record.push(first)
    record.push(second)
    record.replace_entry(first.id, note="why | not\nthis", is_on=False)
    record.change(
        stack=record.saved.stack[:1], redo=(second,), draft=FactDraft(subject="x", exclude=(("a", "b", "c"), "P31"))
    )

    found = SessionVault(tmp_path).find(record.session_id)
    assert found is not None
    assert found.saved.draft == record.saved.draft
    (kept,), (undone,) = found.saved.stack, found.saved.redo
    assert (kept.id, kept.name, kept.note, kept.is_on) == (first.id, "<b>one</b>", "why | not\nthis", False)
    assert undone.id == second.id and undone.report == second.report and kept.curve == first.curve
    assert torch.equal(kept.patch.updates[0].output_factor, first.patch.updates[0].output_factor)


def test_patches_nobody_names_any_more_leave_the_disk(tmp_path: Path) -> None:
    record = SessionVault(tmp_path).new()
    record.push(entry_for(tiny_lm(), seed=1))
    assert any(path.is_dir() for path in record.folder.iterdir())
    record.change(stack=(), redo=())
    assert not any(path.is_dir() for path in record.folder.iterdir())


def test_an_empty_session_leaves_no_trace(tmp_path: Path) -> None:
    record = SessionVault(tmp_path).new()
    record.change(focus=None)
    assert not record.folder.exists()


def test_live_is_what_is_on_in_order_for_this_model(tmp_path: Path) -> None:
    lm, other = tiny_lm(), tiny_lm(seed=1)
    state = WorkbenchState(SessionVault(tmp_path).new())
    entries = [entry_for(lm, seed=1), entry_for(other, seed=2), entry_for(lm, seed=3), entry_for(lm, seed=4)]
    for entry in entries:
        state.record.push(entry)
    state.record.replace_entry(entries[2].id, is_on=False)
    assert [entry.id for entry in state.live(lm)] == [entries[0].id, entries[3].id]
    assert [entry.id for entry in state.live(lm, before=entries[3].id)] == [entries[0].id]
    assert [patch.id for patch in state.live_patches(lm)] == [entries[0].id, entries[3].id]
    assert state.focus is not None and state.focus.id == entries[3].id


def test_results_turn_stale_when_what_they_were_made_from_changes(tmp_path: Path) -> None:
    state = WorkbenchState(SessionVault(tmp_path).new())
    before = state.fingerprint("prompt")
    state.keep("number", 1, made_from=before)
    kept = state.result("number")
    assert isinstance(kept, Result) and not kept.is_stale(state.fingerprint("prompt"))
    state.record.push(entry_for(tiny_lm(), seed=1))
    assert kept.is_stale(state.fingerprint("prompt"))
    assert kept.is_stale(state.fingerprint("another prompt"))


def test_a_session_without_a_browser_leaves_memory_and_comes_back_from_disk(tmp_path: Path) -> None:
    vault = SessionVault(tmp_path)
    record = vault.new()
    record.push(entry_for(tiny_lm(), seed=1))
    lease = record.lease()
    assert vault.release(after=-1) == 0, "its browser is connected"
    del lease
    gc.collect()
    assert vault.release(after=3600) == 0, "it may be reloading its page"
    assert vault.release(after=-1) == 1
    again = vault.find(record.session_id)
    assert again is not None and again is not record
    assert [entry.id for entry in again.saved.stack] == [entry.id for entry in record.saved.stack]


def test_a_session_that_is_not_on_disk_or_at_work_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = SessionVault(tmp_path)
    record = vault.new()
    record.unsaved = "No space left on device"
    assert vault.release(after=-1) == 0
    record.unsaved = ""
    monkeypatch.setattr(jobs, "has_unfinished", lambda session_id: session_id == record.session_id)
    assert vault.release(after=-1) == 0
    monkeypatch.undo()
    assert vault.release(after=-1) == 1
