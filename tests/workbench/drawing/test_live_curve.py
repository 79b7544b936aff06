"""The curve drawn while a search runs: the same terms and values as the finished one, and no Plotly."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from workbench.drawing.curves import TERMS, search_curve
from workbench.drawing.live_curve import live_curve

STEPS = [
    {"edit": "e", "total": 4.0, "rewrite": 3.0, "consequence": 2.0, "anchor": 0.0, "length": 0.0, "norm_ratio": 0.0},
    {"edit": "e", "total": 2.0, "rewrite": 1.0, "consequence": 1.0, "anchor": 0.0, "length": 0.5, "norm_ratio": 0.7},
    {"edit": "e", "total": 1.0, "rewrite": 0.5, "consequence": 0.25, "anchor": 0.0, "length": 0.75, "norm_ratio": 0.9},
]


def heights(svg: str) -> dict[str, list[float]]:
    """Colour of each line → heights of its points above the axis, the highest value of all being 1."""
    found: dict[str, list[float]] = {}
    for line in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}polyline"):
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        found[line.attrib["stroke"]] = [y for _, y in points]
    top = min(y for ys in found.values() for y in ys)
    low = float(re.search(r"V([\d.]+)H", svg).group(1))  # type: ignore[union-attr]
    return {colour: [(low - y) / (low - top) for y in ys] for colour, ys in found.items()}


def test_the_live_curve_shows_the_values_of_the_finished_one() -> None:
    shown = heights(live_curve(STEPS))
    finished = {trace.line.color: [y / 4.0 for y in trace.y] for trace in search_curve(STEPS).data}
    assert shown.keys() == finished.keys()  # the anchor's term is 0 throughout and left out
    for colour, values in finished.items():
        assert all(abs(a - b) < 0.01 for a, b in zip(shown[colour], values, strict=True)), colour
    assert TERMS["anchor"][1] not in shown


def test_the_first_step_alone_can_be_drawn() -> None:
    root = ET.fromstring(live_curve(STEPS[:1]))
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 3
