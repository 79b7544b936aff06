"""What a model knows by relation, and around which layers it keeps facts, as bars; no Streamlit here."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence

import plotly.graph_objects as go

from kgmet.calibrate.where import LayerEffects
from kgmet.forecast.known import KnownRelation
from kgmet.measure.metrics import wilson_interval
from workbench.drawing.charts import colours
from workbench.wording import short

__all__ = ["effect_bars", "relation_bars"]

_ROW_HEIGHT = 22
_LONGEST = 26


def relation_bars(rows: Sequence[KnownRelation], *, chosen: str | None = None, dark: bool = False) -> go.Figure:
    """Draw the share of known facts, one clickable bar per relation, the first on top.

    Args:
        rows: relations in the order of the bars.
        chosen: id of the relation to outline.
        dark: whether the background is dark.
    """
    palette = colours(dark=dark)
    places = list(range(len(rows)))
    shares = [100 * row.share for row in rows]
    bounds = [wilson_interval(row.known, row.asked) for row in rows]
    figure = go.Figure(
        go.Bar(
            x=shares,
            y=places,
            orientation="h",
            width=0.72,
            marker={
                "color": palette[0],
                "line": {
                    "color": palette[7],
                    "width": [2.5 if row.relation == chosen else 0 for row in rows],
                },
            },
            error_x={
                "type": "data",
                "array": [max(0.0, 100 * high - share) for share, (_, high) in zip(shares, bounds, strict=True)],
                "arrayminus": [max(0.0, share - 100 * low) for share, (low, _) in zip(shares, bounds, strict=True)],
                "thickness": 1,
                "width": 3,
                "color": palette[7],
            },
            customdata=[[place, 0] for place in places],
            hovertext=[
                f"{html.escape(row.label)}<br>{row.known} of {row.asked} known, 95 % interval "
                f"{100 * low:.0f}–{100 * high:.0f} %"
                for row, (low, high) in zip(rows, bounds, strict=True)
            ],
            hovertemplate="%{hovertext}<extra></extra>",
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )
    )
    for place, row in enumerate(rows):
        figure.add_annotation(
            x=1, xref="paper", y=place, text=f"{row.known} / {row.asked}", showarrow=False, xanchor="left", xshift=6
        )
    figure.update_layout(
        height=_ROW_HEIGHT * len(rows) + 70,
        margin={"l": 10, "r": 64, "t": 30, "b": 10},
        showlegend=False,
        dragmode=False,
        bargap=0.1,
    )
    figure.update_xaxes(
        title={"text": "known, % of the facts asked", "standoff": 4},
        side="top",
        range=[0, 103],
        tickvals=[0, 25, 50, 75, 100],
        fixedrange=True,
    )
    figure.update_yaxes(
        tickvals=places,
        ticktext=[html.escape(short(row.label, _LONGEST)) for row in rows],
        range=[len(rows) - 0.5, -0.5],
        fixedrange=True,
        showgrid=False,
        automargin=True,
    )
    return figure


def effect_bars(
    effects: LayerEffects, *, written: Collection[int], proposed: Collection[int], dark: bool = False
) -> go.Figure:
    """Draw how much of the answer's probability comes back, a bar per layer.

    Args:
        effects: the averaged trace.
        written: layers the editor writes to; filled, the others are pale.
        proposed: layers that the trace proposes, the highest of them L*; marked below the axis.
        dark: whether the background is dark.
    """
    palette = colours(dark=dark)
    points = [100 * value for value in effects.effects]
    layers = list(range(len(points)))
    low, high = min(0.0, *points), max(0.0, *points, 1.0)
    figure = go.Figure()
    for name, chosen, colour, pattern in (
        ("written by the editor", [layer for layer in layers if layer in written], palette[0], ""),
        ("other layers", [layer for layer in layers if layer not in written], palette[6], "/"),
    ):
        if chosen:
            figure.add_trace(
                go.Bar(
                    x=chosen,
                    y=[points[layer] for layer in chosen],
                    name=name,
                    marker={"color": colour, "pattern": {"shape": pattern, "size": 5}},
                    hovertemplate="layer %{x}: %{y:.1f} points come back<extra></extra>",
                )
            )
    if proposed:
        figure.add_trace(
            go.Scatter(
                x=sorted(proposed),
                y=[low - 0.06 * (high - low)] * len(proposed),
                name="proposed layers",
                mode="markers",
                marker={"symbol": "triangle-up", "size": 11, "color": palette[1]},
                hovertemplate="layer %{x} is proposed<extra></extra>",
            )
        )
        top = max(proposed)
        figure.add_annotation(
            x=top, y=points[top], text="<b>L*</b>", showarrow=False, yshift=12, font={"color": palette[1], "size": 15}
        )
    figure.update_layout(
        height=340,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        bargap=0.15,
        barmode="overlay",
        dragmode=False,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    step = 1 if len(layers) <= 20 else 2 if len(layers) <= 40 else 4
    figure.update_xaxes(title="layer", tickvals=layers[::step], range=[-0.6, len(layers) - 0.4], fixedrange=True)
    figure.update_yaxes(
        title="points of probability that come back",
        range=[low - 0.14 * (high - low), high + 0.12 * (high - low)],
        fixedrange=True,
        automargin=True,
    )
    return figure
