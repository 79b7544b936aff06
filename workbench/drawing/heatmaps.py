"""Heatmaps with selectable cells, without Streamlit.

Streamlit does not report clicks on heatmap cells. So every heatmap has one invisible square marker per cell, and
`chosen_cell` returns the clicked one.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

__all__ = ["Cell", "Marks", "Scale", "chosen_cell", "clipped_words", "heatmap", "heatmap_alt", "token_label"]

_SEQUENTIAL_LIGHT = ("#f7fcf0", "#d9f0c9", "#a2d9b8", "#5dbac6", "#2b8bbd", "#1d5c9f", "#0c2c6b")
_SEQUENTIAL_DARK = ("#141c24", "#173a5e", "#1f5f93", "#2f8bb8", "#57b7bd", "#a2d9b8", "#eef7c8")
_DIVERGING_LIGHT = ("#8c3a00", "#d9711f", "#f6c08e", "#f7f7f7", "#a9cfe6", "#3b87bd", "#0b3f70")
_DIVERGING_DARK = ("#ffb067", "#d9711f", "#7c4415", "#1a222b", "#1d527c", "#3f93cf", "#9ad5f7")
_OUTLINES = ("#000000", "#ffffff"), ("#ffffff", "#000000")
"""Colours of the chosen cell's outline and its rim, on a light and on a dark page."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A fixed colour scale, the same for every text and for before and after; values beyond its ends are clipped.

    `low` to `high` in `unit`; a scale with a negative low end diverges from 0 and must be symmetric. `digits` is the
    number of decimals shown.
    """

    label: str
    low: float
    high: float
    unit: str = ""
    digits: int = 3

    def __post_init__(self) -> None:
        """Check the ends."""
        if not self.low < self.high:
            raise ValueError(f"a scale must rise, got {self.low} to {self.high}")
        if self.low < 0 and self.low != -self.high:
            raise ValueError(f"a diverging scale must be symmetric about 0, got {self.low} to {self.high}")

    @property
    def diverges(self) -> bool:
        """Whether both signs occur."""
        return self.low < 0

    def side(self, value: float) -> int:
        """Return -1 for a value below the scale, 1 above, else 0; rounding does not count."""
        margin = 1e-5 * (self.high - self.low)
        return (value > self.high + margin) - (value < self.low - margin)

    def colours(self, *, dark: bool) -> list[list[Any]]:
        """Return a plotly colour scale: 0 is near the background, and the ends are safe for colour-blind readers."""
        if self.diverges:
            chosen = _DIVERGING_DARK if dark else _DIVERGING_LIGHT
        else:
            chosen = _SEQUENTIAL_DARK if dark else _SEQUENTIAL_LIGHT
        return [[number / (len(chosen) - 1), colour] for number, colour in enumerate(chosen)]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: row and column from 0, in the order of the values."""

    row: int
    column: int


def token_label(token: str) -> str:
    """Return a token as a label: outer blanks removed, a token of blanks made visible, HTML escaped."""
    shown = token.strip() or token.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") or "∅"
    return html.escape(shown, quote=False)


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Highlights: `rows` get a bar at their side (edited layers), `column` a dotted outline (edited token).

    A bar is `row_size` rows high and may lie between two rows, where only some layers have one.
    """

    chosen: Cell | None = None
    rows: Sequence[float] = ()
    row_size: float = 1.0
    column: int | None = None


def heatmap(
    values: Sequence[Sequence[float | None]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    scale: Scale,
    axes: tuple[str, str] = ("", ""),
    marks: Marks | None = None,
    upwards: bool = False,
    dark: bool = False,
    row_height: int = 17,
) -> go.Figure:
    """Draw a heatmap with a fixed scale and one invisible marker per cell.

    Args:
        values: (n_row, n_column); ``None`` is an empty cell, shown as not measured.
        rows: labels of the rows; HTML in them is shown as text.
        columns: labels of the columns.
        scale: colours and unit.
        axes: titles of (row, column) axis.
        marks: the chosen cell and other highlights.
        upwards: whether row 0 is at the bottom.
        dark: whether the background is dark.
        row_height: height of a row in pixels.

    Raises:
        ValueError: if the labels do not fit the values.
    """
    if len(rows) != len(values) or any(len(line) != len(columns) for line in values):
        raise ValueError(f"{len(values)} rows of values do not fit {len(rows)} × {len(columns)} labels")
    marks = marks or Marks()
    bar = {"title": {"text": scale.unit or scale.label, "side": "right"}, "thickness": 12, "outlinewidth": 0}
    bar |= _clipped_ticks(values, scale)
    figure = go.Figure()
    figure.add_trace(
        go.Heatmap(
            z=[list(line) for line in values],
            zmin=scale.low,
            zmax=scale.high,
            colorscale=scale.colours(dark=dark),
            hoverinfo="skip",
            xgap=1,
            ygap=1,
            colorbar=bar,
        )
    )
    figure.add_trace(_markers(values, rows, columns, scale))
    for shape in _shapes(len(rows), marks, _OUTLINES[1 if dark else 0]):
        figure.add_shape(**shape)
    figure.update_layout(
        height=max(220, row_height * len(rows) + 110),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        hovermode="closest",
        hoverdistance=-1,
        dragmode=False,
        showlegend=False,
    )
    _label(figure, rows, columns, axes, upwards=upwards, standoff=8 if marks.rows else 2)
    return figure


def clipped_words(values: Sequence[Sequence[float | None]], scale: Scale) -> str:
    """Say how many cells lie beyond the scale's ends; empty if none does."""
    n = sum(scale.side(value) != 0 for line in values for value in line if value is not None)
    if not n:
        return ""
    ends = f"{scale.low:g} to {scale.high:g}" + (f" {scale.unit}" if scale.unit else "")
    cells = "1 cell lies beyond it and has" if n == 1 else f"{n} cells lie beyond it and have"
    return f"The scale goes from {ends}; {cells} the colour of its end."


