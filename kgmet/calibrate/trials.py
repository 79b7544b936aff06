"""`TrialBook`: what was measured of one setting on one fact, a line each, kept at once for the next run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kgmet.base.cache import cache_dir, check_writable
from kgmet.base.errors import ArtifactError, BrokenArtifactError, FileError
from kgmet.base.files import parse_json, read_bytes
from kgmet.base.fingerprint import fingerprint_value
from kgmet.editing.config import EditConfig
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.columns import Columns, Counts

__all__ = ["Trial", "TrialBook", "calibration_folder", "open_book", "trial_key"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting on one fact: counts by column, or why the edit could not be made."""

    columns: Columns = field(default_factory=dict)
    failed: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"columns": {kind: counts.to_json() for kind, counts in self.columns.items()}, "failed": self.failed}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """Inverse of `to_json`."""
        columns = {str(kind): Counts.from_json(counts) for kind, counts in data["columns"].items()}
        return cls(columns=columns, failed=str(data["failed"]))


def trial_key(editor: str, config: EditConfig, case_id: str) -> str:
    """16 hex digits for an editor with its settings on one fact."""
    return fingerprint_value([editor, config, case_id])


def calibration_folder(lm: LoadedLM) -> Path:
    """Where a model's measurements are kept."""
    return cache_dir() / "calibrate" / lm.fingerprint


class TrialBook:
    """All trials of one model; `open_book` makes one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = dict(_read(path))
        self.n_read = len(self._known)
        """Trials that were there already."""

    def __len__(self) -> int:
        """Return the number of trials, those read back included."""
        return len(self._known)

    def find(self, key: str) -> Trial | None:
        """A trial that was measured before, in this run or in an earlier one."""
        return self._known.get(key)

    def add(self, key: str, trial: Trial) -> None:
        """Keep a trial, on disk too unless the edit failed: what failed once may work next time."""
        self._known[key] = trial
        if trial.failed:
            return
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"key": key, **trial.to_json()}, ensure_ascii=False) + "\n")


@contextmanager
def open_book(lm: LoadedLM) -> Iterator[TrialBook]:
    """The model's trials, for this process alone.

    Raises:
        ArtifactError: if another process calibrates the same model.
        UnwritableError: if the cache folder cannot be written.
    """
    folder = calibration_folder(lm)
    check_writable(folder, advice="Set KGMET_CACHE to another folder.")
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ArtifactError(
            f"Another process is calibrating {lm.name} just now. Wait for it or stop it: what it has measured "
            f"by then is kept in {folder} and used by the next run."
        ) from None
    try:
        yield TrialBook(folder / "trials.jsonl")
    finally:
        lock.release()


def _read(path: Path) -> Iterator[tuple[str, Trial]]:
    """The lines of a file; one that was cut off when its process was stopped is measured again."""
    if not path.exists():
        return
    for line in read_bytes(path).decode("utf-8", "replace").splitlines():
        try:
            data = parse_json(line, where=str(path), error=BrokenArtifactError)
            yield str(data["key"]), Trial.from_json(data)
        except (FileError, KeyError, TypeError, AttributeError):
            continue
