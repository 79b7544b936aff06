"""`RunFolder`: a run on disk that survives being killed at any time.

Tables are JSON lines that are only appended to, each append one write followed by a flush to disk. A truncated last
line is dropped when the folder is opened again. Patches are written atomically.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kgmet.base.cache import check_writable, written_whole
from kgmet.base.errors import BrokenArtifactError, ConfigError, FileError, StaleArtifactError, UnwritableError
from kgmet.base.files import Limits, is_file, parse_json, read_bytes, read_json_object
from kgmet.write.patch import EditPatch, is_patch, load_patch, save_patch

__all__ = ["RunFolder", "Table", "is_run", "new_run", "read_settings"]

_TABLE = Limits(n_bytes=8 << 30)
_HEADER = Limits(n_bytes=64 << 20)


class Table:
    """An append-only file of JSON lines. Opening it drops a truncated last line.

    A table that is only `looked_at`, or `is_shared` between processes, is never repaired, because another process may
    be writing its last line. In a shared table, unreadable lines are skipped.

    Raises:
        BrokenArtifactError: if a line other than the last is damaged.
    """

    def __init__(self, path: Path, *, is_shared: bool = False, looked_at: bool = False) -> None:
        self._path = path
        self._is_shared = is_shared
        self._looked_at = looked_at
        self.rows: list[dict[str, Any]] = []
        self.reload()

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows; they are on disk when this returns.

        Raises:
            UnwritableError: if the place is read-only, full or gone.
        """
        added = [dict(row) for row in rows]
        if not added:
            return
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in added)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UnwritableError(
                f"{self._path} cannot be written: {error.strerror or error}. Free some room and continue the run; "
                "rows written before are kept."
            ) from error
        self.rows += added

    def reload(self) -> None:
        """Read rows that other processes may have added."""
        self.rows = []
        if self._path.exists() or self._path.is_symlink():
            self._read()

    def _read(self) -> None:
        data = read_bytes(self._path, limits=_TABLE, within=self._path.parent)
        end = 0
        for line in data.splitlines(keepends=True):
            try:
                row = self._row(line) if line.endswith(b"\n") else None
            except FileError as error:
                if end + len(line) < len(data) and not self._is_shared:
                    raise BrokenArtifactError(
                        f"{self._path} is damaged at byte {end}: {error} Delete the file to start over."
                    ) from error
                row = None
            if row is None and not self._is_shared:
                break
            if row is not None:
                self.rows.append(row)
            end += len(line)
        if end < len(data) and not self._looked_at:
            with self._path.open("r+b") as file:
                file.truncate(end)

    def _row(self, line: bytes) -> dict[str, Any]:
        row = parse_json(line, where=self._path.name, finite=False)
        if not isinstance(row, dict):
            raise BrokenArtifactError(f"A row must be an object, got {type(row).__name__}.")
        return row


class RunFolder:
    """``settings.json``, ``cases.jsonl``, ``batches.jsonl``, ``checkpoints.jsonl`` and ``patches/``."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Open or make the folder.

        Raises:
            StaleArtifactError: if it belongs to a run with other settings, data or model.
            BrokenArtifactError: if a table in it is damaged.
        """
        self.path = path
        settings = path / "settings.json"
        if settings.exists() or settings.is_symlink():
            _check_same(read_settings(path), header, path)
        else:
            with written_whole(settings) as temporary:
                temporary.write_text(json.dumps(header, ensure_ascii=False, indent=1), encoding="utf-8")
        self.cases = Table(path / "cases.jsonl")
        self.batches = Table(path / "batches.jsonl")
        self.checkpoints = Table(path / "checkpoints.jsonl")

    def save_patch(self, number: int, patch: EditPatch) -> None:
        """Save the patch of one batch."""
        save_patch(patch, self._patch_folder(number))

    def load_patch(self, number: int) -> EditPatch | None:
        """Load the patch of one batch; ``None`` if there is none."""
        folder = self._patch_folder(number)
        return load_patch(folder) if is_patch(folder) else None

    def _patch_folder(self, number: int) -> Path:
        return self.path / "patches" / f"{number:05d}"


def read_settings(path: Path) -> dict[str, Any]:
    """Read the header of a run.

    Raises:
        BrokenArtifactError: if there is none.
    """
    try:
        return read_json_object(path / "settings.json", limits=_HEADER, within=path)
    except FileError as error:
        raise BrokenArtifactError(f"{path} is not a run folder: {error} Give a folder that evaluate made.") from error


def is_run(path: Path) -> bool:
    """Return whether a folder is that of a run that has begun."""
    return is_file(path / "settings.json")


def new_run(directory: Path, name: str | None = None) -> Path:
    """Make the next free ``run_NNN`` in a folder, or return the run with this name.

    Raises:
        ConfigError: if there is no run with this name.
        UnwritableError: if nothing can be written there.
    """
    if name is not None:
        if not is_run(directory / name):
            raise ConfigError(f"There is no run {name!r} in {directory} to continue from. Leave the option out.")
        return directory / name
    check_writable(directory, advice="Choose another folder with --out.")
    number = 0
    while True:
        path = directory / f"run_{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
            continue
        return path


def _check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    for part in ("settings", "fingerprints"):
        differing = list(_differences(found.get(part), json.loads(json.dumps(wanted[part])), ""))
        if differing:
            name, before, now = differing[0]
            more = "".join(f"; {other} {_short(was)} (now {_short(is_now)})" for other, was, is_now in differing[1:6])
            raise StaleArtifactError(
                f"{path} was begun with {part} {name} = {_short(before)}; now it is {_short(now)}{more}. "
                "Continue it with what it was begun with, or start a new run."
            )


def _differences(before: Any, now: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted name, value before, value now) of every leaf that differs."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif before != now:
        yield name, before, now


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