def _clipped_ticks(values: Sequence[Sequence[float | None]], scale: Scale) -> dict[str, Any]:
    """Return ticks whose ends are marked ≤ or ≥ where values lie beyond them."""
    sides = {scale.side(value) for line in values for value in line if value is not None}
    is_below, is_above = -1 in sides, 1 in sides
    if not (is_below or is_above):
        return {}
    ticks = [scale.low + (scale.high - scale.low) * number / 4 for number in range(5)]
    texts = [f"{tick:g}" for tick in ticks]
    texts[0], texts[-1] = ("≤ " * is_below) + texts[0], ("≥ " * is_above) + texts[-1]
    return {"tickvals": ticks, "ticktext": texts}


def chosen_cell(event: Any) -> Cell | None:
    """Return the clicked cell, from what `st.plotly_chart(..., on_select="rerun")` returns or stores.

    ``None`` if nothing is selected, also after every change of the figure, which clears the selection; callers keep
    their last cell.
    """
    selection = event.get("selection") if isinstance(event, Mapping) else getattr(event, "selection", None)
    points = (selection or {}).get("points") or []
    for point in points:
        data = point.get("customdata")
        if isinstance(data, Mapping):  # some versions number the entries
            data = [data[key] for key in sorted(data, key=str)]
        if isinstance(data, Sequence) and len(data) >= 2:
            return Cell(row=int(data[0]), column=int(data[1]))
    return None


def heatmap_alt(
    what: str, values: Sequence[Sequence[float | None]], *, rows: Sequence[str], columns: Sequence[str], unit: str = ""
) -> str:
    """Describe the heatmap in a sentence for screen readers: its size, and the position of its largest value."""
    cells = [
        (abs(value), value, rows[r], columns[c])
        for r, line in enumerate(values)
        for c, value in enumerate(line)
        if value is not None and value == value
    ]
    if not cells:
        return f"{what}: nothing was measured."
    _, value, row, column = max(cells, key=lambda cell: cell[0])
    unit = f" {unit}" if unit else ""
    return (
        f"{what}: {len(rows)} rows by {len(columns)} columns. Largest in size is {value:.3g}{unit} "
        f"at {row}, {column.strip()}."
    )


def _markers(
    values: Sequence[Sequence[float | None]], rows: Sequence[str], columns: Sequence[str], scale: Scale
) -> go.Scatter:
    cells = [(r, c) for r in range(len(rows)) for c in range(len(columns))]
    shown = [_shown(values[r][c], scale) for r, c in cells]
    return go.Scatter(
        x=[c for _, c in cells],
        y=[r for r, _ in cells],
        customdata=[[r, c] for r, c in cells],
        text=[
            f"<b>{html.escape(rows[r])}</b> · {html.escape(columns[c])}<br>{scale.label}: {value}"
            for (r, c), value in zip(cells, shown, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
        mode="markers",
        marker={"symbol": "square", "size": 14, "opacity": 0},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )


def _shown(value: float | None, scale: Scale) -> str:
    if value is None or value != value:
        return "not measured"
    return f"{value:.{scale.digits}f}" + (f" {scale.unit}" if scale.unit else "")


def _label(
    figure: go.Figure,
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    *,
    upwards: bool,
    standoff: int,
) -> None:
    common = {"showgrid": False, "zeroline": False, "fixedrange": True, "ticks": ""}
    step = 1 if len(rows) <= 40 else 4
    figure.update_xaxes(
        title=axes[1],
        tickvals=list(range(len(columns))),
        ticktext=[html.escape(label, quote=False) for label in columns],
        range=[-0.5, len(columns) - 0.5],
        **common,
    )
    figure.update_yaxes(
        title=axes[0],
        tickvals=list(range(0, len(rows), step)),
        ticktext=[html.escape(label, quote=False) for label in rows[::step]],
        automargin=True,
        ticklabelstandoff=standoff,
        range=[-0.5, len(rows) - 0.5] if upwards else [len(rows) - 0.5, -0.5],
        **common,
    )


def _shapes(n_row: int, marks: Marks, outline: tuple[str, str]) -> list[dict[str, Any]]:
    """Return the highlights; the chosen cell's outline has a rim of the other colour, for cells of its own colour."""
    shapes: list[dict[str, Any]] = []
    for row in marks.rows:  # in pixels left of the first column, at any figure width
        place = {"xref": "paper", "xsizemode": "pixel", "xanchor": 0, "x0": -8, "x1": -3}
        half = 0.45 * marks.row_size
        ends = {"y0": max(-0.5, row - half), "y1": min(n_row - 0.5, row + half)}
        shapes.append({"type": "rect", "line": {"width": 0}, "fillcolor": "#d55e00", **place, **ends})
    if marks.column is not None:
        place = {"x0": marks.column - 0.5, "x1": marks.column + 0.5, "y0": -0.5, "y1": n_row - 0.5}
        shapes.append({"type": "rect", "line": {"width": 1.5, "color": "#d55e00", "dash": "dot"}, **place})
    if marks.chosen is not None:
        chosen = marks.chosen
        place = {
            "x0": chosen.column - 0.5,
            "x1": chosen.column + 0.5,
            "y0": chosen.row - 0.5,
            "y1": chosen.row + 0.5,
        }
        shapes.append({"type": "rect", "line": {"width": 5, "color": outline[1]}, **place})
        shapes.append({"type": "rect", "line": {"width": 2.5, "color": outline[0]}, **place})
    return shapes
