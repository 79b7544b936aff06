"""Words are readable on their ground: at least 4.5 to 1 in both themes."""

from __future__ import annotations

import re

import pytest

from workbench.drawing.graph_svg import INKS
from workbench.drawing.pipeline import DARK, pipeline_svg
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


def test_the_picture_of_the_method_follows_the_theme() -> None:
    light, dark = pipeline_svg(), pipeline_svg(dark=True)
    drawn = set(re.findall(r"#[0-9a-f]{3,6}\b", light))
    assert drawn == set(DARK), "every colour of the file has one for a dark ground, and no other is known"
    assert set(re.findall(r"#[0-9a-f]{3,6}\b", dark)) == set(DARK.values())
    assert re.sub(r"#[0-9a-f]{3,6}\b", "", light) == re.sub(r"#[0-9a-f]{3,6}\b", "", dark)
    assert DARK["#ffffff"] == COLOURS["dark"]["ground"], "no card: its ground is the page's"


@pytest.mark.parametrize("words", ["#1b2733", "#3d4a57", "#0b4f7d"])
@pytest.mark.parametrize("face", ["#f3f6f9", "#e3f3ec", "#e6f0f8", "#fdf0e3"])
def test_words_in_the_picture_of_the_method_are_readable(words: str, face: str) -> None:
    assert contrast(words, face) >= 4.5 and contrast(DARK[words], DARK[face]) >= 4.5


@pytest.mark.parametrize("face", ["#3d4a57", "#00734f", "#0064a1"])
def test_numbers_in_the_picture_of_the_method_are_readable(face: str) -> None:
    assert contrast("#ffffff", face) >= 4.5 and contrast(DARK["#fff"], DARK[face]) >= 4.5
    assert contrast("#ffffff", "#00603f") >= 4.5 and contrast(DARK["#ffffff"], DARK["#00603f"]) >= 4.5
