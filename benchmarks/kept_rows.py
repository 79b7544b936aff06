"""`KeptRows`: finished rows of a benchmark in a JSON file, so that a stopped run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["KeptRows", "Row"]

Row = dict[str, Any]


class KeptRows:
    """Rows by key, written to the file as soon as each is made; without a file they are kept in memory."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._rows: dict[str, Row] = {}
        if file is not None and file.exists():
            self._rows = json.loads(file.read_text(encoding="utf-8"))

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> Row:
        return self._rows[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def of(self, key: str, make: Callable[[], Row]) -> Row:
        """Return the row of a key; one that is missing is made and saved."""
        if key not in self._rows:
            self.add({key: make()})
        return self._rows[key]

    def add(self, rows: dict[str, Row]) -> None:
        """Add rows and save all."""
        self._rows |= rows
        if self._file is not None:
            self._file.write_text(json.dumps(self._rows, indent=1, ensure_ascii=False), encoding="utf-8")
