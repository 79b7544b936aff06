"""The table of report cards: what a cell says, and by how much ours is behind."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from kgmet.evaluate.card.value import UNEDITED, Cell, ReportCard, Row, edited_columns

COLUMNS = (UNEDITED, *edited_columns(["KGMET", "AlphaEdit", "FT"]))


def row(key: str, *values: float, half: float = 0.1) -> Row:
    """A row with a value and an interval for each column, the unedited model first."""
    cells = {
        column.key: Cell(value=value, n=20, interval=(value - half, value + half))
        for column, value in zip(COLUMNS, values, strict=True)
    }
    return Row(key=key, cells=cells)


def test_a_cell_is_a_share_in_percent_or_a_mean_with_its_interval(load: Callable[[str], ModuleType]) -> None:
    cell_text = load("report_card").cell_text
    assert cell_text(row("efficacy", 0, 0.9, 0.8, 0.7), COLUMNS[1]) == "90 (80–100)"
    assert cell_text(row("divergence", 0, 0.0123, 0, 0, half=0.001), COLUMNS[1]) == "0.012 (0.011–0.013)"
    assert cell_text(row("perplexity", 35, 35.6, 0, 0, half=1), COLUMNS[1]) == "36 (35–37)"
    assert cell_text(Row(key="efficacy", cells={COLUMNS[1].key: Cell()}), COLUMNS[1]) == "–"
    assert load("report_card").n_text(row("efficacy", 0, 0.9, 0.8, 0.7)) == "20"


def test_where_ours_is_not_first_the_best_and_the_difference_are_named(load: Callable[[str], ModuleType]) -> None:
    rows = (
        row("efficacy", 0, 0.9, 0.8, 0.7),
        row("paraphrase", 0, 0.5, 0.55, 0.2),
        row("negation", 1, 0.1, 0.2, 0.9),
        row("repetition", 0.1, 0.3, 0.2, 0.4, half=0.01),
    )
    card = ReportCard(model="m", edited="e", edits=("a",), rows=rows, asked=COLUMNS)
    assert load("report_card").behind(card) == [
        "Paraphrase: KGMET 50 (40–60), best is AlphaEdit with 55 (45–65); the intervals overlap",
        "Negation: KGMET 10 (0–20), best is FT with 90 (80–100); the intervals are apart",
        "Repetition: KGMET 30 (29–31), best is AlphaEdit with 20 (19–21); the intervals are apart",
    ]
