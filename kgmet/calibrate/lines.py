"""`LineBook`: measurements by key, a line of JSON each, on disk at once, so that a run that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kgmet.base.errors import BrokenArtifactError, FileError, UnwritableError
from kgmet.base.files import parse_json, read_bytes

__all__ = ["LineBook", "book_state"]


def book_state(path: Path) -> tuple[int, int]:
    """Return size and time of the last change of a book's file; zeros before its first line. It tells what was added.

    A page's script runs often, and reads the lines again only if this changed.
    """
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


class LineBook:
    """What was measured, by key. A line that was cut off when its process was stopped is measured again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = dict(_read(path))

    def __len__(self) -> int:
        """Return the number of lines, those read back included."""
        return len(self._known)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys, oldest first."""
        return iter(self._known)

    def find(self, key: str) -> Mapping[str, Any] | None:
        """Return what was kept under a key, in this run or in an earlier one."""
        return self._known.get(key)

    def add(self, key: str, values: Mapping[str, Any]) -> None:
        """Keep plain JSON values under a key.

        Raises:
            UnwritableError: if the disk is full or the place is gone.
        """
        self._known[key] = values
        try:
            with self._path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"key": key, **values}, ensure_ascii=False) + "\n")
        except OSError as error:
            raise UnwritableError(
                f"{self._path} cannot be written: {error.strerror}. What was measured so far is kept; free some room "
                "and run it again."
            ) from error


def _read(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not path.exists():
        return
    for line in read_bytes(path).decode("utf-8", "replace").splitlines():
        try:
            data = dict(parse_json(line, where=str(path), error=BrokenArtifactError))
            yield str(data.pop("key")), data
        except (FileError, KeyError, TypeError, ValueError):
            continue
