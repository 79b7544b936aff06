"""The search curve while the search runs: one small SVG picture. No Streamlit.

Plotly takes the browser about as long as the search takes the server, on the same machine. The finished curve is drawn
with it (`workbench.drawing.curves.search_curve`), after the result is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.drawing.curves import TERMS, term_values

__all__ = ["live_curve"]

_WIDE, _HIGH, _LEFT, _FOOT = 480, 190, 36, 44
_NAME = 112
"""Width of a name in the legend."""


def live_curve(steps: Sequence[Mapping[str, float | str]]) -> str:
    """Draw the loss terms by step, in nats, as SVG; absent terms are left out."""
    lines = {term: term_values(steps, term) for term in TERMS}
    lines = {term: points for term, points in lines.items() if any(value for _, value in points)}
    highest = max((value for points in lines.values() for _, value in points), default=1.0)
    last = max(len(steps) - 1, 1)
    right, low = _WIDE - 8, _HIGH - _FOOT

    def place(step: int, value: float) -> str:
        return f"{_LEFT + (right - _LEFT) * step / last:.1f},{low - (low - 10) * value / highest:.1f}"

    parts = [f'<path d="M{_LEFT} 10V{low}H{right}" fill="none" stroke="currentColor" stroke-opacity="0.35"/>']
    for text, y in ((f"{highest:.1f}", 14), ("0", low)):
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" text-anchor="end">{text}</text>')
    for number, (term, points) in enumerate(lines.items()):
        name, colour = TERMS[term]
        shape = " ".join(place(step, value) for step, value in points)
        dash = ' stroke-dasharray="2 3"' if term == "total" else ""
        parts.append(f'<polyline points="{shape}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        ends = place(*points[-1]).split(",")
        parts.append(f'<circle cx="{ends[0]}" cy="{ends[1]}" r="3" fill="{colour}"/>')
        x, y = _LEFT + number % 4 * _NAME, low + 20 + number // 4 * 16
        parts.append(f'<rect x="{x}" y="{y - 8}" width="9" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{x + 13}" y="{y}">{name}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {_HIGH}" width="100%" role="img" '
        f'font-size="11" font-family="system-ui, sans-serif" fill="currentColor">'
        f"<title>Loss by step of the search, in nats</title>{''.join(parts)}</svg>"
    )
