"""Figures of forecast changes, without Streamlit. Losses and gains differ in colour and in shape."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence, Set

import plotly.graph_objects as go

from kgmet.forecast.check import CheckedForecast
from kgmet.forecast.forecast import FactForecast
from workbench.drawing.charts import colours
from workbench.drawing.graph_svg import INKS

__all__ = ["check_chart", "fact_chart", "relation_chart"]

_MARGIN = {"l": 10, "r": 10, "t": 30, "b": 10}
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}


def fact_chart(
    items: Sequence[FactForecast],
    *,
    protected: Mapping[str, FactForecast] | None = None,
    measured: Mapping[str, float] | None = None,
    dark: bool = False,
) -> go.Figure:
    """Draw one line per fact, the first on top: the answer's probability now, forecast, and forecast if protected.

    Args:
        items: the forecasts.
        protected: the same facts' forecasts of the protected edit, by fact id.
        measured: the answers' probabilities with the edit attached, by fact id.
        dark: whether the background is dark.
    """
    palette, ink = colours(dark=dark), INKS["dark" if dark else "light"]
    figure = go.Figure()
    names = [_name(item, number) for number, item in enumerate(items, start=1)]
    for name, item in zip(names, items, strict=True):
        colour = ink.good if item.change > 0 else ink.bad
        figure.add_trace(
            go.Scatter(
                x=[item.before, item.after],
                y=[name, name],
                mode="lines",
                line={"color": colour, "width": 3},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    hover = "%{customdata}: %{x:.1%}<extra></extra>"
    told = [html.escape(f"{item.fact.prompt.text} … {item.fact.answer}", quote=False) for item in items]
    figure.add_trace(
        go.Scatter(
            x=[item.before for item in items],
            y=names,
            name="now",
            mode="markers",
            marker={"size": 9, "symbol": "circle-open", "color": palette[6], "line": {"width": 2}},
            customdata=told,
            hovertemplate="now, " + hover,
        )
    )
    for loses, name, symbol in (
        (True, "forecast, loses", "triangle-left"),
        (False, "forecast, gains", "triangle-right"),
    ):
        chosen = [n for n, item in enumerate(items) if (item.change <= 0) is loses]
        if chosen:
            figure.add_trace(
                go.Scatter(
                    x=[items[n].after for n in chosen],
                    y=[names[n] for n in chosen],
                    name=name,
                    mode="markers",
                    marker={"size": 11, "symbol": symbol, "color": ink.bad if loses else ink.good},
                    customdata=[told[n] for n in chosen],
                    hovertemplate="forecast, " + hover,
                )
            )
    if protected:
        also = [(name, protected[item.fact.prompt.id]) for name, item in zip(names, items, strict=True)
                if item.fact.prompt.id in protected]  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=[item.after for _, item in also],
                y=[name for name, _ in also],
                name="forecast, protected edit",
                mode="markers",
                marker={"size": 9, "symbol": "diamond", "color": palette[0]},
                hovertemplate="forecast of the protected edit: %{x:.1%}<extra></extra>",
            )
        )
    if measured:
        asked = [(name, measured[item.fact.prompt.id]) for name, item in zip(names, items, strict=True)
                 if item.fact.prompt.id in measured]  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=[value for _, value in asked],
                y=[name for name, _ in asked],
                name="measured",
                mode="markers",
                marker={"size": 10, "symbol": "x-thin", "line": {"width": 2.5, "color": palette[7]}},
                hovertemplate="measured: %{x:.1%}<extra></extra>",
            )
        )
    figure.update_traces(cliponaxis=False)
    figure.update_layout(height=110 + 30 * len(items), margin=_MARGIN, legend=_LEGEND)
    figure.update_xaxes(title="probability of the right answer", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True, categoryorder="array", categoryarray=names)
    return figure


def relation_chart(items: Sequence[FactForecast], *, labels: Mapping[str, str], dark: bool = False) -> go.Figure:
    """Draw every fact as a dot at its forecast change, one line per relation, largest change on top.

    Args:
        items: the forecasts.
        labels: relation id → display name.
        dark: whether the background is dark.
    """
    palette, ink = colours(dark=dark), INKS["dark" if dark else "light"]
    by_relation: dict[str, list[FactForecast]] = {}
    for item in items:
        by_relation.setdefault(item.fact.prompt.relation, []).append(item)
    order = sorted(by_relation, key=lambda key: -max(abs(item.change) for item in by_relation[key]))
    names = {key: html.escape(f"{labels.get(key, key)} (n {len(by_relation[key])})", quote=False) for key in order}
    figure = go.Figure()
    for loses, name, symbol in ((True, "loses", "triangle-left"), (False, "gains", "triangle-right")):
        chosen = [(key, item) for key in order for item in by_relation[key] if (item.change <= 0) is loses]
        figure.add_trace(
            go.Scatter(
                x=[item.change for _, item in chosen],
                y=[names[key] for key, _ in chosen],
                name=name,
                mode="markers",
                marker={"size": 9, "symbol": symbol, "color": ink.bad if loses else ink.good, "opacity": 0.75},
                customdata=[html.escape(str(item), quote=False) for _, item in chosen],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"width": 1, "color": palette[6]})
    figure.update_layout(height=max(240, 90 + 22 * len(order)), margin=_MARGIN, legend=_LEGEND)
    figure.update_xaxes(title="forecast change of log p(answer), nats")
    figure.update_yaxes(
        autorange="reversed", automargin=True, categoryorder="array", categoryarray=[names[key] for key in order]
    )
    return figure


def check_chart(checked: CheckedForecast, *, protected: Set[str] = frozenset(), dark: bool = False) -> go.Figure:
    """Draw measured over forecast change, one dot per fact, with the identity line; protected facts are diamonds."""
    palette = colours(dark=dark)
    rows = list(zip(checked.forecasts, checked.forecast.tolist(), checked.measured.tolist(), strict=True))
    ends = [value for _, x, y in rows for value in (x, y)] or [0.0]
    low, high = min(*ends, -0.05), max(*ends, 0.05)
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            name="forecast = measured",
            line={"color": palette[6], "dash": "dot", "width": 1.5},
            hoverinfo="skip",
        )
    )
    for is_protected, name, symbol, colour in ((False, "fact", "circle", 0), (True, "protected fact", "diamond", 3)):
        chosen = [row for row in rows if (row[0].fact.prompt.id in protected) is is_protected]
        if chosen:
            figure.add_trace(
                go.Scatter(
                    x=[x for _, x, _ in chosen],
                    y=[y for _, _, y in chosen],
                    name=name,
                    mode="markers",
                    marker={"size": 9, "symbol": symbol, "color": palette[colour], "opacity": 0.8},
                    customdata=[
                        html.escape(f"{i.fact.prompt.subject}: {i.fact.answer}", quote=False) for i, _, _ in chosen
                    ],
                    hovertemplate="%{customdata}<br>forecast %{x:+.2f}, measured %{y:+.2f} nats<extra></extra>",
                )
            )
    figure.update_layout(height=400, margin=_MARGIN, legend=_LEGEND)
    figure.update_xaxes(title="forecast change of log p(answer), nats", zeroline=True)
    figure.update_yaxes(title="measured change, nats", zeroline=True)
    return figure


def _name(item: FactForecast, number: int) -> str:
    subject = item.fact.prompt.subject
    return html.escape(f"{number}. {subject if len(subject) <= 26 else subject[:25] + '…'}", quote=False)
