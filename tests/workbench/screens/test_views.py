"""What the pages that look inside say, in tables and sentences, and which cell is chosen."""

from __future__ import annotations

from typing import Any

import pytest

from kgmet.base.errors import ConfigError
from kgmet.editing.editors import EDITORS, IN_CONTEXT
from kgmet.inspect.comparison import ComparisonRow
from kgmet.inspect.lens import read_lens
from kgmet.inspect.overlap import OverlapKind, measure_drift, measure_overlap
from kgmet.inspect.shift import Quantity, trace_shifts
from kgmet.inspect.spectrum import inspect_writes
from kgmet.measure.metrics import MetricValue
from kgmet.write.nullspace import Cutoff, NullSpace
from tests.inspect.looked import GATE, RANK, TOWER, moment_of, random_patch, text_of, written_patch
from tests.tiny_models import N_LAYER, tiny_lm
from workbench.drawing.heatmaps import Cell
from workbench.screens.compare import view as compare_view
from workbench.screens.method import text as method_text
from workbench.screens.orthogonality import view as protection_view
from workbench.screens.shift import tables as inspect_tables
from workbench.screens.shift import view as shift_view

LM = tiny_lm()
KEYS = {"layer_key": "layer", "position_key": "position"}


def test_every_quantity_has_a_fixed_scale_and_a_sentence() -> None:
    assert set(shift_view.SCALES) == set(shift_view.READING) == set(Quantity)
    assert set(protection_view.OVERLAP_SCALES) == set(protection_view.READ_OVERLAP) == set(OverlapKind)


def test_the_first_cell_is_the_answer_and_a_click_moves_it() -> None:
    (trace,) = trace_shifts(LM, [], [text_of()])
    store: dict[str, Any] = {}
    shift_view.settle(store, trace, **KEYS)
    assert shift_view.cell(store, **KEYS) == Cell(row=N_LAYER - 1, column=len(trace.tokens) - 1)
    shift_view.take_cell(store, Cell(row=1, column=2), **KEYS)
    shift_view.take_cell(store, None, **KEYS)
    shift_view.settle(store, trace, **KEYS)
    assert shift_view.cell(store, **KEYS) == Cell(row=1, column=2)


def test_a_cell_beyond_a_shorter_text_is_moved_into_it() -> None:
    (trace,) = trace_shifts(LM, [], [text_of()])
    store: dict[str, Any] = {"layer": 99, "position": 99}
    shift_view.settle(store, trace, **KEYS)
    assert shift_view.cell(store, **KEYS) == Cell(row=N_LAYER - 1, column=len(trace.tokens) - 1)


def test_the_lens_table_shows_every_layer_with_both_answers() -> None:
    reading = read_lens(LM, random_patch(LM), text_of(), position=-1)
    table = inspect_tables.lens_by_layer(reading)
    assert list(table["layer"]) == list(range(N_LAYER))[::-1]
    assert {"Rome: p", "Paris: rank", "KL (nats)"} <= set(table.columns)
    assert "Rome" in inspect_tables.lens_sentence(reading, 0)
    assert len(inspect_tables.lens_at_layer(reading, 0)) == len(reading.before[0].top)


def test_moving_the_cutoff_is_said_in_words() -> None:
    (write,) = inspect_writes(LM, written_patch(LM), {1: moment_of(LM, 1)})
    actual = write.cost(write.rank)
    assert "written with" in protection_view.trade_sentence(actual, actual)
    fewer = protection_view.trade_sentence(actual, write.cost(write.rank - 5))
    assert "5 fewer" in fewer and "-" in fewer
    assert "5 more" in protection_view.trade_sentence(actual, write.cost(write.rank + 5))
    table = protection_view.cost_table(actual, write.cost(3))
    assert table.loc["free directions"].tolist() == [str(write.rank), "3"]


def test_rounding_noise_is_called_nothing() -> None:
    assert protection_view.share(3e-15) == "0\u00a0%"
    assert protection_view.share(0.25) == "25.0\u00a0%"


def test_headline_and_tables_name_what_was_measured() -> None:
    patch = written_patch(LM)
    writes = inspect_writes(LM, patch, {1: moment_of(LM, 1)})
    drift = measure_drift(LM, patch, [text_of(), text_of(GATE)])
    labels = [label for label, _, _ in protection_view.headline(writes, drift)]
    assert labels[:2] == ["Update in protected space", "Without the projection"]
    assert protection_view.write_table(writes)["in protected space"].tolist() == ["0\u00a0%"]
    assert protection_view.drift_table(drift)["n"].tolist() == [2]
    assert len(protection_view.drift_labels(drift)) == 2


