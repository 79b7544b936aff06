"""The picture of the method, in the colours of a theme. No Streamlit."""

from __future__ import annotations

import re

from kgmet.base.shipped import shipped

__all__ = ["pipeline_svg"]

DARK = {
    "#fff": "#11181f",
    "#ffffff": "#11181f",
    "#1b2733": "#e8eef4",
    "#3d4a57": "#b9c6d2",
    "#f3f6f9": "#1d2833",
    "#00734f": "#2fc99b",
    "#00603f": "#5fd6b0",
    "#e3f3ec": "#12312a",
    "#0064a1": "#7cc4f0",
    "#0b4f7d": "#9ad2f6",
    "#e6f0f8": "#142c3f",
    "#b05a00": "#f0a04b",
    "#fdf0e3": "#35261a",
}
"""Colour of the file → colour on a dark ground."""
_COLOUR = re.compile(r"#[0-9a-f]{3,6}\b")


def pipeline_svg(*, dark: bool = False) -> str:
    """Return the picture; the file itself is drawn for a light ground."""
    text = (shipped("assets") / "pipeline.svg").read_text(encoding="utf-8")
    return _COLOUR.sub(lambda found: DARK[found[0]], text) if dark else text
