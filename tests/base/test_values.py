"""A value is read strictly, and what is wrong with it is said in one sentence that names the place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import pytest

from kgmet.base.errors import BrokenArtifactError
from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from


class Colour(Enum):
    RED = "a warm red"


@dataclass(frozen=True, kw_only=True)
class Inner:
    n: int
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError(f"n is {self.n}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    colour: Colour
    kind: Literal["a", "b"]
    inner: Inner | None
    many: tuple[Inner, ...] = ()
    names: frozenset[str] = frozenset()
    is_on: bool = True


VALUE = Outer(
    name="x", colour=Colour.RED, kind="b", inner=Inner(n=1), many=(Inner(n=2, share=1.5),), names=frozenset({"q", "p"})
)


def read(data: Any, **rest: Any) -> Outer:
    return value_from(Outer, data, "This is no outer", advice="Make it again.", **rest)


def test_what_is_written_is_read() -> None:
    assert read(json.loads(json.dumps(plain(VALUE)))) == VALUE
    assert read(plain(VALUE) | {"new in another version": float("nan")}) == VALUE
    assert read(plain(VALUE) | {"inner": {"n": 1, "share": 2}}).inner == Inner(n=1, share=2.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, "name: expected `str`, got `int`"),
        ({"inner": {"n": "3"}}, "inner.n: expected `int`, got `str`"),
        ({"inner": {"n": True}}, "inner.n: expected `int`, got `bool`"),
        ({"inner": {"n": 1.0}}, "inner.n: expected `int`, got `float`"),
        ({"inner": {"share": 1.5}}, "inner: object missing required field `n`"),
        ({"inner": {"n": -1}}, "inner: n is -1"),
        ({"is_on": "true"}, "is_on: expected `bool`, got `str`"),
        ({"is_on": 1}, "is_on: expected `bool`, got `int`"),
        ({"many": [{"n": 1}, {"n": None}]}, "many[1].n: expected `int`, got `null`"),
        ({"many": {}}, "many: expected `array`, got `object`"),
        ({"names": "pq"}, "names: expected `array`, got `str`"),
        ({"colour": "red"}, "colour: invalid enum value 'red'"),
        ({"kind": "c"}, "kind: invalid enum value 'c'"),
        ({"inner": {"n": 1, "share": float("nan")}}, "a number is NaN"),
    ],
)
def test_what_is_wrong_is_refused_and_said(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BrokenArtifactError) as refused:
        read(plain(VALUE) | change)
    assert str(refused.value) == f"This is no outer: {said}. Make it again."


@pytest.mark.parametrize("data", [None, 7, "x", [], [1], True, float("inf"), {}])
def test_what_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(BrokenArtifactError, match="This is no outer: "):
        read(data)


def test_unknown_keys_are_refused_where_asked() -> None:
    assert read(plain(VALUE), only_known=True) == VALUE
    with pytest.raises(BrokenArtifactError, match="there is no field 'colours'"):
        read(plain(VALUE) | {"colours": 1}, only_known=True)
