"""Published results: a copy is whole or not there, never changes, and is opened only by its token."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kgmet.base import cache
from kgmet.base.errors import UnwritableError
from kgmet.measure.told import Told
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import entry_for
from workbench.shared.told import Telling, ToldEdit
from workbench.state import published
from workbench.state.disk import REPORT
from workbench.state.kept import file_of
from workbench.state.published import FILE, LinkError, PublishedLinks
from workbench.state.values import Result, StackEntry
from workbench.state.vault import SessionVault

DAY = 86_400.0
NOTHING, DAMAGED = "leads to no result", "is damaged"


@pytest.fixture
def links(tmp_path: Path) -> PublishedLinks:
    return PublishedLinks(tmp_path / "links", days=30)


def with_figure() -> StackEntry:
    """An edit with a note, beside which the model was told."""
    entry = entry_for(tiny_lm(), seed=1, name="mine", based_on=("0" * 16,))
    assert entry.report is not None
    told = Told(sentences=("Paris 1 is in Rome.",), answers=entry.report.before_answers)
    figure = Result(value=ToldEdit(entry_id=entry.id, telling=Telling.FACT, told=told), made_from="then")
    return replace(entry, note="private", figures={"told": figure})


def published_in(links: PublishedLinks, entry: StackEntry | None = None) -> str:
    return links.publish(entry or with_figure(), model="tiny", dtype="float32")


def folder_of(tmp_path: Path) -> Path:
    (folder,) = [path for path in (tmp_path / "links").iterdir() if not path.name.startswith(".")]
    return folder


def same(one: StackEntry, other: StackEntry) -> bool:
    """Whether two entries have the same patch to the bit, report, curve and choices."""
    tensors = [
        torch.equal(a.output_factor, b.output_factor) and torch.equal(a.input_factor, b.input_factor)
        for a, b in zip(one.patch.updates, other.patch.updates, strict=True)
    ]
    assert one.report is not None and other.report is not None
    return (
        all(tensors)
        and one.id == other.id
        and one.report.to_json() == other.report.to_json()
        and (one.curve, one.exclude, one.leave, one.based_on)
        == (other.curve, other.exclude, other.leave, other.based_on)
    )


def test_the_token_opens_the_edit_with_its_figures_and_without_the_note(links: PublishedLinks, tmp_path: Path) -> None:
    entry = with_figure()
    token = published_in(links, entry)
    about = links.about(token)
    assert (about.sentence, about.model, about.editor) == ("Paris 1 is in → Rome", "tiny", "KGMET")
    assert (about.figures, about.n_under) == (("told",), 1)
    found = links.open(token)
    assert same(found, entry) and found.name == "mine" and found.note == ""
    assert found.figures["told"].value == entry.figures["told"].value
    assert "private" not in "".join(path.read_text("utf-8", "replace") for path in folder_of(tmp_path).iterdir())


def test_another_process_opens_it_and_what_becomes_of_the_edit_does_not_matter(tmp_path: Path) -> None:
    record = SessionVault(tmp_path / "sessions").new()
    entry = with_figure()
    record.push(entry)
    token = published_in(PublishedLinks(tmp_path / "links", days=30), entry)
    record.change(stack=(), redo=())
    again = PublishedLinks(tmp_path / "links", days=30)
    first, second = again.open(token), again.open(token)
    assert same(first, entry) and same(second, entry) and first is not second


def test_no_file_or_folder_tells_the_token_or_a_session(links: PublishedLinks, tmp_path: Path) -> None:
    record = SessionVault(tmp_path / "sessions").new()
    token = published_in(links)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    folder = folder_of(tmp_path)
    told = folder.name + "".join(path.name + path.read_text("utf-8", "replace") for path in folder.iterdir())
    assert token not in told and token[:20] not in told
    assert record.session_id not in told and record.folder.name not in told
    assert (tmp_path / "links").stat().st_mode & 0o077 == 0


HOSTILE = (
    "",
    ".",
    "..",
    "../sessions",
    "..%2f..%2fsessions",
    "%2e%2e/%2e%2e",
    "/etc/hostname",
    "a" * 42,
    "a" * 44,
    "a" * 43 + "\n",
    "a" * 42 + "/",
    "a" * 42 + "\0",
    "ａ" * 43,
    "a" * 100_000,
    "0" * 32,
    "\ud800" * 43,
)


@pytest.mark.parametrize("token", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_token_leads_to_nothing(links: PublishedLinks, token: str) -> None:
    published_in(links)
    assert not links.is_there(token)
    for ask in (links.about, links.open):
        with pytest.raises(LinkError, match=NOTHING):
            ask(token)
    links.withdraw(token)


def test_the_name_of_its_folder_is_no_token(links: PublishedLinks, tmp_path: Path) -> None:
    published_in(links)
    with pytest.raises(LinkError, match=NOTHING):
        links.open(folder_of(tmp_path).name)


def test_withdrawn_it_leads_to_nothing_and_others_stay(links: PublishedLinks) -> None:
    gone, kept = published_in(links), published_in(links)
    links.withdraw(gone)
    assert not links.is_there(gone) and links.open(kept).name == "mine"
    with pytest.raises(LinkError, match=NOTHING):
        links.about(gone)
    links.withdraw(gone)


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-30])


def flipped(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(bytes(data))

    return change


def led_elsewhere(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        elsewhere = folder.parent.parent / name
        (folder / name).rename(elsewhere)
        (folder / name).symlink_to(elsewhere)

    return change


def of_another(name: str) -> Callable[[Path], None]:
    """A sound file, of another published edit."""

    def change(folder: Path) -> None:
        other = PublishedLinks(folder.parent.parent / "other", days=30)
        other.publish(entry_for(tiny_lm(), seed=2), model="tiny", dtype="float32")
        (source,) = [path for path in (folder.parent.parent / "other").iterdir() if path.is_dir()]
        (folder / name).write_bytes((source / name).read_bytes())

    return change


def edited(name: str, key: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = json.loads((folder / name).read_text("utf-8"))
        (folder / name).write_text(json.dumps({**data, key: value}), "utf-8")

    return change


FILES = ("patch.json", "patch.safetensors", REPORT, FILE, file_of("told"))
DAMAGE: dict[str, Callable[[Path], None]] = {
    **{f"{name} cut off": cut(name) for name in FILES},
    **{f"a bit of {name}": flipped(name) for name in FILES},
    **{f"{name} leads elsewhere": led_elsewhere(name) for name in FILES},
    **{f"{name} is gone": lambda folder, name=name: (folder / name).unlink() for name in FILES},  # type: ignore[misc]
    "another one's description": of_another(FILE),
    "another one's tensors": of_another("patch.safetensors"),
    "another format": edited(FILE, "format", 7),
    "a number for the description": edited(FILE, "about", 3),
    "deep": lambda folder: (folder / FILE).write_text("[" * 100_000) and None,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_one_sentence_without_a_path(
    links: PublishedLinks, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    token = published_in(links)
    damage(folder_of(tmp_path))
    with pytest.raises(LinkError, match=DAMAGED) as said:
        links.open(token)
    assert str(tmp_path) not in str(said.value) and str(said.value).count(". ") == 1
    links.withdraw(token)
    assert not links.is_there(token), "what is damaged can be withdrawn"


def test_a_folder_that_is_a_link_is_not_followed(links: PublishedLinks, tmp_path: Path) -> None:
    token = published_in(links)
    folder = folder_of(tmp_path)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    for ask in (links.about, links.open):
        with pytest.raises(LinkError, match=NOTHING):
            ask(token)
    links.withdraw(token)
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == sorted(FILES)


def test_a_full_disk_leaves_nothing(links: PublishedLinks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write fails."""
    made, n_file = cache.tempfile.mkstemp, 0

    def fails(*given: Any, **named: Any) -> Any:
        nonlocal n_file
        n_file -= 1
        if n_file < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return made(*given, **named)

    monkeypatch.setattr(cache.tempfile, "mkstemp", fails)
    for n_before in range(len(FILES)):
        n_file = n_before
        with pytest.raises(UnwritableError, match="No space left"):
            published_in(links)
        assert list((tmp_path / "links").iterdir()) == []
    n_file = len(FILES)
    assert links.open(published_in(links)).name == "mine"


