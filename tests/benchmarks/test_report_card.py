"""The table of report cards: what a cell says, and by how much ours is behind."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from kgmet.evaluate.card.value import UNEDITED, Cell, ReportCard, Row, edited_columns
from kgmet.fact import FactEdit
from kgmet.write.patch import EditPatch
from kgmet.write.so_far import EditsSoFar
from tests.tiny_models import tiny_lm

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


ROWS = (
    row("efficacy", 0, 0.9, 0.8, 0.7),
    row("paraphrase", 0, 0.5, 0.55, 0.2),
    row("negation", 1, 0.1, 0.2, 0.9),
    row("repetition", 0.1, 0.3, 0.2, 0.4, half=0.01),
)


def test_rows_count_as_tied_where_intervals_overlap_and_those_behind_come_first(
    load: Callable[[str], ModuleType],
) -> None:
    card = ReportCard(model="m", edited="e", edits=("a",), rows=ROWS, asked=COLUMNS)
    assert load("report_card").standings(card) == [
        "KGMET is first or tied in 2 of 4 rows.",
        "Negation: KGMET 10 (0–20), best is FT with 90 (80–100); the intervals are apart",
        "Repetition: KGMET 30 (29–31), best is AlphaEdit with 20 (19–21); the intervals are apart",
        "Paraphrase: KGMET 50 (40–60), best is AlphaEdit with 55 (45–65); the intervals overlap",
    ]


def test_our_editors_are_compared_with_the_others_and_not_with_each_other(load: Callable[[str], ModuleType]) -> None:
    columns = (UNEDITED, *edited_columns(["KGMET", "KGMET-many", "FT"]))
    cells = {
        column.key: Cell(value=value, n=20, interval=(value - 0.01, value + 0.01))
        for column, value in zip(columns, (0, 0.8, 0.9, 0.7), strict=True)
    }
    card = ReportCard(model="m", edited="e", edits=("a",), rows=(Row(key="efficacy", cells=cells),), asked=columns)
    assert load("report_card").standings(card) == [
        "KGMET is first or tied in 1 of 1 rows.",
        "KGMET-many is first or tied in 1 of 1 rows.",
    ]


def test_a_sequence_is_made_in_batches_each_on_top_of_the_earlier_ones(load: Callable[[str], ModuleType]) -> None:
    made: list[tuple[int, int]] = []

    class Maker:
        def patch(self, editor: object, facts: list[FactEdit], *, earlier: EditsSoFar) -> EditPatch:
            made.append((sum(len(patch.edits) for patch in earlier.patches), len(facts)))
            return EditPatch(edits=tuple(facts), updates=(), model_fingerprint=lm.fingerprint, editor="E")

    lm = tiny_lm()
    facts = [FactEdit(subject=f"S{n}", template="{} is in", new_object="Rome") for n in range(5)]
    bench = object.__new__(load("report_card").Bench)
    bench.lm, bench.maker, bench.num_edits = lm, Maker(), 2
    (patch,) = bench.in_sequence(None, facts)
    assert made == [(0, 2), (2, 2), (4, 1)]
    assert list(patch.edits) == facts
