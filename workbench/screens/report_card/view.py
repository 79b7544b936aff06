"""A report card as tables for the page."""

from __future__ import annotations

from kgmet.evaluate.card.render import SCALE, about_edit, cell_text, example_lines, n_text
from kgmet.evaluate.card.value import ReportCard, Row
from workbench import wording
from workbench.drawing.plain import bdi, shown

__all__ = ["card_html", "row_labels", "scale_text", "worst_lines"]


_MOST_WITH_COUNTS = 4
"""Most columns whose cells have room for the counts."""


def card_html(card: ReportCard) -> str:
    """Return a row for each row of the card, a column for each model or way of telling, and n.

    A cell has the value, and below it the interval and the counts of the three verdicts. Several editors side by side
    leave no room for the counts.
    """
    counts = _has_counts(card)
    names = ("row", *(column.label for column in card.columns), "n")
    head = "".join(f'<th scope="col">{bdi(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{bdi(row.spec.label)}</th>'
        + "".join(_cell(cell_text(row, row.cells[column.key], counts=counts)) for column in card.columns)
        + f"<td>{shown(n_text(row))}</td></tr>"
        for row in card.shown
    )
    table = f'<table class="kg-table kg-card" style="--n:{len(card.columns)}">'
    return f'<div class="kg-table-wrap">{table}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    """Set ``75 % (30–95) · 3/1/0`` in two lines."""
    value, _, rest = text.partition(" (")
    interval, _, counts = rest.partition(")")
    below = f"<small>{shown(interval + counts)}</small>" if rest else ""
    return f"<td>{shown(value)}{below}</td>"


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
