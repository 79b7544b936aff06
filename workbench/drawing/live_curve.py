"""The search curve while the search runs: one small SVG picture. No Streamlit.

Plotly takes a browser on the same machine about as long as the search takes. It draws the finished curve
(`workbench.drawing.curves.search_curve`), after the result is shown.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from workbench.drawing.curves import TERMS, term_values

__all__ = ["curve_svg", "live_curve"]

_WIDE, _HIGH, _LEFT, _FOOT = 480, 190, 36, 44
_NAME = 148
"""Width of a name in the legend."""


def live_curve(steps: Sequence[Mapping[str, float | str]], *, dark: bool = False) -> str:
    """Draw the loss terms by step, in nats, as an HTML picture; absent terms are left out."""
    svg = base64.b64encode(curve_svg(steps, ink="#dfe6ee" if dark else "#31333f").encode()).decode()
    alt = f"Loss terms by step of the search, in nats; {len(steps)} so far"
    return f'<img src="data:image/svg+xml;base64,{svg}" alt="{alt}" style="width:100%">'


def curve_svg(steps: Sequence[Mapping[str, float | str]], *, ink: str) -> str:
    """Return the picture as SVG, with axis and names in the colour `ink`."""
    lines = {term: term_values(steps, term) for term in TERMS}
    lines = {term: points for term, points in lines.items() if any(value for _, value in points)}
    highest = max((value for points in lines.values() for _, value in points), default=1.0)
    last = max(len(steps) - 1, 1)
    right, low = _WIDE - 8, _HIGH - _FOOT

    def place(step: int, value: float) -> str:
        return f"{_LEFT + (right - _LEFT) * step / last:.1f},{low - (low - 10) * value / highest:.1f}"

    parts = [f'<path d="M{_LEFT} 10V{low}H{right}" fill="none" stroke="{ink}" stroke-opacity="0.35"/>']
    for text, y in ((f"{highest:.1f}", 14), ("0", low)):
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" text-anchor="end">{text}</text>')
    for number, (term, points) in enumerate(lines.items()):
        name, colour = TERMS[term]
        shape = " ".join(place(step, value) for step, value in points)
        dash = ' stroke-dasharray="2 3"' if term == "total" else ""
        parts.append(f'<polyline points="{shape}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        ends = place(*points[-1]).split(",")
        parts.append(f'<circle cx="{ends[0]}" cy="{ends[1]}" r="3" fill="{colour}"/>')
        x, y = _LEFT + number % 3 * _NAME, low + 20 + number // 3 * 16
        parts.append(f'<rect x="{x}" y="{y - 8}" width="9" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{x + 13}" y="{y}">{name}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {_HIGH}" width="{_WIDE}" height="{_HIGH}" '
        f'font-size="11" font-family="system-ui, sans-serif" fill="{ink}">{"".join(parts)}</svg>'
    )
