"""Saving a session: `session.json` lists its edits, and each has a folder with its patch and report.

Every file is written atomically. `session.json` comes last, so an interrupted save leaves the previous session. A save
holds the session's lock, so of two servers that save one session at once the second sees what the first wrote, and
stops. `workbench.state.opening` reads it back.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from kgmet.base.errors import FileError, UnwritableError
from kgmet.base.files import read_bytes
from kgmet.base.fingerprint import digest
from kgmet.write.patch import PATCH_FILES, save_patch
from workbench.state.codec import ID, made_to_json, session_to_json
from workbench.state.kept import codecs, file_of, save_result
from workbench.state.sealed import STATE_FILE, write_sealed
from workbench.state.values import SavedSession, StackEntry

__all__ = [
    "DAMAGED",
    "LOCKS",
    "REPORT",
    "SESSION",
    "check_unchanged",
    "held",
    "patch_folders",
    "remove_patches",
    "save_entry",
    "save_session",
    "set_aside",
    "stamp",
]

SESSION = "session.json"
REPORT = "report.json"
"""File beside each patch with the edit's report and search curve."""
DAMAGED = "damaged"
"""Folder in the session for damaged parts."""
LOCKS = ".locks"
"""Folder beside the sessions with an empty file for each, named like it, that is locked while the session is saved."""
_PATIENCE = 20.0
"""Seconds to wait for another process that is saving or reading the same session."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep every other process, and every other record of the session, from saving it meanwhile.

    The operating system ends the lock with the process, however that ends.

    Raises:
        UnwritableError: if the place is read-only, full or gone, or another process holds the session for long.
    """
    place = folder.parent / LOCKS
    with _writing(folder):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(place / folder.name)
        try:
            lock.acquire(timeout=_PATIENCE, poll_interval=0.01)
        except Timeout as error:
            raise UnwritableError(
                f"Another server is saving this session and does not finish ({folder}). Run one server for one cache "
                "folder."
            ) from error
    try:
        yield
    finally:
        lock.release()


def save_session(folder: Path, saved: SavedSession, *, even_blank: bool = False) -> None:
    """Save a session: first the patches, then the file that lists them.

    An empty session is not saved unless requested. Each save has a random mark, so that `stamp` tells it from every
    other, even from one with the same edits.

    Raises:
        UnwritableError: if the place is read-only, full or gone; the previous save is kept.
    """
    if saved.is_blank and not even_blank and not folder.is_dir():
        return
    with _writing(folder):
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if not os.path.lexists(folder / SESSION) and not patch_folders(folder):
            # From now on, patches without this file mean that it was lost.
            _write_list(folder, replace(saved, stack=(), redo=()))
        for entry in saved.entries:
            save_entry(folder / entry.id, entry)
        _write_list(folder, saved)


def stamp(folder: Path) -> str:
    """Return a digest of the file that names the edits, as it is now; empty if it cannot be read or is not there."""
    try:
        return digest(read_bytes(folder / SESSION, limits=STATE_FILE, within=folder))
    except FileError:
        return ""


def check_unchanged(folder: Path, known: str) -> None:
    """Make sure that the session on disk is the one this process knows, or none.

    Raises:
        UnwritableError: if another process saved it since.
    """
    if stamp(folder) not in ("", known):
        raise UnwritableError(
            f"Another server on the same cache folder saved this session, and nothing is written over it ({folder}). "
            "Export your edits on the Ledger page, and run one server for one cache folder."
        )


def set_aside(folder: Path, names: Collection[str]) -> None:
    """Move damaged parts of a session into its folder `damaged/`; missing ones are skipped.

    `session.json` also stays until a new one replaces it.

    Raises:
        UnwritableError: if one cannot be moved.
    """
    place = folder / DAMAGED
    with _writing(folder):
        for name in names:
            if os.path.lexists(folder / name):
                place.mkdir(mode=0o700, exist_ok=True)
                if place.is_symlink():
                    raise UnwritableError(f"{place} is a link. Remove it.")
                _keep(folder / name, _free(place, name.replace("/", "-")))


def remove_patches(folder: Path, names: Collection[str]) -> None:
    """Remove the folders of unlisted edits; those that cannot be removed stay."""
    for name in names:
        if re.fullmatch(ID, name):
            shutil.rmtree(folder / name, ignore_errors=True)


def patch_folders(folder: Path) -> list[str]:
    """Return the names of possible edit folders in a session's folder; none if it cannot be read."""
    try:
        return sorted(path.name for path in folder.iterdir() if re.fullmatch(ID, path.name))
    except OSError:
        return []


def _write_list(folder: Path, saved: SavedSession) -> None:
    write_sealed(folder / SESSION, session_to_json(saved) | {"mark": secrets.token_hex(8)})


def save_entry(folder: Path, entry: StackEntry) -> None:
    """Write an edit that is not saved yet; patches, reports and figures never change."""
    for name in entry.figures.keys() & codecs().keys():
        if not (folder / file_of(name)).is_file():
            save_result(folder, name, entry.figures[name])
    if not (folder / REPORT).is_file():
        write_sealed(folder / REPORT, made_to_json(entry))
    if not all((folder / name).is_file() for name in PATCH_FILES):
        save_patch(entry.patch, folder)


def _keep(path: Path, target: Path) -> None:
    if path.name != SESSION or not stat.S_ISREG(path.lstat().st_mode):
        path.rename(target)
        return
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, target)


def _free(place: Path, name: str) -> Path:
    """Return an unused path in `place`."""
    stem, dot, ending = name.partition(".")
    number, found = 1, place / name
    while os.path.lexists(found):
        number += 1
        found = place / f"{stem}-{number}{dot}{ending}"
    return found


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except UnwritableError:
        raise
    except OSError as error:
        raise UnwritableError(f"{folder} cannot be written: {error.strerror or error}.") from error
