"""The user's cache folder, and atomic writes of files and folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from kgmet.base.errors import KgmetError, UnwritableError

__all__ = ["cache_dir", "check_writable", "folder_written_whole", "written_whole"]


def cache_dir() -> Path:
    """Return the user's cache folder for this project; ``KGMET_CACHE`` overrides it (``~`` is expanded)."""
    named = os.environ.get("KGMET_CACHE", "").strip()
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("kgmet-workbench", appauthor=False))


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` at the end, or is deleted after an error.

    Raises:
        UnwritableError: if the place is read-only, full or gone.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
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
    except OSError as error:
        raise UnwritableError(f"{folder} cannot be written: {_reason(error)}. {advice}") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except KgmetError:
        raise
    except OSError as error:
        raise UnwritableError(
            f"{path} cannot be written: {_reason(error)}. Free some room there, or choose another place."
        ) from error


def _flush(path: Path) -> None:
    """Flush the file to disk, so that a power cut leaves either the old file or the new one."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
