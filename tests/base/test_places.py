"""Files are put only where a file may be, and a cache folder that cannot be is said in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kgmet.base.cache import cache_dir, check_place, check_writable, written_whole
from kgmet.base.errors import ConfigError, UnwritableError


def put(path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("new", encoding="utf-8")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_device_or_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """A file written to /dev/null must not become /dev/null."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, why in (("pipe", "is a device or a pipe"), ("folder", "is a folder")):
        for act in (put, lambda path: check_place(path, advice="Choose another.")):
            with pytest.raises(UnwritableError, match=why):
                act(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "folder").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_of_a_link_the_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "device").symlink_to(os.devnull)
    for name in ("link", "device"):
        put(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == "new" and not (tmp_path / name).is_symlink()
    assert (tmp_path / "mine").read_text(encoding="utf-8") == "old"


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    for name in ("a" * 256, "a\0b", "東" * 90):
        for act in (put, lambda path: check_place(path, advice="."), lambda path: check_writable(path, advice=".")):
            with pytest.raises(UnwritableError):
                act(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    for name in ("a" * 255, "東" * 85):
        check_place(tmp_path / name, advice=".")
        put(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == "new"


def test_a_cache_folder_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGMET_CACHE", "/tmp/" + "a" * 256)
    with pytest.raises(ConfigError, match=r"KGMET_CACHE is .* a name longer than a folder can have"):
        cache_dir()
    monkeypatch.setenv("KGMET_CACHE", "/tmp/" + "a" * 255)
    assert cache_dir().name == "a" * 255
