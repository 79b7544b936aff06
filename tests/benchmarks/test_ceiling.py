"""The yardstick of unedited models: what is asked is true, and shares are counted by yardstick and relation."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import pytest

from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from tests.tiny_models import tiny_lm


@pytest.fixture
def ceiling(load) -> ModuleType:  # type: ignore[no-untyped-def]
    return load("ceiling")


def test_each_consequence_is_asked_where_its_answer_is_true(  # type: ignore[no-untyped-def]
    load, ceiling: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_cases = load("edit_set").build_cases
    lm, store = tiny_lm(), sample_store()
    case = build_cases(lm, store, RelationCatalogue.load(), split="tuning", limit=1)[0]
    assert case.edit.sentence == "The Eiffel Tower is located in the city of → Tokyo"
    tried: list[tuple[str, str]] = []

    def second_only(_: object, pairs: list[tuple[str, str]]) -> list[SimpleNamespace]:
        tried.extend(pairs)
        return [SimpleNamespace(is_first=number == 1) for number in range(len(pairs))]

    monkeypatch.setattr(ceiling, "score_packed", second_only)
    asked = list(ceiling.prompts_of(lm, store, case, split="tuning", most=3))
    assert all("Eiffel" not in text and answer == "Tokyo" for text, answer in tried)
    assert len(tried) <= 24
    known = tried[1][0].removesuffix(" is located in the city of")
    mine = [(one.row, one.text, one.answer) for one in asked if one.relation == "P17"]
    assert mine[0] == (ceiling.BEFORE, "The Eiffel Tower lies in a country named", "France")
    told = "The Eiffel Tower is located in the city of Tokyo. The Eiffel Tower lies in a country named"
    assert mine[1] == (ceiling.TOLD, told, "Japan")
    assert mine[2] == (ceiling.OTHERS, f"{known} lies in a country named", "Japan")
    tests = sum(test.kind == "consequence" for test in case.tests)
    assert tests > 3
    assert len(asked) == 3 * tests


def test_shares_are_counted_by_yardstick_and_relation(ceiling: ModuleType) -> None:
    asked = [
        ceiling.Asked(row=row, relation=relation, text="", answer="")
        for row, relation in ((ceiling.BEFORE, "P17"), (ceiling.BEFORE, "P30"), (ceiling.TOLD, "P17"))
    ]
    lines = str(ceiling.table_of(asked, [True, False, True])).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["", "all", "P17", "P30"]
    assert cells[2] == [ceiling.BEFORE, "50 (9–91, n 2)", "100 (21–100, n 1)", "0 (0–79, n 1)"]
    assert cells[3] == [ceiling.OTHERS, "none", "none", "none"]
    assert cells[4] == [ceiling.TOLD, "100 (21–100, n 1)", "100 (21–100, n 1)", "none"]
