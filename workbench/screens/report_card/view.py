"""A report card as tables for the page."""

from __future__ import annotations

import pandas as pd

from kgmet.evaluate.card.render import SCALE, about_edit, cell_text, example_lines, n_text
from kgmet.evaluate.card.value import ReportCard, Row
from workbench import wording

__all__ = ["card_table", "row_labels", "scale_text", "worst_lines"]


_MOST_WITH_COUNTS = 4
"""Most columns whose cells have room for the counts."""


def card_table(card: ReportCard) -> pd.DataFrame:
    """Return a line for each row of the card, a column for each model or way of telling, and n.

    Several editors side by side leave no room for the counts of the three verdicts.
    """
    counts = _has_counts(card)
    return pd.DataFrame(
        [
            {
                "row": row.spec.label,
                **{column.label: cell_text(row, row.cells[column.key], counts=counts) for column in card.columns},
                "n": n_text(row),
            }
            for row in card.shown
        ]
    ).set_index("row")


def scale_text(card: ReportCard) -> str:
    """Return what the cells of the table mean."""
    if _has_counts(card):
        return SCALE.replace("*", "")
    return (
        "Shares of answers said, in % with 95 % intervals (Wilson): the greedy answer names what is right and not what "
        "is wrong. The files below also count the answers that are only preferred."
    )


def _has_counts(card: ReportCard) -> bool:
    return len(card.columns) <= _MOST_WITH_COUNTS


def row_labels(card: ReportCard) -> dict[str, str]:
    """Return the rows by key, in words, with the number of worst answers kept of each."""
    return {
        row.key: row.spec.label + (f" · {len(row.worst)} worst answers" if len(row.worst) > 1 else "")
        for row in card.shown
    }


def worst_lines(row: Row, card: ReportCard) -> list[str]:
    """Return the worst answers as Markdown in which a stranger's text is text."""
    return [
        "\n".join(
            [
                f"- {wording.safe(example.prompt)} → **{wording.safe(example.wanted)}**"
                + (f" ({wording.safe(about)})" if (about := about_edit(example, card)) else ""),
                *(f"    - {wording.safe(line)}" for line in example_lines(example, card.columns)),
            ]
        )
        for example in row.worst
    ]