def test_too_large_a_result_is_refused_and_leaves_nothing(
    links: PublishedLinks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MOST_BYTES", 2_000)
    with pytest.raises(LinkError, match="takes at most"):
        published_in(links)
    assert list((tmp_path / "links").iterdir()) == []


@pytest.mark.parametrize(("limit", "most"), [("MOST_COPIES", 2), ("MOST_BYTES_OF_ALL", 9_000)])
def test_a_full_server_refuses_in_words(
    links: PublishedLinks, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(published, limit, most)
    with pytest.raises(LinkError, match="as many published results as it takes"):
        for _ in range(40):
            token = published_in(links)
    links.withdraw(token)
    published_in(links)


def aged(folder: Path, *, days: float) -> None:
    then = time.time() - days * DAY
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then), follow_symlinks=False)


def test_it_goes_after_the_days_of_a_session(links: PublishedLinks, tmp_path: Path) -> None:
    token = published_in(links)
    folder = folder_of(tmp_path)
    aged(folder, days=29)
    assert links.clean() == 0 and links.is_there(token)
    aged(folder, days=31)
    with pytest.raises(LinkError, match=NOTHING):
        links.open(token)
    assert PublishedLinks(tmp_path / "links", days=0).is_there(token), "0 days keep for good"
    assert PublishedLinks(tmp_path / "links", days=0).clean() == 0
    assert links.clean() == 1 and not folder.exists()


