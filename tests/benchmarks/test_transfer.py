"""The transfer benchmark: rows say what is calibrated, and an edit that was measured is not made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from kgmet.calibrate.lines import LineBook
from kgmet.editing.editors import EDITORS
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from tests.editing.test_defaults import profile_of
from tests.tiny_models import tiny_lm


@pytest.fixture
def transfer(load) -> ModuleType:  # type: ignore[no-untyped-def]
    return load("transfer")


def test_each_editor_has_a_row_with_its_calibration_or_why_there_is_none(transfer: ModuleType) -> None:
    lm = tiny_lm()
    found = profile_of(lm).editors["AlphaEdit"]
    kept = replace(found, editor="MEMIT", is_default=True)
    profile = profile_of(lm, editors={"AlphaEdit": found, "MEMIT": kept})
    rows = list(transfer.rows_of(lm, ["AlphaEdit", "MEMIT", "NSE"], profile))
    assert [(row.name, row.note) for row in rows] == [
        ("unedited", ""),
        ("AlphaEdit, uncalibrated", ""),
        ("AlphaEdit, write.layers [0], write.ridge 4.0", ""),
        ("MEMIT, uncalibrated", ""),
        ("MEMIT, calibrated", "uncalibrated settings kept (of 12 tried)"),
        ("NSE, uncalibrated", ""),
        ("NSE, calibrated", "no profile"),
    ]
    assert rows[2].editor.config == found.config
    assert [row.note for row in transfer.rows_of(lm, ["NSE"], None)] == ["", "", "no profile"]


def test_what_was_measured_is_read_back(transfer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, store, catalogue = tiny_lm(), sample_store(), RelationCatalogue.load()
    cases = transfer.build_cases(lm, store, catalogue, split="tuning", limit=2)
    editor = EDITORS["FT"]
    row = transfer.Row(name="FT", editor=replace(editor, config=transfer.uncalibrated_settings(editor, lm).config))
    rows = [transfer.Row(name="unedited"), row]
    book = tmp_path / "book.jsonl"
    bench = transfer.Bench(lm, store, catalogue, LineBook(book))
    for one in rows:
        bench.measure(one, cases)
    assert len(LineBook(book)) == 4

    def none(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(transfer, "measured", none)
    monkeypatch.setattr(transfer, "search_edits", none)
    again = transfer.Bench(lm, store, catalogue, LineBook(book))
    for one in rows:
        again.measure(one, cases)
        assert again.counts(one, cases) == bench.counts(one, cases)
    assert again.counts(row, cases)["efficacy"].n == 2
    table = str(transfer.table_of(again, [*rows, transfer.Row(name="NSE, calibrated", note="no profile")], cases))
    assert "n 2)" in table and "no profile" in table
