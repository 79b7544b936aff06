"""Line charts, without Streamlit.

Colours are Okabe and Ito's and are always accompanied by a second mark, such as dashes.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kgmet.inspect.comparison import EditorComparison
from kgmet.inspect.lens import LensReading
from kgmet.inspect.shift import Quantity, ShiftTrace
from kgmet.inspect.spectrum import CutoffCost, LayerWrite

__all__ = [
    "SAVED_AS_SVG",
    "Line",
    "colours",
    "comparison_chart",
    "energy_chart",
    "lens_chart",
    "lines",
    "profile_chart",
    "spectrum_chart",
]

# The first is that of what is new, the second that of what is old, as in assets/style.css.
_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07a00", "#3a9bd0", "#6b7785", "#000000")
_DARK = ("#56b4e9", "#e8772e", "#2bbf93", "#d993bb", "#f0b429", "#9ad5f7", "#9aa7b4", "#ffffff")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


SAVED_AS_SVG = {
    "displaylogo": False,
    "modeBarButtons": [["toImage"]],
    "toImageButtonOptions": {"format": "svg", "filename": "kgmet-figure"},
}
"""Settings of every figure on a page: under the pointer it offers one button, which saves it as SVG."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve of a chart. `colour` is a palette index; a dash of ``None`` takes the colour's own."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: int = 0
    dash: str = "solid"
    width: float = 2.0
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    """Lower and upper ends of intervals around `y`, drawn as error bars."""


def colours(*, dark: bool) -> tuple[str, ...]:
    """Return the categorical palette for this background."""
    return _DARK if dark else _LIGHT


def lines(
    curves: Sequence[Line],
    *,
    axes: tuple[str, str],
    dark: bool = False,
    log: bool = False,
    span: tuple[float, float] | None = None,
    marker: float | None = None,
    height: int = 340,
) -> go.Figure:
    """Draw curves over a common axis.

    Args:
        curves: the curves; their names are shown as plain text.
        axes: titles of the x and y axis, with units.
        dark: for a dark background.
        log: logarithmic y axis; values at 0 and below are left out.
        span: fixed ends of the y axis.
        marker: a vertical line at this x.
        height: in pixels.
    """
    palette = colours(dark=dark)
    figure = go.Figure()
    for curve in curves:
        error = None
        if curve.low is not None and curve.high is not None:
            pairs = list(zip(curve.y, curve.low, curve.high, strict=True))
            error = {
                "type": "data",
                "array": [0 if y is None else high - y for y, _, high in pairs],
                "arrayminus": [0 if y is None else y - low for y, low, _ in pairs],
                "thickness": 1,
                "width": 3,
            }
        figure.add_trace(
            go.Scatter(
                x=list(curve.x),
                y=[None if value is None or (log and value <= 0) else value for value in curve.y],
                name=html.escape(curve.name, quote=False),
                mode="lines+markers" if len(curve.x) <= 40 else "lines",
                marker={"size": 5},
                line={"color": palette[curve.colour % len(palette)], "dash": curve.dash, "width": curve.width},
                error_y=error,
            )
        )
    if marker is not None:
        figure.add_vline(x=marker, line={"width": 1.5, "dash": "dot", "color": palette[6]})
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(title=axes[0], automargin=True)
    figure.update_yaxes(title=axes[1], automargin=True, type="log" if log else "linear")
    if log:
        figure.update_yaxes(exponentformat="power", dtick=1 if span is None else None)
    if span is not None:
        figure.update_yaxes(range=list(span))
    return figure


def lens_chart(reading: LensReading, *, dark: bool = False, marker: float | None = None) -> go.Figure:
    """Draw the probability of the tracked answers after every layer: dashed before, solid after, fixed scale.

    The new answer, which comes first, and the old one have the colours they have on every page.
    """
    layers = [row.layer for row in reading.after]
    found = []
    for number, answer in enumerate(reading.answers):
        for name, rows, dash, width in (("before", reading.before, "dot", 1.8), ("after", reading.after, "solid", 2.6)):
            values = [row.answers[number].probability for row in rows]
            found.append(Line(name=f"{answer} · {name}", x=layers, y=values, colour=number, dash=dash, width=width))
    return lines(found, axes=("layer", "probability"), dark=dark, span=(-0.02, 1.02), marker=marker, height=300)


def profile_chart(
    traces: Sequence[ShiftTrace], quantity: Quantity, *, dark: bool = False, unit: str = "", marker: float | None = None
) -> go.Figure:
    """Draw one quantity by layer for every text, at the subject's last token (or the last token without a subject)."""
    found = []
    kinds = list(dict.fromkeys(trace.source.kind for trace in traces))
    for trace in traces:
        position = trace.lookup if trace.lookup is not None else len(trace.tokens) - 1
        number = kinds.index(trace.source.kind)
        same = [other for other in traces if other.source.kind is trace.source.kind]
        found.append(
            Line(
                name=trace.source.kind.value + (f" {same.index(trace) + 1}" if len(same) > 1 else ""),
                x=list(range(trace.n_layer)),
                y=trace.of(quantity)[:, position].tolist(),
                colour=number,
                dash=_DASHES[same.index(trace) % len(_DASHES)],
            )
        )
    label = quantity.value + (f" ({unit})" if unit else "")
    return lines(found, axes=("layer", label), dark=dark, marker=marker, height=380)


