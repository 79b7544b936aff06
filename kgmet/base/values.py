"""`value_from`: plain values from outside as our dataclasses; the inverse is `kgmet.base.fingerprint.plain`.

Nothing is coerced: "3" and true are no whole numbers, NaN is no number, a missing field without a default is an error.
Whole numbers may stand for other ones. Unknown keys are ignored, unless they are refused.
"""

from __future__ import annotations

import dataclasses
import math
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_type_hints

import msgspec

from kgmet.base.errors import BrokenArtifactError
from kgmet.base.files import failures_as

__all__ = ["converted", "value_from"]

T = TypeVar("T")
_ONE_AT_A_TIME = threading.RLock()
_PLACE = re.compile(r"^(.*?) - at `(?:key in )?\$\.?(.*)`$", re.DOTALL)


def value_from(kind: type[T], data: Any, what: str, *, advice: str = "", only_known: bool = False) -> T:
    """Make a value of `kind` from what `plain` and JSON made of one.

    Dataclasses check themselves as always; enums are read by their values, tuples and sets from lists.

    Args:
        kind: a dataclass, or a built-in type with its items' types.
        data: plain values.
        what: the beginning of an error's sentence: "This is not a saved question".
        advice: the end of an error's sentence: what to do next.
        only_known: whether keys that the dataclass does not have are refused.

    Raises:
        BrokenArtifactError: if this is no such value; says where in it.
    """
    with failures_as(BrokenArtifactError, what, advice=advice):
        if only_known and isinstance(data, Mapping):
            unknown = sorted(set(map(str, data)) - set(get_type_hints(kind)))
            if unknown:
                raise ValueError(f"there is no field {unknown[0]!r}")
        try:
            value = converted(data, kind)
        except msgspec.ValidationError as error:
            raise ValueError(_sentence(str(error))) from error
        _refuse_nan(value)
        return value


def converted(data: Any, kind: type[T]) -> T:
    """Return `msgspec.convert` of the two, by one thread at a time.

    msgspec reads the fields of a type when it first meets it, and a second thread that meets it meanwhile takes the
    unfinished list: the whole process ends with a segmentation fault.
    """
    with _ONE_AT_A_TIME:
        return msgspec.convert(data, kind)


def _sentence(said: str) -> str:
    """Put the place first: ``subject.label: expected `str`, got `int` ``."""
    found = _PLACE.match(said)
    text, place = (found[1], found[2]) if found else (said, "")
    return (f"{place}: " if place else "") + text[:1].lower() + text[1:]


def _refuse_nan(value: Any) -> None:
    """Look for NaN in all that was taken over; what was ignored may hold anything."""
    if isinstance(value, float) and math.isnan(value):
        raise ValueError("a number is NaN")
    if isinstance(value, (list, tuple)):
        inside: Iterable[Any] = value
    elif isinstance(value, Mapping):
        inside = value.values()
    elif dataclasses.is_dataclass(value):
        inside = [getattr(value, field.name) for field in dataclasses.fields(value)]
    else:
        return
    for item in inside:
        _refuse_nan(item)
