from __future__ import annotations

from dataclasses import dataclass

import pytest

from kgmet.base.errors import ConfigError
from kgmet.base.ranges import Bounds, check_number, check_numbers


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        ({"above": 0}, [1e-9, 5], [0, -1], "above 0"),
        ({"least": 1}, [1, 2], [0], "at least 1"),
        ({"least": 1, "most": 6}, [1, 6], [0, 7], "from 1 to 6"),
        ({"least": 0, "below": 1}, [0, 0.99], [-0.1, 1], "from 0 to below 1"),
        ({"above": 0, "most": 1}, [0.1, 1], [0, 1.1], "above 0 and at most 1"),
        ({"above": 0, "below": 1}, [0.5], [0, 1], "above 0 and below 1"),
    ],
)
def test_a_number_is_refused_exactly_outside_its_range(
    bounds: Bounds, inside: list[float], outside: list[float], words: str
) -> None:
    for value in inside:
        check_number("x", value, **bounds)
    for value in (*outside, float("nan")):
        with pytest.raises(ConfigError) as caught:
            check_number("x", value, **bounds)
        assert str(caught.value) == f"x must be {words}, got {value}"


def test_the_first_field_out_of_range_is_named_with_its_section() -> None:
    @dataclass
    class Settings:
        a: int = 1
        b: int = 0

    check_numbers(Settings(), "part", "a", least=1)
    with pytest.raises(ConfigError, match=r"^part\.b must be at least 1, got 0$"):
        check_numbers(Settings(), "part", "a", "b", least=1)
    with pytest.raises(ConfigError, match=r"^b must be"):
        check_numbers(Settings(), "", "b", least=1)
