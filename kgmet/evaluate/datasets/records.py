"""`Record`: one JSON object of a data file, read key by key with errors that give the position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kgmet.base.errors import BrokenArtifactError

__all__ = ["Record"]


class Record:
    """A JSON object with its position in the file.

    Raises:
        BrokenArtifactError: if the value is not an object.
    """

    def __init__(self, row: Any, *, where: str, number: int) -> None:
        if not isinstance(row, Mapping):
            raise BrokenArtifactError(f"{where} must be a JSON object, got {type(row).__name__}.")
        self._row = row
        self.where = where
        self.number = number

    @property
    def case_id(self) -> str:
        """The record's ``case_id`` as text; its number if it has none."""
        value = self._row.get("case_id")
        if value is None:
            return str(self.number)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self.wrong("case_id", "text or a whole number")
        return str(value)

    def __contains__(self, key: object) -> bool:
        return key in self._row

    def keys(self) -> tuple[str, ...]:
        """Return all keys, in order."""
        return tuple(self._row)

    def get(self, key: str) -> Any:
        """Return the raw value, or ``None``."""
        return self._row.get(key)

    def text(self, key: str) -> str:
        """Return a required, non-blank text."""
        value = self._row.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, "text")
        return value

    def optional_text(self, key: str) -> str | None:
        """Return a text, or ``None`` if the key is missing, null or blank."""
        value = self._row.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "text")
        return value if value and value.strip() else None

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """Return a list of texts; empty if the key is missing or null."""
        value = self._row.get(key)
        value = [] if value is None and not required else value
        if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
            raise self.wrong(key, "a list of texts")
        return tuple(value)

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of other names, without null and blank ones; empty if the key is missing or null."""
        value = self._row.get(key)
        value = [] if value is None else value
        if not isinstance(value, list) or not all(item is None or isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of texts")
        return tuple(item for item in value if item and item.strip())

    def object(self, key: str) -> Record:
        """Return a required nested object."""
        value = self._row.get(key)
        if not isinstance(value, Mapping):
            raise self.wrong(key, "an object")
        return Record(value, where=f"{self.where}, {key}", number=self.number)

    def objects(self, key: str, *, required: bool = False) -> tuple[Record, ...]:
        """Return a list of nested objects; empty if the key is missing or null."""
        value = self._row.get(key)
        value = [] if value is None and not required else value
        if not isinstance(value, list) or (required and not value):
            raise self.wrong(key, "a list of objects")
        return tuple(
            Record(item, where=f"{self.where}, {key} {place}", number=self.number)
            for place, item in enumerate(value, start=1)
        )

    def wrong(self, key: str, wanted: str) -> BrokenArtifactError:
        """Make the error for a `key` that does not hold what is `wanted`."""
        if key not in self._row:
            return BrokenArtifactError(f"{self.where} lacks {key!r}; it must be {wanted}.")
        return BrokenArtifactError(f"{self.where}: {key!r} must be {wanted}, got {_shown(self._row[key])}.")


def _shown(value: Any) -> str:
    return "null" if value is None else repr(str(value)[:80])
