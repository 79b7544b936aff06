"""A report card as one HTML table, on its page and in the file that is shared. No Streamlit."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kgmet.evaluate.card.render import SCALE, cell_text, n_text
from kgmet.evaluate.card.value import ReportCard, Row
from workbench.drawing.plain import bdi, shown

__all__ = ["RESULT", "card_frame", "card_html", "scale_text"]

RESULT = "card-of-edit"
"""Name of the result with the card of one edit; made from what an inspection of that edit is made from."""
_MOST_WITH_COUNTS = 4
"""Most columns whose cells have room for the counts."""


def card_html(card: ReportCard, rows: Sequence[Row] | None = None) -> str:
    """Return a row for each row of the card (or those given), a column for each model or way of telling, and n.

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
        for row in (card.shown if rows is None else rows)
    )
    table = f'<table class="kg-card" style="--n:{len(card.columns)}">'
    return f'<div class="kg-table-wrap">{table}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    """Set ``75 % (30–95) · 3/1/0`` in two lines."""
    value, _, rest = text.partition(" (")
    interval, _, counts = rest.partition(")")
    below = f"<small>{shown(interval + counts)}</small>" if rest else ""
    return f"<td>{shown(value)}{below}</td>"


def card_frame(card: ReportCard) -> pd.DataFrame:
    """Return one row for each row and column of the card, with all its numbers."""
    rows = []
    for row in card.shown:
        for column in card.columns:
            cell = row.cells[column.key]
            low, high = cell.interval or (None, None)
            values = {"value": cell.value, "low": low, "high": high, "n": cell.n, "asked": row.n_asked}
            counts = {"said": cell.said, "preferred": cell.preferred, "no": cell.no}
            about = {"row": row.spec.label, "column": column.label, "unit": row.spec.unit}
            rows.append({**about, **values, **counts, "note": cell.note})
    return pd.DataFrame(rows)


def scale_text(card: ReportCard) -> str:
    """Return what the cells of the table mean."""
    if _has_counts(card):
        return SCALE
    return (
        "Shares of answers said, in % with 95 % intervals (Wilson): the greedy answer names what is right and not what "
        "is wrong. The files below also count the answers that are only preferred."
    )


def _has_counts(card: ReportCard) -> bool:
    return len(card.columns) <= _MOST_WITH_COUNTS
