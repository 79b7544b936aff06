"""Changes of files and of JSON values, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["changed", "places_in", "put"]


def changed(data: bytes, how: str, where: float, given: bytes) -> bytes:
    """Bytes with `given` put over those at a place, inserted there, or with as many cut out; else cut off there."""
    place = int(where * len(data))
    if how == "put":
        return data[:place] + given + data[place + len(given) :]
    if how == "insert":
        return data[:place] + given + data[place:]
    return data[:place] + data[place + len(given) :] if how == "cut" else data[:place]


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from places_in(item, (*path, key))


def put(data: Any, path: tuple[Any, ...], value: Any) -> None:
    """Put a value at a path of a JSON value."""
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value
