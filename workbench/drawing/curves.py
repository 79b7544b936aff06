"""Search curves and answer bars, as plotly figures or escaped HTML, without Streamlit."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from kgmet.lm.say.score import NextToken
from workbench.wording import percent

__all__ = ["TERMS", "answer_bars", "search_curve", "term_values"]

TERMS = {
    "total": ("everything", "#6b7785"),
    "rewrite": ("the new answer", "#0072b2"),
    "consequence": ("its consequences", "#009e73"),
    "kept": ("what must stay", "#8c6bb1"),
    "anchor": ("what the subject is", "#cc79a7"),
    "length": ("length", "#e69f00"),
}
"""Loss term → (display name, colour)."""


def search_curve(steps: Sequence[Mapping[str, float | str]], *, height: int = 280) -> go.Figure:
    """Draw the loss terms by step, in nats; absent terms are left out."""
    figure = go.Figure()
    for term, (name, colour) in TERMS.items():
        points = term_values(steps, term)
        if any(value for _, value in points):
            figure.add_trace(
                go.Scatter(
                    x=[n for n, _ in points],
                    y=[value for _, value in points],
                    name=name,
                    mode="lines+markers",
                    marker={"size": 4},
                    line={
                        "color": colour,
                        "width": 3 if term == "rewrite" else 2,
                        "dash": "dot" if term == "total" else None,
                    },
                    hovertemplate=f"step %{{x}}: %{{y:.3f}} nats<extra>{name}</extra>",
                )
            )
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": "step", "rangemode": "tozero"},
        yaxis={"title": "loss, nats", "rangemode": "tozero"},
        legend={"orientation": "h", "y": -0.25},
        uirevision="search",
    )
    return figure


def term_values(steps: Sequence[Mapping[str, float | str]], term: str) -> list[tuple[int, float]]:
    """Return (step, value) of one term, at the steps that have it."""
    values = [(number, step.get(term)) for number, step in enumerate(steps)]
    return [(number, float(value)) for number, value in values if isinstance(value, (int, float))]


def answer_bars(tokens: Sequence[NextToken], *, marked: Mapping[str, str] | None = None) -> str:
    """Return the next tokens as labelled bars, as HTML with escaped texts.

    `marked`: text of an answer → class of its bar (``new``, ``old``); a token is marked if the answer begins with it.
    """
    rows = []
    for token in tokens:
        shown = token.text if token.text.strip() else token.text.replace("\n", "⏎").replace(" ", "␣") or "∅"
        bare = token.text.strip()
        kinds = [kind for answer, kind in (marked or {}).items() if bare and answer.startswith(bare)]
        rows.append(
            f'<div class="kg-bar {html.escape(kinds[0]) if kinds else ""}">'
            f"<code>{html.escape(shown)}</code>"
            f'<span class="kg-track"><span class="kg-fill" style="width:{100 * token.probability:.2f}%"></span></span>'
            f"<b>{html.escape(percent(token.probability))}</b></div>"
        )
    return f'<div class="kg-bars" role="img" aria-label="{html.escape(_spoken(tokens))}">{"".join(rows)}</div>'


def _spoken(tokens: Sequence[NextToken]) -> str:
    return "Likeliest next tokens: " + ", ".join(
        f"{token.text.strip()} {percent(token.probability)}" for token in tokens
    )
