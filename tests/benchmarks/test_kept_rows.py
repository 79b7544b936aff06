"""Finished rows of a benchmark are on disk at once, and are not made again."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def kept_rows(load) -> ModuleType:  # type: ignore[no-untyped-def]
    return load("kept_rows")


def test_a_row_is_made_once_and_found_by_the_next_run(kept_rows: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    rows = kept_rows.KeptRows(file)
    assert rows.of("a", lambda: {"n": 1}) == rows.of("a", lambda: pytest.fail("made twice")) == {"n": 1}
    again = kept_rows.KeptRows(file)
    again.add({"b": {"n": 2}, "c": {"n": 3}})
    assert list(again) == ["a", "b", "c"] and "b" in again and again["c"] == {"n": 3}
    assert list(kept_rows.KeptRows(file)) == ["a", "b", "c"]


def test_without_a_file_rows_are_kept_in_memory(kept_rows: ModuleType) -> None:
    rows = kept_rows.KeptRows(None)
    assert rows.of("a", lambda: {"n": 1}) == rows["a"]
