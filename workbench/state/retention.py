"""Delete session folders unused for N days, and nothing else."""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from kgmet.base.errors import FileError
from workbench.state.codec import FORMATS
from workbench.state.disk import DAMAGED, LOCKS, SESSION, held
from workbench.state.sealed import read_object

__all__ = [
    "DEFAULT_DAYS",
    "SETTING",
    "days_to_keep",
    "is_own",
    "is_unused_copy",
    "mark_used",
    "remove_folder",
    "remove_unused",
]

LOG = logging.getLogger(__name__)
SETTING = "KGMET_SESSION_DAYS"
"""Environment variable with the number of days; 0 keeps sessions forever."""
DEFAULT_DAYS = 30
_DAY = 86_400.0
_HOUR = 3_600.0
_FOLDER = re.compile(r"[0-9a-f]{32}")
_GONE = re.compile(r"\.gone-[0-9a-f]{32}")
_NAME = r"(session|compare|result-[\w-]{1,40})"
_FILE = re.compile(rf"{_NAME}\.json|\.{_NAME}\.json\..+")
_OF_EDIT = r"(report|result-[\w-]{1,40})"
_DAMAGED = re.compile(rf"{_NAME}(-\d+)?\.json|[0-9a-f]{{16}}(-\d+)?|[0-9a-f]{{16}}-{_OF_EDIT}(-\d+)?\.json")
_PATCH = re.compile(r"[0-9a-f]{16}")
_LINK_FILE = re.compile(r"\.?link\.json(\..+)?")
_PATCH_FILE = re.compile(rf"\.?(patch\.(json|safetensors)|{_OF_EDIT}\.json)(\..+)?")


def days_to_keep(environment: Mapping[str, str]) -> int:
    """Return the days an unused session is kept; 0 (also for an invalid value) means forever."""
    asked = environment.get(SETTING, "").strip()
    if not asked:
        return DEFAULT_DAYS
    if not asked.isdecimal() or len(asked) > 6:
        LOG.warning("%s is %r, which is no number of days; no session is removed", SETTING, asked)
        return 0
    return int(asked)


def mark_used(path: Path) -> None:
    """Record by a file's time that its folder was used, at most once an hour; does nothing where there is none."""
    try:
        if time.time() - path.stat().st_mtime > _HOUR:
            os.utime(path)
    except OSError:
        return


def remove_unused(sessions: Path, *, days: int, runs: Path, in_use: Collection[str] = ()) -> list[str]:
    """Remove session folders unused for the given days, and return their names.

    Only a real folder of this user is removed, if its name and all its contents are ours; links are neither followed
    nor removed. A session with benchmark runs stays, because only it leads to them.

    Args:
        sessions: the folder with the session folders.
        days: days an unused session is kept; 0 removes nothing.
        runs: the folder with the sessions' benchmark runs, under the same names.
        in_use: names of session folders in use by this process.
    """
    removed: list[str] = []
    if days <= 0 or not sessions.is_dir():
        return removed
    oldest = time.time() - days * _DAY
    for folder in sorted(sessions.iterdir()):
        if _GONE.fullmatch(folder.name) and is_own(folder, stat.S_ISDIR):
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.name not in in_use and _is_unused(folder, oldest) and not (runs / folder.name).exists():
            try:
                with held(folder):
                    if _is_unused(folder, oldest):  # no other server saved it meanwhile
                        removed += _removed(folder)
            except OSError as error:
                LOG.warning("the unused session %s could not be removed: %r", folder.name, error)
    if removed:
        LOG.info("%d sessions unused for %d days were removed", len(removed), days)
    return removed


def remove_folder(folder: Path) -> None:
    """Remove a folder, renamed first: what an interrupted removal leaves is never taken for a whole one."""
    gone = folder.with_name(f".gone-{folder.name}")
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _removed(folder: Path) -> list[str]:
    remove_folder(folder)
    (folder.parent / LOCKS / folder.name).unlink(missing_ok=True)
    return [folder.name]


def _is_unused(folder: Path, oldest: float) -> bool:
    """Return whether this is a session folder with only our files, none of them changed since `oldest`."""
    if not _FOLDER.fullmatch(folder.name) or not is_own(folder, stat.S_ISDIR):
        return False
    try:
        files = _own_files(folder)
        return files is not None and all(path.lstat().st_mtime < oldest for path in files) and _is_session(folder)
    except OSError:
        return False


def is_unused_copy(folder: Path, oldest: float) -> bool:
    """Return whether this is a published edit's folder with only our files, none of them changed since `oldest`."""
    if not is_own(folder, stat.S_ISDIR):
        return False
    files = list(folder.iterdir())
    return all(
        (_PATCH_FILE.fullmatch(path.name) or _LINK_FILE.fullmatch(path.name))
        and is_own(path, stat.S_ISREG)
        and path.lstat().st_mtime < oldest
        for path in files
    )


def _own_files(folder: Path) -> list[Path] | None:
    """Return all files of a session folder; ``None`` if it contains anything else."""
    found: list[Path] = []
    for path in folder.iterdir():
        inner: list[Path] | None = None
        if _FILE.fullmatch(path.name) and is_own(path, stat.S_ISREG):
            inner = [path]
        elif _PATCH.fullmatch(path.name):
            inner = _files_of_patch(path)
        elif path.name == DAMAGED and is_own(path, stat.S_ISDIR):
            inner = _damaged_files(path)
        if inner is None:
            return None
        found += inner
    return found


def _files_of_patch(folder: Path) -> list[Path] | None:
    if not is_own(folder, stat.S_ISDIR):
        return None
    files = list(folder.iterdir())
    return files if all(_PATCH_FILE.fullmatch(file.name) and is_own(file, stat.S_ISREG) for file in files) else None


def _damaged_files(folder: Path) -> list[Path] | None:
    found: list[Path] = []
    for path in folder.iterdir():
        inner = [path] if is_own(path, stat.S_ISREG) else _files_of_patch(path)
        if inner is None or not _DAMAGED.fullmatch(path.name):
            return None
        found += inner
    return found


def is_own(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Return whether the path itself (not a link's target) is of this kind and belongs to this user."""
    try:
        status = path.lstat()
    except OSError:
        return False
    is_ours = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return is_ours and is_kind(status.st_mode)


def _is_session(folder: Path) -> bool:
    try:
        data = read_object(folder / SESSION, within=folder)
    except FileError:
        return False
    return data.get("format") in FORMATS and "stack" in data
