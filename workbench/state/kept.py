"""Results that survive a restart: a sealed JSON file each, read back as strictly as the session itself.

A screen says how its result is written and read, and the shell registers all of them (`keeps`); the session writes a
result whenever it is stored.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgmet.base.errors import BrokenArtifactError, KgmetError
from kgmet.base.files import failures_as
from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from workbench.state.sealed import read_object, read_sealed, write_sealed
from workbench.state.values import Result

__all__ = ["EarlierFile", "ResultCodec", "can_keep", "codecs", "file_of", "keeps", "load_result", "save_result"]

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class EarlierFile:
    """Name of the file an earlier version wrote; `upgraded` makes of its contents those of this version's.

    `upgraded` raises `BrokenArtifactError` for a format it does not know, and for a file changed after it was saved.
    """

    name: str
    upgraded: Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class ResultCodec:
    """How the result of a name is written as plain JSON values and read back.

    `what` names it for people, with a capital: ``The conversation``. `from_json` is strict: what is not such a value
    is an error.
    """

    name: str
    what: str
    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]
    earlier: EarlierFile | None = None
    """Read where there is no file of this version."""
    fits: Callable[[Any], bool] = lambda value: True
    """Whether a value is small enough to be kept; what is not stays in memory."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that may hold the result."""
        return (file_of(self.name), *(() if self.earlier is None else (self.earlier.name,)))

    @classmethod
    def of(cls, name: str, what: str, kind: Any) -> ResultCodec:
        """Return the codec of a value that is saved field by field."""
        return cls(
            name=name,
            what=what,
            to_json=plain,
            from_json=lambda data: value_from(kind, data, f"{file_of(name)} holds something else"),
        )


_CODECS: dict[str, ResultCodec] = {}


def keeps(*codecs: ResultCodec) -> None:
    """Let results of these names survive a restart; called before a session is read back."""
    _CODECS.update({codec.name: codec for codec in codecs})


def can_keep(name: str, value: Any) -> bool:
    """Return whether a result of this name survives a restart and can travel in a link."""
    return name in _CODECS and _CODECS[name].fits(value)


def codecs() -> Mapping[str, ResultCodec]:
    """Return every known codec by the result's name."""
    return _CODECS


def file_of(name: str) -> str:
    """Return the name of a result's file in the session's folder."""
    return f"result-{name}.json"


def save_result(folder: Path, name: str, result: Result) -> None:
    """Write a result with the fingerprint of its inputs.

    Raises:
        UnwritableError: if the place is read-only, full or gone.
    """
    value = _CODECS[name].to_json(result.value)
    write_sealed(folder / file_of(name), {"format": _FORMAT, "made_from": result.made_from, "value": value})


def load_result(folder: Path, codec: ResultCodec) -> Result | None:
    """Read what `save_result` wrote; ``None`` if there is nothing.

    Raises:
        BrokenArtifactError: if the file is damaged, of another format, changed or hostile.
    """
    file = next((name for name in codec.files if os.path.lexists(folder / name)), None)
    if file is None:
        return None
    try:
        with failures_as(BrokenArtifactError, f"{file} holds something else"):
            if codec.earlier is not None and file == codec.earlier.name:
                data = codec.earlier.upgraded(read_object(folder / file, within=folder))
            else:
                data = read_sealed(folder / file, within=folder)
            return Result(value=codec.from_json(data["value"]), made_from=str(data["made_from"]))
    except KgmetError as error:
        raise BrokenArtifactError(f"{codec.what} ({file}) cannot be read, and is left out. {error}") from error
