"""Tables, curves and metric definitions of the Benchmark page, without Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kgmet.evaluate.datasets.cases import AskKind
from kgmet.evaluate.tables.render import compare_runs
from kgmet.evaluate.tables.running import running_shares
from kgmet.evaluate.tables.summary import RunSummary
from kgmet.measure.metrics import METRICS
from workbench import wording
from workbench.drawing import charts

__all__ = [
    *("READ_PERPLEXITY", "READ_SHARE"),
    *("checkpoint_chart", "curve_chart", "kinds_asked", "metric_glossary", "paired_table", "rounded", "runs_table"),
]

READ_SHARE = (
    "Each point is the share over all cases scored so far: the expected answer is likelier per token than the rejected "
    "one. The axis always spans 0 to 100 % and clips nothing; of long runs 200 points are drawn."
)
READ_PERPLEXITY = (
    "The axis begins below the smallest value, not at 0, and clips nothing. It is logarithmic where the largest value "
    "is more than 5 times the smallest."
)
_LOG_FROM = 5.0
"""Ratio of the largest to the smallest perplexity from which the axis is logarithmic."""

KINDS = {
    AskKind.EFFICACY: "Efficacy",
    AskKind.PARAPHRASE: "Paraphrase",
    AskKind.NEIGHBORHOOD: "Neighbourhood",
    AskKind.CONSEQUENCES: "Consequences",
    AskKind.PORTABILITY: "Portability",
    AskKind.LOCALITY: "Locality",
    AskKind.HOP: "Single hops",
}
"""Kinds of prompts with both answers, in table order."""
_SAID = (
    ("efficacy", "Edit said", "said"),
    ("multi_hop_chat", "Multi-hop said, asked in chat", "said"),
    ("consequences", "Consequences said", "said"),
    ("neighborhood", "Neighbourhood unchanged", "unchanged"),
)
"""Kinds whose greedy answers are shown too: (kind, column, definition)."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")


def curve_chart(summaries: Sequence[RunSummary], *, kind: AskKind, dark: bool = False) -> go.Figure:
    """Draw the share of one kind of prompt by scored cases; before dotted, after solid, one colour per run."""
    curves = []
    for number, summary in enumerate(summaries):
        for state, dash, width in (("before", "dot", 1.4), ("after", "solid", 2.4)):
            points = running_shares(summary.rows, state=state).get(kind, ())
            if points:
                curves.append(
                    charts.Line(
                        name=f"{run_name(summary)} · {state}",
                        x=[point.n_case for point in points],
                        y=[point.share for point in points],
                        colour=number,
                        dash=dash,
                        width=width,
                    )
                )
    label = f"{KINDS.get(kind, kind.value)}: share of prompts, preferred"
    figure = charts.lines(curves, axes=("cases scored, in the order of the run", label), dark=dark, span=(-0.02, 1.02))
    figure.update_yaxes(tickformat=".0%", dtick=0.2, tick0=0)
    most = max((summary.n_cases for summary in summaries), default=0)
    # Of few cases every one has a tick; left to itself the axis puts ticks between them and rounds their labels.
    figure.update_xaxes(rangemode="tozero", tickformat="d", dtick=1 if most <= 12 else None)
    return figure


def checkpoint_chart(summaries: Sequence[RunSummary], *, dark: bool = False) -> go.Figure:
    """Draw perplexity on the fixed text against the number of edits."""
    curves = [
        charts.Line(
            name=run_name(summary),
            x=[int(row["n_edits"]) for row in summary.checkpoints],
            y=[float(row["perplexity"]) for row in summary.checkpoints],
            colour=number,
            dash=_DASHES[number % len(_DASHES)],
        )
        for number, summary in enumerate(summaries)
        if summary.checkpoints
    ]
    values = [y for curve in curves for y in curve.y if y is not None and y > 0]
    is_log = bool(values) and max(values) > _LOG_FROM * min(values)
    label = "perplexity of the fixed text, per token" + (", logarithmic" if is_log else "")
    figure = charts.lines(curves, axes=("edits so far", label), dark=dark, log=is_log)
    figure.update_xaxes(
        tickformat="d", dtick=1 if max((x for curve in curves for x in curve.x), default=0) <= 12 else None
    )
    return figure


