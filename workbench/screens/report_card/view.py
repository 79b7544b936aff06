"""Rows and worst answers of a report card, as the page says them."""

from __future__ import annotations

from kgmet.evaluate.card.render import about_edit, example_lines
from kgmet.evaluate.card.value import ReportCard, Row
from workbench import wording

__all__ = ["row_labels", "worst_lines"]


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
