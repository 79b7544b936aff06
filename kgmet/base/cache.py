"""The user's cache folder, and atomic writes of files and folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from kgmet.base.errors import ConfigError, KgmetError, UnwritableError

__all__ = ["cache_dir", "check_place", "check_writable", "folder_written_whole", "written_whole"]

_LONGEST_NAME = 255
"""Bytes of a folder's or a file's name, on every common file system."""
_LONGEST = 50
"""Characters of a file's name that are in that of the temporary file beside it, at most four bytes each."""


def cache_dir() -> Path:
    """Return the user's cache folder for this project; ``KGMET_CACHE`` overrides it (``~`` is expanded).

    Raises:
        ConfigError: if ``KGMET_CACHE`` names no folder that there can be.
    """
    named = os.environ.get("KGMET_CACHE", "").strip()
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in Path(named).parts):
        raise ConfigError(f"KGMET_CACHE is {named[:80]!r} …, a name longer than a folder can have. Choose another one.")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("kgmet-workbench", appauthor=False))


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` at the end, or is deleted after an error.

    Raises:
        UnwritableError: if the place is read-only, full or gone.
    """
    with _writing(path):
        _check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        try:
            yield temporary
            _flush(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes `folder` (missing or empty) at the end, or is deleted on error.

    Raises:
        UnwritableError: if `folder` holds anything, or the place is read-only, full or gone.
    """
    with _writing(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UnwritableError(f"{folder} holds something already. Choose a new or empty folder.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            made = work / "made"
            made.mkdir()
            yield made
            if folder.exists():
                folder.rmdir()
            made.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def check_writable(folder: Path, *, advice: str) -> None:
    """Make a folder and write a test file to it, so that long work does not fail at the end.

    Raises:
        UnwritableError: if that fails; the message ends with `advice`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".try-", dir=folder)
        try:
            os.write(handle, b"kgmet")
            os.fsync(handle)
        finally:
            os.close(handle)
            Path(name).unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # a NUL in the name
        raise _unwritable(folder, error, advice) from error


def check_place(path: Path, *, advice: str) -> None:
    """Make sure that `written_whole` can write a file at this place, and make the folder it goes into.

    Raises:
        UnwritableError: if it cannot; the message ends with `advice`.
    """
    try:
        _check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _temporary(path).unlink()
    except KgmetError:
        raise
    except (OSError, ValueError) as error:  # a NUL in the name
        raise _unwritable(path, error, advice) from error


def _check_replaceable(path: Path) -> None:
    """Refuse a folder, and a device such as /dev/null: a file put in its place would harm all who use it."""
    if "\0" in str(path):
        raise UnwritableError("The name of a file cannot hold the character U+0000. Give another name.")
    if path.exists() and not path.is_file() and not path.is_symlink():  # of a link only the link is replaced
        kind = "a folder" if path.is_dir() else "a device or a pipe"
        raise UnwritableError(f"{path} is {kind}, not a file. Give a file.")


def _temporary(path: Path) -> Path:
    """Make an empty file beside `path`, with a name of its own."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:_LONGEST]}.", dir=path.parent)
    os.close(handle)
    return Path(name)


def _unwritable(path: Path, error: OSError | ValueError, advice: str) -> UnwritableError:
    return UnwritableError(f"{str(path)[:300]} cannot be written: {_reason(error)}. {advice}")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except KgmetError:
        raise
    except OSError as error:
        raise _unwritable(path, error, "Free some room there, or choose another place.") from error


def _flush(path: Path) -> None:
    """Flush the file to disk, so that a power cut leaves either the old file or the new one."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