def kinds_asked(summaries: Sequence[RunSummary]) -> list[AskKind]:
    """Return the kinds of prompts with both answers that any of the runs has asked."""
    return [
        kind
        for kind in KINDS
        if any(summary.metrics.get(kind.value, {}).get("after", {}).get("n_preferred") for summary in summaries)
    ]


def runs_table(summaries: Sequence[RunSummary]) -> pd.DataFrame:
    """Return one row per run and state: preferred shares with n and interval, score, perplexity, seconds per edit."""
    rows = []
    for summary in summaries:
        for state in ("before", "after"):
            row: dict[str, Any] = {"run": run_name(summary), "state": state, "edits": summary.n_edits}
            for key, label, which in _SAID:
                found = summary.metrics.get(key)
                if found is not None:
                    row[label] = _value_or_said(found, state, which)
            for kind, label in KINDS.items():
                found = summary.metrics.get(kind.value)
                if found is not None and found[state]["n_preferred"]:
                    row[label] = _share(found[state])
            row["Score"] = _number(summary.metrics["score"][state], percent=True)
            row["Perplexity"] = _number(summary.metrics["perplexity"].get(state), percent=False)
            seconds = summary.seconds_per_edit
            row["s per edit"] = "" if state == "before" else wording.number(seconds)
            rows.append(row)
    return pd.DataFrame(rows).fillna(wording.NOT_MEASURED)


def paired_table(first: RunSummary, second: RunSummary) -> pd.DataFrame:
    """Return the comparison of two runs on common prompts: difference with interval, and McNemar's p."""
    return pd.DataFrame(
        [
            {
                "metric": test.metric,
                "n": test.n,
                "difference": f"{100 * test.difference:+.1f} points",
                "95 % interval": f"{100 * test.interval[0]:+.1f} to {100 * test.interval[1]:+.1f}",
                f"only {run_name(first)}": test.only_first,
                f"only {run_name(second)}": test.only_second,
                "p (McNemar)": f"{test.p:.3g}",
            }
            for test in compare_runs(first, second)
        ]
    )


def metric_glossary() -> pd.DataFrame:
    """Return every metric with definition, unit, better direction and source."""
    return pd.DataFrame(
        [
            {
                "metric": spec.label,
                "definition": spec.definition,
                "unit": spec.unit,
                "better": spec.better,
                "source": spec.source,
            }
            for spec in METRICS.values()
        ]
    )


def run_name(summary: RunSummary) -> str:
    """Return the label of a run: editor and run number."""
    return f"{summary.editor}/{summary.name}"


def _share(found: Mapping[str, Any]) -> str:
    text = f"{100 * found['preferred']:.1f} %"
    if found["interval"] is not None:
        text += f" ({100 * found['interval'][0]:.0f}–{100 * found['interval'][1]:.0f}; n {found['n_preferred']})"
    return text


def _value_or_said(found: Mapping[str, Any], state: str, which: str) -> str:
    """Return the share said in this state with n and interval; ``unchanged`` exists only after the edit."""
    if which == "unchanged":
        value, n = (found[which]["value"], found[which]["n"]) if state == "after" and which in found else (None, 0)
        interval = found[which]["interval"] if n else None
    else:
        value, n, interval = (found[state][key] for key in ("generated", "n_generated", "interval_generated"))
    if not n or value is None:
        return wording.NOT_MEASURED
    around = "" if interval is None else f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f}; "
    return f"{100 * value:.1f} % ({around}n {n})"


def _number(found: Mapping[str, Any] | None, *, percent: bool) -> str:
    if found is None or found.get("value") is None:
        return wording.NOT_MEASURED
    return f"{100 * found['value']:.1f} %" if percent else f"{found['value']:.2f}"
