"""Words are readable on their ground: at least 4.5 to 1 in both themes."""

from __future__ import annotations

import pytest

from workbench.drawing.graph_svg import INKS
from workbench.shell import COLOURS


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG defines it."""
    lights = sorted(light(colour) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def light(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == 21
    assert round(contrast("#d9661f", "#ffffff"), 1) == 3.6


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_of_the_pages_are_readable(theme: str) -> None:
    found = {name: contrast(colour, COLOURS[theme]["ground"]) for name, colour in COLOURS[theme].items()}
    assert {name for name, value in found.items() if value < 4.5} == {"ground"}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["text", "grey", "good", "bad", "new_words", "old_words"])
def test_words_of_the_graph_are_readable(theme: str, name: str) -> None:
    ink = INKS[theme]
    assert contrast(getattr(ink, name), ink.ground) >= 4.5