def test_a_pair_of_edits_in_words() -> None:
    free = {1: NullSpace.from_moment(moment_of(LM, 1), Cutoff(kind=RANK, value=0.5))}
    overlap = measure_overlap([written_patch(LM), written_patch(LM, edits=(GATE,), seed=3)], free)
    together = measure_overlap([written_patch(LM, edits=(TOWER, GATE))], free)
    said = protection_view.overlap_sentence(overlap, OverlapKind.CROSSTALK, layer=1, row=0, column=1)
    assert "The Eiffel Tower" in said and "Big Ben" in said and "%" in said
    apart = protection_view.overlap_sentence(together, OverlapKind.CROSSTALK, layer=1, row=0, column=1)
    assert "not measured" in apart
    assert "0." in protection_view.overlap_sentence(overlap, OverlapKind.COSINE, layer=1, row=0, column=1)


def test_rows_of_the_form_become_columns_with_their_settings() -> None:
    rows = [
        {"editor": "AlphaEdit", "layers": "", "ridge": None, "cutoff": float("nan"), "steps": None},
        {"editor": "AlphaEdit", "layers": "3, 4", "ridge": 2, "cutoff": 0.5, "steps": 7},
        {"editor": "AlphaEdit", "layers": None, "ridge": None, "cutoff": None, "steps": None},
        {"editor": None, "layers": "", "ridge": None, "cutoff": None, "steps": None},
    ]
    own, changed, again = compare_view.candidates_from_rows(rows)
    assert own.config == EDITORS["AlphaEdit"].config
    assert changed.config.write.layers == (3, 4) and changed.config.write.ridge == 2.0
    assert (changed.config.cutoff.value, changed.config.target.max_steps) == (0.5, 7)
    assert len({own.label, changed.label, again.label}) == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"editor": "AlphaEdit", "layers": "two"}, "Row 1.*layers"),
        ({"editor": "AlphaEdit", "ridge": -1.0}, "Row 1.*ridge"),
        ({"editor": "nobody"}, "names no editor"),
        ({"editor": None}, "nothing to compare"),
    ],
)
def test_a_row_that_makes_no_column_says_why(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compare_view.candidates_from_rows([row])


def test_a_cell_shows_its_n_and_a_star_only_where_its_interval_lies_apart() -> None:
    values = (
        MetricValue(value=0.75, n=40, interval=(0.6, 0.86)),
        None,
        MetricValue(value=0.25, n=40, interval=(0.14, 0.4)),
    )
    row = ComparisonRow(key="k", label="l", definition="d", unit="share", better="higher", values=values)
    shown = [compare_view.shown_value(row, column) for column in range(3)]
    assert shown == ["75.0\u00a0% (30 of 40) ★", "not measured", "25.0\u00a0% (10 of 40)"]
    close = ComparisonRow(
        key="k", label="l", definition="d", unit="share", better="higher", values=(values[0], values[0])
    )
    assert not any("★" in compare_view.shown_value(close, column) for column in range(2))


def test_the_method_page_knows_every_editor_and_every_symbol_file() -> None:
    from pathlib import Path

    root = Path(__file__).resolve().parents[3] / "kgmet"
    assert method_text.editors_table()["editor"].tolist() == list(EDITORS)
    for symbol, _, name, file in method_text.SYMBOLS:
        text = (root / file).read_text(encoding="utf-8")
        assert name.split(".")[-1] in text, symbol
    assert not method_text.glossary_table()["definition"].eq("").any()


def test_an_update_without_keys_has_its_place_and_no_made_up_costs() -> None:
    patch = random_patch(LM)
    writes = inspect_writes(LM, patch, {1: moment_of(LM, 1)})
    drift = measure_drift(LM, patch, [text_of()])
    assert {label: value for label, value, _ in protection_view.headline(writes, drift)}["Without the projection"] == (
        "not measured"
    )
    row = protection_view.write_table(writes).iloc[0]
    assert row["without projection"] == row["wanted change that arrives"] == "not measured"
    assert row["in protected space"] != "0\u00a0%"


def test_the_rows_that_write_nothing_can_be_compared() -> None:
    (told,) = compare_view.candidates_from_rows([{"editor": "in-context-graph"}])
    assert told.editor is IN_CONTEXT["in-context-graph"]
    assert told.label == "in-context-graph"
