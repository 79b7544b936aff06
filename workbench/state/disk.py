"""A session on disk: `session.json` names its edits, and each has a folder with its patch and report.

Every file is written whole or not at all. `session.json` comes last, so a save that is cut short leaves the session as
it was. `workbench.state.opening` reads it back.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from kgmet.base.errors import UnwritableError
from kgmet.write.patch import save_patch
from workbench.state.codec import ID, made_to_json, session_to_json
from workbench.state.sealed import write_sealed
from workbench.state.values import SavedSession, StackEntry

__all__ = ["DAMAGED", "REPORT", "SESSION", "patch_folders", "remove_patches", "save_session", "set_aside"]

SESSION = "session.json"
REPORT = "report.json"
"""Beside each patch: what was measured when the edit was made."""
DAMAGED = "damaged"
"""Folder of the session for what could not be read."""
_PATCH_FILES = ("patch.json", "patch.safetensors")


def save_session(folder: Path, saved: SavedSession, *, even_blank: bool = False) -> None:
    """Write what a restart must not lose: first the patches, then the file that names them.

    A session in which nothing was done leaves no trace, unless told otherwise.

    Raises:
        UnwritableError: if the place is read-only, full or gone. What was saved before is still there then.
    """
    if saved.is_blank and not even_blank and not folder.is_dir():
        return
    with _writing(folder):
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if not os.path.lexists(folder / SESSION) and not patch_folders(folder):
            # From now on, patches without this file are a session that lost it.
            write_sealed(folder / SESSION, session_to_json(replace(saved, stack=(), redo=())))
        for entry in saved.entries:
            _save_entry(folder / entry.id, entry)
        write_sealed(folder / SESSION, session_to_json(saved))


def set_aside(folder: Path, names: Collection[str]) -> None:
    """Move damaged parts of a session into its folder `damaged/`; what is gone by now is passed over.

    `session.json` also stays in its place until a new one replaces it.

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
    """Remove the folders of edits that are in no list any more; what cannot be removed stays."""
    for name in names:
        if re.fullmatch(ID, name):
            shutil.rmtree(folder / name, ignore_errors=True)


def patch_folders(folder: Path) -> list[str]:
    """Names of what may be an edit's folder in a session's; none if that cannot be looked into."""
    try:
        return sorted(path.name for path in folder.iterdir() if re.fullmatch(ID, path.name))
    except OSError:
        return []


def _save_entry(folder: Path, entry: StackEntry) -> None:
    """Write an edit that is not there yet; neither patch nor report of an edit ever changes."""
    if not (folder / REPORT).is_file():
        write_sealed(folder / REPORT, made_to_json(entry))
    if not all((folder / name).is_file() for name in _PATCH_FILES):
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
    """A path in `place` that nothing has yet."""
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
