"""Unused sessions leave the disk; those in use, strangers' files and whatever a link leads to do not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.tiny_models import tiny_lm
from tests.workbench.sessions import EIFFEL, entry_for
from workbench import shell
from workbench.state.disk import DAMAGED, LOCKS, held
from workbench.state.retention import DEFAULT_DAYS, SETTING, days_to_keep, remove_unused
from workbench.state.sealed import write_sealed
from workbench.state.vault import SessionRecord, SessionVault

DAY = 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def old(folder: Path, *, days: float = 40, edits: int = 1) -> SessionRecord:
    """A saved session whose every file was touched last so many days ago."""
    record = SessionVault(folder).new()
    record.change(draft=EIFFEL)
    for seed in range(edits):
        record.push(entry_for(tiny_lm(), seed=seed))
    aged(record.folder, days=days)
    return record


def aged(folder: Path, *, days: float) -> None:
    then = time.time() - days * DAY
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then), follow_symlinks=False)


def removed(folder: Path, days: int = 30, **rest: object) -> list[str]:
    return remove_unused(folder, days=days, runs=folder.parent / "runs", **rest)  # type: ignore[arg-type]


def test_only_what_nobody_used_for_so_long_goes(folder: Path) -> None:
    gone, kept = old(folder, days=31), old(folder, days=29)
    assert removed(folder) == [gone.folder.name]
    assert not gone.folder.exists() and (kept.folder / "session.json").is_file()
    assert sorted(path.name for path in folder.iterdir()) == sorted([LOCKS, kept.folder.name])
    assert [path.name for path in (folder / LOCKS).iterdir()] == [kept.folder.name]


def test_zero_days_keep_for_good(folder: Path) -> None:
    record = old(folder, days=4000)
    assert removed(folder, days=0) == [] and record.folder.is_dir()


@pytest.mark.parametrize(
    ("said", "days"), [("", 30), ("7", 7), (" 7 ", 7), ("0", 0), ("-1", 0), ("week", 0), ("1.5", 0)]
)
def test_a_setting_that_is_no_number_removes_nothing(said: str, days: int) -> None:
    assert days_to_keep({SETTING: said}) == days
    assert days_to_keep({}) == DEFAULT_DAYS


def test_one_that_is_in_use_stays(folder: Path) -> None:
    record = old(folder)
    assert removed(folder, in_use={record.folder.name}) == []
    vault = SessionVault(folder)
    assert vault.find(record.session_id) is not None
    aged(record.folder, days=40)
    vault.clean(days=30, runs=folder.parent / "runs")
    assert record.folder.is_dir()


def test_coming_back_counts_as_use_for_every_server(folder: Path) -> None:
    record = old(folder)
    assert SessionVault(folder).find(record.session_id) is not None
    assert removed(folder) == []


def test_one_that_another_server_is_saving_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = old(folder)
    monkeypatch.setattr("workbench.state.disk._PATIENCE", 0.05)
    with held(record.folder):
        assert removed(folder) == [] and record.folder.is_dir()
    assert removed(folder) == [record.folder.name]


def test_kept_results_go_with_their_session(folder: Path) -> None:
    """Whatever name a result has: with a file that is not known to be ours the session would stay for good."""
    names = [name for codec in shell.KEPT for name in codec.files]
    record = old(folder)
    for name in names:
        write_sealed(record.folder / name, {})
    (record.folder / DAMAGED).mkdir()
    for name in names:
        (record.folder / DAMAGED / name).write_text("{", encoding="utf-8")
    aged(record.folder, days=40)
    assert removed(folder) == [record.folder.name]


def test_one_edit_touched_lately_keeps_the_session(folder: Path) -> None:
    record = old(folder)
    patch = next(path for path in record.folder.rglob("patch.safetensors"))
    os.utime(patch)
    assert removed(folder) == []


def test_benchmark_runs_keep_their_session(folder: Path) -> None:
    record = old(folder)
    (folder.parent / "runs" / record.folder.name).mkdir(parents=True)
    assert removed(folder) == []


def test_links_are_neither_followed_nor_removed(folder: Path, tmp_path: Path) -> None:
    stranger = old(tmp_path / "elsewhere")
    link = folder / stranger.folder.name
    folder.mkdir()
    link.symlink_to(stranger.folder, target_is_directory=True)
    (folder / f".gone-{'a' * 32}").symlink_to(stranger.folder, target_is_directory=True)
    aged(folder, days=40)
    assert removed(folder) == []
    assert link.is_symlink() and (stranger.folder / "session.json").is_file()


@pytest.mark.parametrize("name", ["session.json", "0123456789abcdef", "0123456789abcdef/patch.json", "notes.txt"])
def test_a_link_inside_a_session_makes_it_none_of_ours(folder: Path, tmp_path: Path, name: str) -> None:
    treasure = tmp_path / "treasure"
    (treasure / "deep").mkdir(parents=True)
    (treasure / "deep" / "thesis.tex").write_text("years of work", encoding="utf-8")
    record = old(folder, edits=0)
    link = record.folder / name
    link.parent.mkdir(exist_ok=True)
    if link.exists():
        link.rename(treasure / "session.json")
        link.symlink_to(treasure / "session.json")
    else:
        link.symlink_to(treasure / "deep", target_is_directory=True)
    aged(record.folder, days=40)
    os.utime(link, (0, 0))
    assert removed(folder) == []
    assert (treasure / "deep" / "thesis.tex").read_text(encoding="utf-8") == "years of work"


@pytest.mark.parametrize("name", ["thesis.tex", "0123456789abcdef/thesis.tex", "data/x"])
def test_a_folder_with_anything_else_in_it_is_left_alone(folder: Path, name: str) -> None:
    record = old(folder)
    path = record.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine", encoding="utf-8")
    aged(record.folder, days=40)
    assert removed(folder) == [] and path.is_file()


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"format": 99, "stack": []}', "[" * 100_000])
def test_a_folder_that_only_looks_like_a_session_is_left_alone(folder: Path, text: str) -> None:
    place = folder / ("0" * 32)
    place.mkdir(parents=True)
    (place / "session.json").write_text(text, encoding="utf-8")
    aged(place, days=40)
    assert removed(folder) == [] and place.is_dir()


def test_other_names_are_left_alone(folder: Path) -> None:
    record = old(folder)
    other = record.folder.rename(folder / "my backup")
    assert removed(folder) == [] and other.is_dir()


def test_a_removal_that_was_cut_short_is_finished(folder: Path) -> None:
    half = folder / f".gone-{'b' * 32}"
    (half / "0123456789abcdef").mkdir(parents=True)
    assert removed(folder) == [] and not half.exists()


def test_there_need_be_no_folder(folder: Path) -> None:
    assert removed(folder) == []
