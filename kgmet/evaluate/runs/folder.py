"""`RunFolder`: a run on disk that survives being killed at any moment.

Tables are JSON lines that are only ever appended to, each append one write followed by a flush to the disk; a last line
that was cut off is dropped when the folder is opened again. Patches are put in place whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kgmet.base.cache import written_whole
from kgmet.base.errors import BrokenArtifactError, ConfigError, StaleArtifactError
from kgmet.write.patch import EditPatch, load_patch, save_patch

__all__ = ["RunFolder", "Table", "new_run", "read_settings"]


class Table:
    """JSON lines, appended to and never rewritten. Opening it mends a last line that was cut off.

    A table that `is_shared` between processes is never mended, since the line may be one another process is just
    writing; lines that cannot be read are passed over there.
    """

    def __init__(self, path: Path, *, is_shared: bool = False) -> None:
        self._path = path
        self._is_shared = is_shared
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            self._read()

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows; once this returns they are on the disk."""
        added = [dict(row) for row in rows]
        if not added:
            return
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in added)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        self.rows += added

    def reload(self) -> None:
        """Read anew what other processes may have added."""
        self.rows = []
        if self._path.is_file():
            self._read()

    def _read(self) -> None:
        data = self._path.read_bytes()
        if self._is_shared:
            self.rows = [row for line in data.splitlines() if (row := _row_or_none(line)) is not None]
            return
        end = 0
        for line in data.splitlines(keepends=True):
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except json.JSONDecodeError as error:
                if end + len(line) < len(data):
                    raise BrokenArtifactError(
                        f"{self._path} is damaged at byte {end}: {error}. Delete the file to start over."
                    ) from error
                row = None
            if row is None:
                break
            self.rows.append(row)
            end += len(line)
        if end < len(data):
            with self._path.open("r+b") as file:
                file.truncate(end)


class RunFolder:
    """``settings.json``, ``cases.jsonl``, ``batches.jsonl``, ``checkpoints.jsonl`` and ``patches/``."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Open the folder, or make it.

        Raises:
            StaleArtifactError: if it belongs to a run with other settings, data or model.
            BrokenArtifactError: if a table in it is damaged.
        """
        self.path = path
        settings = path / "settings.json"
        if settings.is_file():
            _check_same(read_settings(path), header, path)
        else:
            path.mkdir(parents=True, exist_ok=True)
            with written_whole(settings) as temporary:
                temporary.write_text(json.dumps(header, ensure_ascii=False, indent=1), encoding="utf-8")
        self.cases = Table(path / "cases.jsonl")
        self.batches = Table(path / "batches.jsonl")
        self.checkpoints = Table(path / "checkpoints.jsonl")

    def save_patch(self, number: int, patch: EditPatch) -> None:
        """Keep the patch of one batch."""
        save_patch(patch, self._patch_folder(number))

    def load_patch(self, number: int) -> EditPatch | None:
        """The patch of one batch; ``None`` if there is none, or it was not finished."""
        folder = self._patch_folder(number)
        return load_patch(folder) if (folder / "patch.json").is_file() else None

    def _patch_folder(self, number: int) -> Path:
        return self.path / "patches" / f"{number:05d}"


def read_settings(path: Path) -> dict[str, Any]:
    """The header of a run.

    Raises:
        BrokenArtifactError: if there is none.
    """
    try:
        header = json.loads((path / "settings.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BrokenArtifactError(f"{path} is no run folder: {error}. Give a folder that evaluate made.") from error
    if not isinstance(header, dict):
        raise BrokenArtifactError(f"{path / 'settings.json'} must hold an object, got {type(header).__name__}.")
    return header


def new_run(directory: Path, name: str | None = None) -> Path:
    """The next free ``run_NNN`` in a folder, made at once so that nobody else takes it; or the one with this name.

    Raises:
        ConfigError: if there is no run with this name.
    """
    if name is not None:
        if not (directory / name / "settings.json").is_file():
            raise ConfigError(f"There is no run {name!r} in {directory} to continue from. Leave the option out.")
        return directory / name
    directory.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        path = directory / f"run_{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
            continue
        return path


def _row_or_none(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return row if isinstance(row, dict) else None


def _check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    for part in ("settings", "fingerprints"):
        before, now = found.get(part, {}), json.loads(json.dumps(wanted[part]))
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                raise StaleArtifactError(
                    f"{path} was begun with {part} {key} = {before.get(key)!r}; now it is {now.get(key)!r}. "
                    "Continue it with what it was begun with, or start a new run."
                )
