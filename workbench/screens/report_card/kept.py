"""How report cards are kept over a restart of the server."""

from __future__ import annotations

from typing import Any

from kgmet.evaluate.card.html import card_html as card_page
from kgmet.evaluate.card.value import ReportCard
from workbench.drawing.card_table import RESULT as CARD_OF_EDIT
from workbench.drawing.card_table import card_html
from workbench.screens.report_card import view
from workbench.screens.report_card.actions import KIND
from workbench.state.kept import ResultCodec

__all__ = ["CODECS", "card_from_json"]


def card_from_json(data: Any) -> ReportCard:
    """Read what `ReportCard.to_json` made.

    Raises:
        KeyError, ValueError: if it is something else, or lacks what a page or a file shows of it.
    """
    card = ReportCard.from_json(data)
    if not card.shown or len({row.key for row in card.rows}) < len(card.rows):
        raise ValueError("it has no rows, or the same row twice")
    # A missing cell or an unknown verdict shows up when it is drawn; detect it here, not on the page.
    card_html(card)
    card_page(card)
    for row in card.shown:
        view.worst_lines(row, card)
    return card


CODECS = (
    ResultCodec(name=KIND, what="The report card", to_json=ReportCard.to_json, from_json=card_from_json),
    ResultCodec(
        name=CARD_OF_EDIT, what="The report card on Share", to_json=ReportCard.to_json, from_json=card_from_json
    ),
)
