"""`Record`: one JSON object of a data file, read key by key with errors that say where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kgmet.base.errors import BrokenArtifactError

__all__ = ["Record"]


class Record:
    """A JSON object with its place in the file.

    Raises:
        BrokenArtifactError: if the value is no object.
    """

    def __init__(self, row: Any, *, where: str, number: int) -> None:
        if not isinstance(row, Mapping):
            raise BrokenArtifactError(f"{where} must be a JSON object, got {type(row).__name__}.")
        self._row = row
        self.where = where
        self.number = number

    @property
    def case_id(self) -> str:
        """The record's ``case_id`` as text; its number where it has none."""
        return str(self._row.get("case_id", self.number))

    def __contains__(self, key: object) -> bool:
        return key in self._row

    def keys(self) -> tuple[str, ...]:
        """All keys, in order."""
        return tuple(self._row)

    def get(self, key: str) -> Any:
        """Whatever stands there, or ``None``."""
        return self._row.get(key)

    def text(self, key: str) -> str:
        """Text that must be there and not blank."""
        value = self._row.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, "text", value)
        return value

    def optional_text(self, key: str) -> str | None:
        """Text, or ``None`` where the key is missing, null or blank."""
        value = self._row.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "text", value)
        return value if value and value.strip() else None

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of texts; empty where the key is missing."""
        value = self._row.get(key, None if required else [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
            raise self._wrong(key, "a list of texts", value)
        return tuple(value)

    def object(self, key: str) -> Record:
        """A nested object that must be there."""
        value = self._row.get(key)
        if not isinstance(value, Mapping):
            raise self._wrong(key, "an object", value)
        return Record(value, where=f"{self.where}, {key}", number=self.number)

    def objects(self, key: str, *, required: bool = False) -> tuple[Record, ...]:
        """A list of nested objects; empty where the key is missing."""
        value = self._row.get(key, None if required else [])
        if not isinstance(value, list) or (required and not value):
            raise self._wrong(key, "a list of objects", value)
        return tuple(
            Record(item, where=f"{self.where}, {key} {place}", number=self.number)
            for place, item in enumerate(value, start=1)
        )

    def _wrong(self, key: str, wanted: str, value: Any) -> BrokenArtifactError:
        if key not in self._row:
            return BrokenArtifactError(f"{self.where} lacks {key!r}; it must be {wanted}.")
        return BrokenArtifactError(f"{self.where}: {key!r} must be {wanted}, got {value!r}.")
