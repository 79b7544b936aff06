"""`check_number` and `check_numbers`: refuse settings that are out of range, in one sentence with the range."""

from __future__ import annotations

from typing import TypedDict, Unpack

from kgmet.base.errors import ConfigError

__all__ = ["Bounds", "check_number", "check_numbers"]


class Bounds(TypedDict, total=False):
    """Limits of a number; `above` and `below` are not allowed themselves, `least` and `most` are."""

    above: float
    least: float
    below: float
    most: float


def check_number(name: str, value: float, **bounds: Unpack[Bounds]) -> None:
    """Check one number; NaN is in no range.

    Raises:
        ConfigError: if it is out of range; gives its name, the range and the value.
    """
    is_inside = (
        ("above" not in bounds or value > bounds["above"])
        and ("least" not in bounds or value >= bounds["least"])
        and ("below" not in bounds or value < bounds["below"])
        and ("most" not in bounds or value <= bounds["most"])
    )
    if not is_inside:
        raise ConfigError(f"{name} must be {_in_words(bounds)}, got {value}")


def check_numbers(owner: object, section: str, *names: str, **bounds: Unpack[Bounds]) -> None:
    """Check several fields of a dataclass of settings, called ``section.name`` in the error.

    Raises:
        ConfigError: for the first that is out of range.
    """
    for name in names:
        check_number(f"{section}.{name}" if section else name, getattr(owner, name), **bounds)


def _in_words(bounds: Bounds) -> str:
    if "least" in bounds and "most" in bounds:
        return f"from {bounds['least']} to {bounds['most']}"
    if "least" in bounds and "below" in bounds:
        return f"from {bounds['least']} to below {bounds['below']}"
    words = {"above": "above", "least": "at least", "below": "below", "most": "at most"}
    return " and ".join(f"{word} {bounds[name]}" for name, word in words.items() if name in bounds)  # type: ignore[literal-required]