def test_opening_it_counts_as_use(links: PublishedLinks, tmp_path: Path) -> None:
    token = published_in(links)
    folder = folder_of(tmp_path)
    aged(folder, days=29)
    links.open(token)
    assert time.time() - (folder / FILE).stat().st_mtime < 60
    assert links.clean() == 0


def test_cleaning_leaves_what_is_not_ours_and_follows_no_link(links: PublishedLinks, tmp_path: Path) -> None:
    published_in(links)
    folder = folder_of(tmp_path)
    (folder / "letter.txt").write_text("mine")
    aged(folder, days=400)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("x")
    for name in ("a" * 32, ".gone-" + "a" * 32, f".{'a' * 32}-abcdefgh"):
        (tmp_path / "links" / name).symlink_to(outside)
    assert links.clean() == 0
    assert (folder / "letter.txt").is_file() and (outside / "kept.txt").is_file()


def test_what_interrupted_work_left_goes_after_a_day(links: PublishedLinks, tmp_path: Path) -> None:
    published_in(links)
    left = [tmp_path / "links" / name for name in (".gone-" + "a" * 32, f".{'b' * 32}-abcd_123")]
    for path in left:
        path.mkdir()
    links.clean()
    assert all(path.is_dir() for path in left), "another server may be at work"
    for path in left:
        aged(path, days=2)
    links.clean()
    assert not any(path.exists() for path in left)


def test_figures_of_an_opened_edit_are_kept_with_it_and_a_damaged_one_is_set_aside(tmp_path: Path) -> None:
    vault = SessionVault(tmp_path / "sessions")
    record, entry = vault.new(), with_figure()
    record.add(entry)

    def restarted() -> Any:
        found = SessionVault(tmp_path / "sessions").find(record.session_id)
        assert found is not None
        return found

    again = restarted()
    assert again.saved.stack[0].figures["told"].value == entry.figures["told"].value and again.damage == ()
    path = record.folder / entry.id / file_of("told")
    path.write_bytes(path.read_bytes()[:-9])
    damaged = restarted()
    assert damaged.saved.stack[0].figures == {} and damaged.saved.stack[0].report is not None
    (said,) = damaged.damage
    assert "Of “mine”: What the told model answered" in said
    assert (record.folder / "damaged" / f"{entry.id}-{file_of('told')}").is_file()
    assert restarted().damage == ()


def test_adding_keeps_what_is_there(tmp_path: Path) -> None:
    record = SessionVault(tmp_path / "sessions").new()
    mine, undone, other = (entry_for(tiny_lm(), seed=seed) for seed in range(3))
    record.change(stack=(mine,), redo=(undone,))
    record.add(other)
    assert [item.id for item in record.saved.stack] == [mine.id, other.id]
    assert record.saved.redo == (undone,) and record.saved.focus == other.id
    record.add(replace(mine, name="of another"))
    assert record.saved.stack[0] is mine and len(record.saved.stack) == 2 and record.saved.focus == mine.id
    record.add(replace(undone, name="of another"))
    assert record.saved.redo == () and record.saved.stack[-1].name == undone.name
