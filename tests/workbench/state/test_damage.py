"""A session that is damaged in part opens without that part, which is named and kept aside."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny_models import tiny_lm
from tests.workbench.sessions import EIFFEL, entry_for
from workbench.state.disk import DAMAGED, REPORT, SESSION
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry
from workbench.state.vault import SessionRecord, SessionVault

Change = Callable[[Path], None]


@pytest.fixture
def record(tmp_path: Path) -> SessionRecord:
    """A session with a typed fact, two edits on and one undone."""
    lm, made = tiny_lm(), SessionVault(tmp_path / "sessions").new()
    entries = [entry_for(lm, seed=seed) for seed in range(3)]
    made.change(draft=EIFFEL, stack=tuple(entries[:2]), redo=tuple(entries[2:]), settings={"write": {"layers": [1]}})
    return made


def restarted(record: SessionRecord) -> SessionRecord:
    """The session as another process finds it, whole or in part: everything a page reads can be read."""
    found = SessionVault(record.folder.parent).find(record.session_id)
    assert found is not None
    state = WorkbenchState(found)
    assert state.config is not None and state.fingerprint()
    for entry in found.saved.entries:
        assert (entry.name, entry.edit) and str(entry.report)
    return found


def ids(entries: tuple[StackEntry, ...]) -> list[str]:
    return [entry.id for entry in entries]


def rewritten(change: Callable[[dict[str, Any]], None]) -> Change:
    """Change `session.json` as somebody would by hand."""

    def apply(folder: Path) -> None:
        data = json.loads((folder / SESSION).read_text(encoding="utf-8"))
        change(data)
        (folder / SESSION).write_text(json.dumps(data), encoding="utf-8")

    return apply


def replaced(old: str, new: str, file: str = SESSION) -> Change:
    def apply(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return apply


def linked(file: str, target: str) -> Change:
    def apply(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).symlink_to(target)

    return apply


def test_a_sound_session_has_nothing_to_say(record: SessionRecord) -> None:
    found = restarted(record)
    assert found.damage == () and not (record.folder / DAMAGED).exists()
    assert ids(found.saved.entries) == ids(record.saved.entries)


BAD_PATCH: dict[str, Change] = {
    "tensors": lambda place: (place / "patch.safetensors").write_bytes(b"no tensors") and None,
    "one bit": lambda place: flip(place / "patch.safetensors"),
    "no tensors": lambda place: (place / "patch.safetensors").unlink(),
    "brackets": lambda place: (place / "patch.json").write_text("[" * 10_000) and None,
    "digits": lambda place: (place / "patch.json").write_text('{"format": ' + "9" * 6_000 + "}") and None,
    "NaN": replaced('"format": 1', '"format": NaN', "patch.json"),
    "version": replaced('"format": 1', '"format": 7', "patch.json"),
    "encoding": lambda place: (place / "patch.json").write_bytes(b"\xff\xfe{}") and None,
    "zeros": linked("patch.safetensors", "/dev/zero"),
    "link out": linked("patch.json", "/etc/hostname"),
    "empty": lambda place: (place / "patch.json").write_bytes(b"") and None,
}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", BAD_PATCH)
def test_one_bad_patch_is_left_out(record: SessionRecord, kind: str) -> None:
    good, bad = ids(record.saved.stack)
    BAD_PATCH[kind](record.folder / bad)
    found = restarted(record)
    assert ids(found.saved.stack) == [good] and ids(found.saved.redo) == ids(record.saved.redo)
    assert found.saved.draft == EIFFEL
    assert len(found.damage) == 1 and "Edit 2, “edit 1”, cannot be read" in found.damage[0]
    assert (record.folder / DAMAGED / bad).is_dir() and not (record.folder / bad).exists()
    assert restarted(record).damage == (), "what is aside is no news any more"
    assert ids(restarted(record).saved.stack) == [good]


def test_a_patch_folder_that_is_a_link_or_holds_another_patch_is_left_out(record: SessionRecord) -> None:
    first, second = ids(record.saved.stack)
    outside = record.folder.parent / "elsewhere"
    (record.folder / first).rename(outside)
    (record.folder / first).symlink_to(outside, target_is_directory=True)
    (record.folder / second).rename(record.folder / "spare")
    (record.folder / ids(record.saved.redo)[0]).rename(record.folder / second)
    found = restarted(record)
    assert found.saved.entries == ()
    assert [line.split(" cannot")[0] for line in found.damage] == [
        "Edit 1, “edit 0”,",
        "Edit 2, “edit 1”,",
        "Undone edit 1, “edit 2”,",
    ]
    assert (record.folder / DAMAGED / first).is_symlink() and (outside / "patch.json").is_file()


BAD_REPORT: dict[str, Change] = {
    "missing": lambda place: (place / REPORT).unlink(),
    "a number": replaced('"n_token": 1', '"n_token": 2', REPORT),
    "brackets": lambda place: (place / REPORT).write_text("[" * 10_000) and None,
    "zeros": linked(REPORT, "/dev/zero"),
    "other version": lambda place: (place / REPORT).write_text('{"format": 2}') and None,
    "a list": lambda place: (place / REPORT).write_text("[]") and None,
}


@pytest.mark.parametrize("kind", BAD_REPORT)
def test_a_bad_report_costs_the_report_only(record: SessionRecord, kind: str) -> None:
    bad = record.saved.stack[1]
    BAD_REPORT[kind](record.folder / bad.id)
    found = restarted(record)
    assert ids(found.saved.stack) == ids(record.saved.stack)
    assert found.saved.stack[1].report is None and found.saved.stack[0].report == record.saved.stack[0].report
    assert "What was measured when “edit 1” was made cannot be read" in "".join(found.damage)
    assert os.path.lexists(record.folder / DAMAGED / f"{bad.id}-report.json") is (kind != "missing")
    assert restarted(record).damage == ()


def put(*path: Any, value: Any) -> Change:
    def change(data: dict[str, Any]) -> None:
        inside: Any = data
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = value

    return rewritten(change)


BAD_PARTS: dict[str, tuple[Change, str]] = {
    "draft": (put("draft", value=7), "The typed fact"),
    "draft text": (put("draft", "subject", value=[1]), "The typed fact"),
    "draft switch": (put("draft", "exclude", value=[{"a": 1}]), "The typed fact"),
    "editor": (put("editor", value="nobody"), "The editor and its settings"),
    "settings": (put("settings", value={"write": {"layers": "all"}}), "The editor and its settings"),
    "settings NaN": (put("settings", value={"target": {"learning_rate": float("nan")}}), "The editor and its settings"),
    "focus": (put("focus", value=1.5), "Which edit is looked at"),
    "guide": (put("is_guide_seen", value="yes"), "Whether the guide was seen"),
}


@pytest.mark.parametrize("kind", BAD_PARTS)
def test_one_bad_part_of_the_session_file_leaves_the_edits_alone(record: SessionRecord, kind: str) -> None:
    change, said = BAD_PARTS[kind]
    change(record.folder)
    spoilt = (record.folder / SESSION).read_bytes()
    found = restarted(record)
    assert ids(found.saved.stack) == ids(record.saved.stack) and ids(found.saved.redo) == ids(record.saved.redo)
    assert [entry.name for entry in found.saved.stack] == ["edit 0", "edit 1"]
    assert f"{said} cannot be read" in "\n".join(found.damage)
    assert (record.folder / DAMAGED / SESSION).read_bytes() == spoilt
    assert restarted(record).damage == ()


BAD_ROWS: dict[str, Change] = {
    "number": put("stack", 1, value=3),
    "switch": put("stack", 1, "is_on", value="maybe"),
    "id": put("stack", 1, "id", value="../../../etc"),
    "name": put("stack", 1, "name", value="x" * 10_000),
    "twice": rewritten(lambda data: data["stack"].__setitem__(1, data["stack"][0])),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_an_edit_whose_line_is_damaged_is_recovered_from_its_patch(record: SessionRecord, kind: str) -> None:
    BAD_ROWS[kind](record.folder)
    found = restarted(record)
    kept, recovered = found.saved.stack
    assert kept.name == "edit 0" and kept.is_on
    assert recovered.id == record.saved.stack[1].id and not recovered.is_on and "Recovered" in recovered.note
    assert recovered.report == record.saved.stack[1].report
    assert torch.equal(recovered.patch.updates[0].input_factor, record.saved.stack[1].patch.updates[0].input_factor)
    assert "Edit 2 cannot be read" in "\n".join(found.damage)


BAD_FILES: dict[str, Change] = {
    "brackets": lambda folder: (folder / SESSION).write_text("[" * 10_000) and None,
    "inner brackets": replaced('"settings": {', '"settings": {"x": ' + "[" * 10_000 + "]" * 10_000 + ","),
    "digits": replaced('"format": 2', '"format": 2, "more": ' + "9" * 6_000),
    "encoding": lambda folder: (folder / SESSION).write_bytes(b"\xff{}") and None,
    "half a character": replaced('"edit 1"', '"\\ud800"'),
    "zeros": linked(SESSION, "/dev/zero"),
    "out": linked(SESSION, "/etc/hostname"),
    "circle": linked(SESSION, SESSION),
    "missing": lambda folder: (folder / SESSION).unlink(),
    "version": put("format", value=99),
    "list": lambda folder: (folder / SESSION).write_text("[]") and None,
    "cut off": lambda folder: (folder / SESSION).write_bytes((folder / SESSION).read_bytes()[:-40]) and None,
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_edits_are_recovered_where_the_list_of_them_is_lost(record: SessionRecord, kind: str) -> None:
    BAD_FILES[kind](record.folder)
    found = restarted(record)
    assert sorted(ids(found.saved.stack)) == sorted(ids(record.saved.entries))
    assert not any(entry.is_on for entry in found.saved.stack) and found.saved.draft.is_blank
    assert found.saved.stack[0].report is not None
    assert "switched off: 3" in "\n".join(found.damage)
    assert os.path.lexists(record.folder / DAMAGED / SESSION) is (kind != "missing")
    again = restarted(record)
    assert again.damage == () and ids(again.saved.stack) == ids(found.saved.stack)


def test_a_switch_that_was_turned_by_hand_is_said(record: SessionRecord) -> None:
    put("stack", 0, "is_on", value=False)(record.folder)
    found = restarted(record)
    assert found.damage == ("The session was changed outside the workbench. Check which edits are on.",)
    assert [entry.is_on for entry in found.saved.stack] == [False, True]


def test_each_damage_is_kept_beside_the_earlier_ones(record: SessionRecord) -> None:
    for count in range(1, 4):
        (record.folder / SESSION).write_text(f"{{{count}")
        restarted(record)
        kept = sorted((record.folder / DAMAGED).glob("session*.json"))
        assert len(kept) == count
    assert {path.read_text() for path in kept} == {"{1", "{2", "{3"}


def test_a_session_of_the_first_format_is_read(record: SessionRecord) -> None:
    """In it the reports are in `session.json`, and there is no digest."""
    data = json.loads((record.folder / SESSION).read_text(encoding="utf-8"))
    for row in (*data["stack"], *data["redo"]):
        made = record.folder / row["id"] / REPORT
        row |= {name: json.loads(made.read_text(encoding="utf-8"))[name] for name in ("report", "curve")}
        made.unlink()
    del data["digest"]
    (record.folder / SESSION).write_text(json.dumps({**data, "format": 1}), encoding="utf-8")
    found = restarted(record)
    assert found.damage == ()
    assert [entry.report for entry in found.saved.entries] == [entry.report for entry in record.saved.entries]
    found.change(is_guide_seen=True)
    again = restarted(record)
    assert [entry.report for entry in again.saved.entries] == [entry.report for entry in record.saved.entries]
    assert [entry.curve for entry in again.saved.entries] == [entry.curve for entry in record.saved.entries]


def test_a_bad_report_in_the_first_format_costs_the_report_only(record: SessionRecord) -> None:
    def change(data: dict[str, Any]) -> None:
        del data["digest"]
        data["format"] = 1
        for row in data["stack"]:
            made = record.folder / row["id"] / REPORT
            row |= {name: json.loads(made.read_text(encoding="utf-8"))[name] for name in ("report", "curve")}
            made.unlink()
        data["stack"][0]["report"]["after"]["expected"]["logprob"] = float("nan")
        data["stack"][1]["report"]["graph"] = []

    rewritten(change)(record.folder)
    found = restarted(record)
    assert [entry.report for entry in found.saved.stack] == [None, None] and len(found.damage) == 2


def test_a_patch_of_a_save_that_was_cut_short_is_no_edit(record: SessionRecord) -> None:
    entry = entry_for(tiny_lm(), seed=9)
    from workbench.state.disk import save_entry

    save_entry(record.folder / entry.id, entry)
    found = restarted(record)
    assert ids(found.saved.stack) == ids(record.saved.stack) and found.damage == ()
    found.change(is_guide_seen=True)
    assert not (record.folder / entry.id).exists()
