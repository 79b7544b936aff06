"""Patches leave and come back as zips; what comes from strangers is checked."""

from __future__ import annotations

import io
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kgmet.write.patch import attached, save_patch
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import entry_for, state_of, wait_for
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.screens.ledger import actions as ledger_actions
from workbench.state.values import StackEntry


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return buffer.getvalue()


def saved(tmp_path: Path, seed: int, lm_seed: int = 0) -> dict[str, bytes]:
    save_patch(entry_for(tiny_lm(seed=lm_seed), seed=seed).patch, tmp_path / "saved")
    return {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}


def test_an_exported_patch_comes_back_the_same(resident: Resident) -> None:
    state, other = state_of(), state_of()
    entry = entry_for(resident.lm, seed=3)
    state.record.push(entry)
    assert ledger_actions.export(state, resident, [entry], "patch") is None
    job = jobs.latest(state.session_id, "export")
    assert job is not None
    made = wait_for(job.id).value
    assert ledger_actions.import_file(other, resident.lm, made.data, name=made.name) is None
    (came,) = other.stack
    assert came.id == entry.id and came.is_on
    assert torch.equal(came.patch.updates[0].input_factor, entry.patch.updates[0].input_factor)
    said = ledger_actions.import_file(other, resident.lm, made.data, name=made.name)
    assert said is not None and "already" in said


def test_an_adapter_goes_out_and_comes_back(resident: Resident) -> None:
    state, other = state_of(), state_of()
    state.record.push(entry_for(resident.lm, seed=3))
    assert ledger_actions.export(state, resident, state.stack, "adapter") is None
    job = jobs.latest(state.session_id, "export")
    assert job is not None
    made = wait_for(job.id)
    assert made.error == ""
    assert ledger_actions.import_file(other, resident.lm, made.value.data, name="adapter.zip") is None
    (came,) = other.stack
    want, have = state.stack[0].patch.updates[0], came.patch.updates[0]
    torch.testing.assert_close(
        have.output_factor.T @ have.input_factor, want.output_factor.T @ want.input_factor, rtol=1e-4, atol=1e-5
    )


def merged(resident: Resident, entries: list[StackEntry]) -> Path:
    state = state_of()
    assert ledger_actions.export(state, resident, entries, "merged") is None
    job = jobs.latest(state.session_id, "export")
    assert job is not None
    made = wait_for(job.id)
    assert made.error == ""
    return Path(made.value.folder)


def test_a_merged_checkpoint_answers_as_the_attached_patches_do(resident: Resident) -> None:
    from transformers import AutoModelForCausalLM

    lm, entries = resident.lm, [entry_for(resident.lm, seed=seed) for seed in (1, 2)]
    model = AutoModelForCausalLM.from_pretrained(merged(resident, entries), dtype=lm.dtype).eval()
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        with attached([entry.patch for entry in entries], lm):
            wanted = lm.model(ids).logits
        plain = lm.model(ids).logits
        torch.testing.assert_close(model(ids).logits, wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain, wanted, atol=1e-2)


def test_other_edits_are_another_checkpoint_and_the_same_are_the_same(resident: Resident) -> None:
    entries = [entry_for(resident.lm, seed=seed) for seed in range(6)]
    first = merged(resident, entries[:5])
    assert merged(resident, entries) != first
    assert merged(resident, entries[:5]) == first


def test_a_script_says_what_it_cannot_repeat(resident: Resident) -> None:
    first = entry_for(resident.lm, seed=1)
    second = entry_for(resident.lm, seed=2, based_on=(first.id,))
    untold = replace(first, name="a stranger's adapter", patch=replace(first.patch, edits=()))

    def note(*entries: StackEntry) -> str:
        state = state_of()
        assert ledger_actions.export(state, resident, entries, "script") is None
        job = jobs.latest(state.session_id, "export")
        assert job is not None
        made = wait_for(job.id)
        return made.error or str(made.value.note)

    assert "Left out" not in note(first, second) and "may differ" not in note(first, second)
    assert "may differ" in note(second)
    assert "a stranger's adapter" in note(first, untold)
    assert "a script cannot repeat it" in note(untold)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds neither"),
        ({"readme.txt": b"hello"}, "holds neither"),
        ({"patch.json": b"{}", "patch.safetensors": b""}, "patch"),
        ({"patch.json": b"[" * 100_000, "patch.safetensors": b"x"}, "patch"),
    ],
)
def test_what_is_no_patch_is_refused_with_a_reason(resident: Resident, files: dict[str, bytes], said: str) -> None:
    state = state_of()
    message = ledger_actions.import_file(state, resident.lm, archive(files), name="given.zip")
    assert message is not None and said in message
    assert not state.stack


def test_a_refusal_names_the_archive_and_no_folder_of_the_server(resident: Resident, tmp_path: Path) -> None:
    state, files = state_of(), saved(tmp_path, 1)
    changed = files["patch.json"].replace(resident.lm.fingerprint.encode(), b"0" * len(resident.lm.fingerprint))
    for damaged in ({"patch.json": changed}, {"patch.json": b"{}"}, {"patch.safetensors": b""}):
        message = ledger_actions.import_file(state, resident.lm, archive({**files, **damaged}), name="given.zip")
        assert message is not None and tempfile.gettempdir() not in message, message
    assert not state.stack


def test_what_is_no_zip_is_refused(resident: Resident) -> None:
    message = ledger_actions.import_file(state_of(), resident.lm, b"PK no zip at all", name="given.zip")
    assert message is not None and "no zip archive" in message


def test_names_in_an_archive_lead_nowhere(resident: Resident, tmp_path: Path) -> None:
    state = state_of()
    files = {f"../../outside/{name}": data for name, data in saved(tmp_path, 5).items()}
    assert ledger_actions.import_file(state, resident.lm, archive(files), name="given.zip") is None
    assert len(state.stack) == 1
    assert not list(tmp_path.parent.glob("outside")) and not list(tmp_path.rglob("outside"))


def test_a_patch_of_another_model_is_refused_by_name(resident: Resident, tmp_path: Path) -> None:
    state = state_of()
    message = ledger_actions.import_file(state, resident.lm, archive(saved(tmp_path, 5, lm_seed=1)), name="given.zip")
    assert message is not None and "made for model" in message and resident.lm.name in message
    assert not state.stack


def test_removing_and_switching_leave_the_other_edits_alone(resident: Resident) -> None:
    state = state_of()
    first, second = entry_for(resident.lm, seed=1), entry_for(resident.lm, seed=2)
    state.record.push(first)
    state.record.push(second)
    renamed = ledger_actions.renamed(first, name="  ", note=" note ", is_on=False)
    assert (renamed.name, renamed.note) == (first.name, "note")
    assert ledger_actions.change_entries(state, [renamed]) is None
    assert [entry.id for entry in state.live(resident.lm)] == [second.id]
    assert ledger_actions.remove(state, first.id) is None
    assert [entry.id for entry in state.stack] == [second.id] and [entry.id for entry in state.redo] == [first.id]