def spectrum_chart(write: LayerWrite, costs: Sequence[CutoffCost], *, rank: int, dark: bool = False) -> go.Figure:
    """Draw a layer's key spectrum above the effect and cost of each cutoff, over the same directions."""
    palette = colours(dark=dark)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.5, 0.5])
    values = write.eigenvalues.clamp(min=1e-12).tolist()
    step = max(1, len(values) // 400)
    figure.add_trace(
        go.Scatter(
            x=list(range(1, len(values) + 1))[::step],
            y=values[::step],
            name="eigenvalue of E[kkᵀ]",
            line={"color": palette[6], "width": 2},
            hovertemplate="direction %{x}: %{y:.3g}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    ranks = [cost.rank for cost in costs]
    shown: list[tuple[str, list[float | None], int, str]] = [
        ("wanted change that arrives", [cost.reached for cost in costs], 0, "solid"),
        ("part of the key that can be written", [cost.writable for cost in costs], 2, "dash"),
        ("energy of ordinary keys in free directions", [cost.text_energy for cost in costs], 1, "dot"),
    ]
    for name, shares, colour, dash in shown:
        figure.add_trace(
            go.Scatter(x=ranks, y=shares, name=name, line={"color": palette[colour], "dash": dash, "width": 2}),
            row=2,
            col=1,
        )
    figure.add_vrect(x0=0.5, x1=write.rank + 0.5, fillcolor=palette[2], opacity=0.12, line_width=0, layer="below")
    figure.add_vline(x=write.rank + 0.5, line={"width": 1.5, "color": palette[2]})
    if rank != write.rank:
        figure.add_vline(x=rank + 0.5, line={"width": 2, "dash": "dot", "color": palette[1]})
    figure.update_yaxes(type="log", title="eigenvalue", exponentformat="power", dtick=1, row=1, col=1)
    figure.update_yaxes(title="share", range=[-0.02, 1.02], row=2, col=1)
    figure.update_xaxes(title="free directions, least used first", range=[0, len(values) + 1], row=2, col=1)
    figure.update_layout(
        height=520,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        hovermode="x",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def energy_chart(write: LayerWrite, *, dark: bool = False) -> go.Figure:
    """Draw the update's energy along the spectrum, as written and without the projection."""
    palette = colours(dark=dark)
    figure = go.Figure()
    bins = write.binned()
    centre = [(item.begin + item.end) / 2 + 0.5 for item in bins]
    names = [f"directions {item.begin + 1} to {item.end}" for item in bins]
    for name, shares, colour, pattern in (
        ("as written", [item.written for item in bins], 0, ""),
        ("without the projection", [item.unprojected for item in bins], 1, "/"),
    ):
        figure.add_trace(
            go.Bar(
                x=centre,
                y=shares,
                name=name,
                customdata=names,
                hovertemplate="%{customdata}: %{y:.2%}<extra>" + name + "</extra>",
                marker={"color": palette[colour], "pattern": {"shape": pattern}, "line": {"width": 0}},
            )
        )
    figure.add_vrect(x0=0.5, x1=write.rank + 0.5, fillcolor=palette[2], opacity=0.12, line_width=0, layer="below")
    figure.add_vline(x=write.rank + 0.5, line={"width": 1.5, "color": palette[2]})
    figure.update_layout(
        height=360,
        barmode="group",
        bargap=0.1,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(title="directions of the key space, from least to most used")
    figure.update_yaxes(title="share of the update's energy", tickformat=".0%", rangemode="tozero")
    return figure


def comparison_chart(comparison: EditorComparison, *, dark: bool = False) -> go.Figure:
    """Draw the shares of a comparison as dots with 95 % intervals, one colour and symbol per candidate."""
    palette = colours(dark=dark)
    signs = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
    rows = [row for row in comparison.rows() if row.unit == "share" and any(item and item.n > 1 for item in row.values)]
    figure = go.Figure()
    for column, outcome in enumerate(comparison.results):
        offset = 0.6 * ((column + 0.5) / len(comparison.results) - 0.5)
        known = [(place, item) for place, row in enumerate(rows) if (item := row.values[column]) is not None]
        points = [(place, item.value, item.interval) for place, item in known if item.value is not None]
        figure.add_trace(
            go.Scatter(
                y=[place + offset for place, _, _ in points],
                x=[value for _, value, _ in points],
                error_x={
                    "type": "data",
                    "array": [0 if ends is None else ends[1] - value for _, value, ends in points],
                    "arrayminus": [0 if ends is None else value - ends[0] for _, value, ends in points],
                    "thickness": 1.2,
                    "width": 3,
                },
                text=[rows[place].label for place, _, _ in points],
                hovertemplate="%{text}: %{x:.1%}",
                mode="markers",
                name=html.escape(outcome.candidate.label, quote=False),
                marker={"size": 9, "symbol": signs[column % len(signs)], "color": palette[column % len(palette)]},
            )
        )
    figure.update_layout(
        height=90 + max(1, len(rows)) * (30 + 9 * len(comparison.results)),
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(title="share of prompts, with 95 % interval", range=[-0.03, 1.03], tickformat=".0%")
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[row.label for row in rows],
        range=[len(rows) - 0.5, -0.5],
        automargin=True,
        zeroline=False,
    )
    return figure
