"""A heat map as one SVG picture with its scale: for a page that loads nothing. No Streamlit."""

from __future__ import annotations

from collections.abc import Sequence

from plotly.colors import sample_colorscale

from workbench.drawing.heatmaps import Scale
from workbench.drawing.plain import shown

__all__ = ["heat_svg"]

_CELL, _ROW, _LEFT, _TOP, _FOOT = 58, 15, 46, 12, 92


def heat_svg(
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    scale: Scale,
    edited: Sequence[int],
    dark: bool = False,
) -> str:
    """Draw values (n_row, n_column), row 0 at the bottom; `edited` rows get a bar at their side.

    Values beyond the ends of the scale have the colour of the end, and the legend says so.
    """
    wide, high = _LEFT + _CELL * len(columns) + 12, _TOP + _ROW * len(rows) + _FOOT
    parts = []
    for number, line in enumerate(values):
        y = _TOP + _ROW * (len(rows) - 1 - number)
        name = f'<text x="{_LEFT - 12}" y="{y + 11}" text-anchor="end" font-size="10">'
        parts.append(f"{name}{shown(rows[number])}</text>")
        if number in edited:
            bar = f'x="{_LEFT - 7}" y="{y}" width="4" height="{_ROW - 1}"'
            parts.append(f'<rect {bar} fill="#d55e00"/>')
        for place, colour in enumerate(_colours(line, scale, dark=dark)):
            box = f'x="{_LEFT + place * _CELL}" y="{y}" width="{_CELL - 1}" height="{_ROW - 1}"'
            where = f"{shown(columns[place].strip())}, layer {shown(rows[number])}"
            value = f"{where}: {line[place]:.{scale.digits}f}"
            parts.append(f'<rect {box} fill="{colour}"><title>{value} {shown(scale.unit)}</title></rect>')
    below = _TOP + _ROW * len(rows) + 14
    for place, column in enumerate(columns):
        text = column.strip() or "␣"
        text = text if len(text) <= 9 else text[:8] + "…"
        x = _LEFT + place * _CELL + _CELL // 2
        parts.append(f'<text x="{x}" y="{below}" text-anchor="middle" font-size="11">{shown(text)}</text>')
    parts.append(_legend(scale, below + 22, dark=dark))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        f'role="img" font-family="system-ui, sans-serif" fill="currentColor">'
        f"<title>{shown(scale.label)} by layer and token</title>{''.join(parts)}</svg>"
    )


def _legend(scale: Scale, y: int, *, dark: bool) -> str:
    steps = 24
    ends = [scale.low + (scale.high - scale.low) * n / (steps - 1) for n in range(steps)]
    boxes = "".join(
        f'<rect x="{_LEFT + n * 8}" y="{y}" width="8" height="10" fill="{colour}"/>'
        for n, colour in enumerate(_colours(ends, scale, dark=dark))
    )
    low, high = f"≤ {scale.low:.3g}", f"≥ {scale.high:.3g} {scale.unit}"
    about = f"{shown(scale.label)}; orange bars: edited layers"
    return (
        f'{boxes}<text x="{_LEFT}" y="{y + 24}" font-size="10">{shown(low)}</text>'
        f'<text x="{_LEFT + steps * 8}" y="{y + 24}" font-size="10" text-anchor="end">{shown(high)}</text>'
        f'<text x="{_LEFT}" y="{y + 40}" font-size="10">{about}</text>'
    )


def _colours(values: Sequence[float], scale: Scale, *, dark: bool) -> list[str]:
    places = [min(1.0, max(0.0, (value - scale.low) / (scale.high - scale.low))) for value in values]
    return list(sample_colorscale(scale.colours(dark=dark), places))
