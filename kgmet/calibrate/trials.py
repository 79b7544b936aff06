"""`TrialBook`: what was measured of one setting on one fact, a line each, kept at once for the next run."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kgmet.base.cache import cache_dir, check_writable
from kgmet.base.errors import ArtifactError, BrokenArtifactError, FileError
from kgmet.base.files import failures_as
from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.values import value_from
from kgmet.calibrate.lines import LineBook
from kgmet.editing.config import EditConfig
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.columns import Columns

__all__ = ["TRIALS", "Trial", "TrialBook", "calibration_folder", "locked_folder", "open_book", "trial_key"]

TRIALS = "trials.jsonl"
_FEW = 8


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting on one fact: counts by column, or why the edit could not be made.

    `seconds` is what it took on a machine that does nothing else, to estimate what others will take; 0 where it is not
    known.
    """

    columns: Columns = field(default_factory=dict)
    failed: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        columns = {kind: counts.to_json() for kind, counts in self.columns.items()}
        return {"columns": columns, "failed": self.failed, "seconds": round(self.seconds, 3)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if this is no trial.
        """
        with failures_as(BrokenArtifactError, "This is no trial", advice="It is measured again."):
            if not {"columns", "failed"} <= set(data):  # they have defaults, but a line without them was cut off
                raise ValueError("it lacks what was measured")
            return value_from(cls, data, "This is no trial", advice="It is measured again.")


def trial_key(editor: str, config: EditConfig, case_id: str) -> str:
    """Return 16 hex digits for an editor with its settings on one fact."""
    return fingerprint_value([editor, config, case_id])


def calibration_folder(lm: LoadedLM) -> Path:
    """Return where a model's measurements are kept."""
    return cache_dir() / "calibrate" / lm.fingerprint


class TrialBook:
    """All trials of one model; `open_book` makes one."""

    def __init__(self, path: Path) -> None:
        self._lines = LineBook(path)
        self._known = dict(_trials(self._lines))
        self.n_read = len(self._known)
        """Trials that were there already."""

    def __len__(self) -> int:
        """Return the number of trials, those read back included."""
        return len(self._known)

    def find(self, key: str) -> Trial | None:
        """Return a trial that was measured before, in this run or in an earlier one."""
        return self._known.get(key)

    def add(self, key: str, trial: Trial) -> None:
        """Keep a trial, on disk too unless the edit failed: what failed once may work next time."""
        self._known[key] = trial
        if not trial.failed:
            self._lines.add(key, trial.to_json())

    def seconds_per_edit(self) -> float | None:
        """Return the median seconds of a trial; ``None`` before there are a few."""
        found = [trial.seconds for trial in self._known.values() if trial.seconds > 0]
        return statistics.median(found) if len(found) >= _FEW else None


@contextmanager
def open_book(lm: LoadedLM) -> Iterator[TrialBook]:
    """Open the model's trials, for this process alone.

    Raises:
        ArtifactError: if another process calibrates the same model.
        UnwritableError: if the cache folder cannot be written.
    """
    with locked_folder(lm) as folder:
        yield TrialBook(folder / TRIALS)


@contextmanager
def locked_folder(lm: LoadedLM) -> Iterator[Path]:
    """Yield the folder of a model's measurements, for this process alone.

    Raises:
        ArtifactError: if another process measures the same model.
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
        yield folder
    finally:
        lock.release()


def _trials(lines: LineBook) -> Iterator[tuple[str, Trial]]:
    for key in lines:
        try:
            yield key, Trial.from_json(lines.find(key) or {})
        except FileError:
            continue
