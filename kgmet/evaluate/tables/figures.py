"""Run summaries as plotly figures: quality and general ability by number of edits, and quality per relation."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kgmet.base.errors import ConfigError
from kgmet.evaluate.tables.summary import RunSummary

__all__ = ["figures_of", "general_figure", "has_plotly", "quality_figure", "relation_figure", "write_figures"]

_KINDS = ("efficacy", "paraphrase", "neighborhood", "consequences")
_DASHES = ("solid", "dash", "dot", "dashdot")
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#000000", "#999999", "#882255", "#44AA99", "#117733", "#AA4499"),
)
"""Line colours; Okabe and Ito's come first, which are safe for colour-blind readers."""


def quality_figure(summaries: Sequence[RunSummary]) -> Any:
    """Draw the share of preferred answers at each checkpoint; lines are kinds, colours are runs."""
    figure = _figure("Quality of the edits so far", "expected answer preferred, %")
    for number, summary in enumerate(summaries):
        for dash, kind in zip(_DASHES, _KINDS, strict=True):
            points = [
                (row["n_edits"], 100 * row["quality"][kind]["preferred"] / row["quality"][kind]["n"])
                for row in summary.checkpoints
                if row["quality"].get(kind, {}).get("n")
            ]
            points = points or _final(summary, kind)
            _line(figure, points, name=f"{_name(summary)} {kind}", number=number, dash=dash)
    figure.update_yaxes(range=[0, 101])
    return figure


def general_figure(summaries: Sequence[RunSummary]) -> Any:
    """Draw perplexity (right axis) and task accuracies against the number of edits: the collapse curve."""
    figure = _figure("General ability", "accuracy, %")
    for number, summary in enumerate(summaries):
        tasks = sorted({task for row in summary.checkpoints for task in row["tasks"]})
        for place, task in enumerate(tasks):
            points = [
                (row["n_edits"], 100 * row["tasks"][task]["accuracy"])
                for row in summary.checkpoints
                if task in row["tasks"]
            ]
            name = f"{_name(summary)} {task}"
            _line(figure, points, name=name, number=number + place, dash=_DASHES[number % len(_DASHES)])
        points = [(row["n_edits"], row["perplexity"]) for row in summary.checkpoints]
        _line(figure, points, name=f"{_name(summary)} perplexity", number=number, dash="dot", axis="y2")
    figure.update_layout(yaxis2={"title": "perplexity", "overlaying": "y", "side": "right", "type": "log"})
    return figure


def relation_figure(summaries: Sequence[RunSummary]) -> Any:
    """Draw, by relation, the share of consequences and paraphrases that prefer the expected answer after the edit."""
    figure = _figure("By relation", "expected answer preferred, %", x="edited relation")
    relations = sorted({relation for summary in summaries for relation in summary.by_relation})
    for number, summary in enumerate(summaries):
        for kind, opacity in zip(_KINDS, (1.0, 0.75, 0.5, 0.35), strict=True):
            values = [_share(summary.by_relation.get(relation, {}).get(kind)) for relation in relations]
            if any(value is not None for value in values):
                figure.add_bar(
                    x=relations,
                    y=values,
                    name=f"{_name(summary)} {kind}",
                    marker={"color": _COLOURS[number % len(_COLOURS)], "opacity": opacity},
                )
    return figure


def figures_of(summaries: Sequence[RunSummary]) -> Mapping[str, Any]:
    """Return all figures by file name."""
    return {
        "quality": quality_figure(summaries),
        "general": general_figure(summaries),
        "relations": relation_figure(summaries),
    }


def write_figures(summaries: Sequence[RunSummary], folder: Path) -> list[Path]:
    """Write each figure as a self-contained HTML file, and return the files.

    Raises:
        ConfigError: if plotly is not installed.
    """
    if not has_plotly():
        raise ConfigError("Figures need plotly. Install it with: pip install 'kgmet-workbench[app]'.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures_of(summaries).items():
        path = folder / f"{name}.html"
        figure.write_html(path, include_plotlyjs="directory", full_html=True)
        paths.append(path)
    return paths


def has_plotly() -> bool:
    """Return whether figures can be drawn."""
    return importlib.util.find_spec("plotly") is not None


def _figure(title: str, y: str, *, x: str = "edits") -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        title=title, xaxis_title=x, yaxis_title=y, template="plotly_white", legend={"orientation": "h", "y": -0.25}
    )
    return figure


def _line(
    figure: Any, points: Sequence[tuple[float, float]], *, name: str, number: int, dash: str, axis: str = "y"
) -> None:
    if not points:
        return
    figure.add_scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="lines+markers",
        name=name,
        yaxis=axis,
        line={"color": _COLOURS[number % len(_COLOURS)], "dash": dash},
    )


def _final(summary: RunSummary, kind: str) -> list[tuple[float, float]]:
    value = _share(summary.metrics.get(kind))
    return [] if value is None else [(summary.n_edits, value)]


def _share(metric: Mapping[str, Any] | None) -> float | None:
    value = metric["after"]["preferred"] if metric else None
    return None if value is None else 100 * float(value)


def _name(summary: RunSummary) -> str:
    return f"{summary.editor}/{summary.name}"
