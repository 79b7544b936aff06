"""Contributions of MLPs as bars, ranks as a map and as lines; no Streamlit here."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.drawing.charts import Line, lines
from workbench.drawing.heatmaps import Marks, Scale, heatmap

__all__ = ["layer_bars", "rank_lines", "rank_map"]

_RANKS = (1, 10, 100, 1_000, 10_000, 100_000)


def layer_bars(
    values: Sequence[float],
    *,
    limit: float,
    title: str,
    unit: str,
    dark: bool = False,
    chosen: int | None = None,
    row_height: int = 17,
) -> go.Figure:
    """Draw one clickable bar per layer, layer 0 at the bottom, as high as a heatmap with as many rows."""
    scale = Scale(label=title, low=-limit, high=limit)
    line = "#ffffff" if dark else "#000000"
    figure = go.Figure(
        go.Bar(
            x=list(values),
            y=list(range(len(values))),
            orientation="h",
            customdata=[[layer, 0] for layer in range(len(values))],
            marker={
                "color": list(values),
                "cmin": -limit,
                "cmax": limit,
                "colorscale": scale.colours(dark=dark),
                "line": {
                    "color": [line if layer == chosen else "#8a8f98" for layer in range(len(values))],
                    "width": [2.5 if layer == chosen else 0.5 for layer in range(len(values))],
                },
            },
            hovertemplate="layer %{y}: %{x:.3f} " + unit + "<extra></extra>",
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )
    )
    figure.update_layout(
        height=max(220, row_height * len(values) + 110),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        showlegend=False,
        dragmode=False,
        bargap=0.1,
    )
    figure.update_xaxes(title=title, range=[-1.05 * limit, 1.05 * limit], fixedrange=True)
    step = 1 if len(values) <= 40 else 4
    figure.update_yaxes(
        range=[-0.5, len(values) - 0.5], fixedrange=True, showgrid=False, tickvals=list(range(0, len(values), step))
    )
    return figure


def rank_map(
    ranks: Sequence[Sequence[int]],
    *,
    columns: Sequence[str],
    n_token: int,
    marks: Marks,
    dark: bool = False,
    row_height: int = 17,
) -> go.Figure:
    """Draw ranks by layer and token on a logarithmic colour scale, strongest at rank 1."""
    top = math.log10(max(n_token, 10))
    values = [[top - math.log10(rank) for rank in row] for row in ranks]
    rows = [str(layer) for layer in range(len(ranks))]
    scale = Scale(label="rank", low=0, high=top)
    figure = heatmap(
        values,
        rows=rows,
        columns=columns,
        scale=scale,
        axes=("layer", "token"),
        marks=marks,
        upwards=True,
        dark=dark,
        row_height=row_height,
    )
    shown = [rank for rank in _RANKS if rank < n_token]
    figure.data[0].colorbar.update(
        tickvals=[top - math.log10(rank) for rank in shown], ticktext=[f"{rank:,}" for rank in shown]
    )
    figure.data[1].text = [
        f"<b>layer {layer}</b> · {html.escape(columns[column])}<br>rank {rank:,}"
        for layer, row in enumerate(ranks)
        for column, rank in enumerate(row)
    ]
    return figure


def rank_lines(curves: Sequence[Line], *, recalled: int, dark: bool = False, marker: float | None = None) -> go.Figure:
    """Draw ranks by layer at one token, the best rank on top, with a line at the rank that counts as recalled."""
    figure = lines(curves, axes=("layer", "rank"), dark=dark, log=True, marker=marker, height=300)
    highest = max((value for curve in curves for value in curve.y if value is not None), default=10)
    figure.update_yaxes(
        range=[math.log10(max(highest, 20)) + 0.1, -0.1],
        tickvals=list(_RANKS),
        ticktext=[f"{rank:,}" for rank in _RANKS],
    )
    figure.add_hline(y=recalled, line={"width": 1, "dash": "dot", "color": "#8a8f98"})
    return figure
