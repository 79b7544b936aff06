"""The reach benchmark: a row says what the search and the write left, on edits of a model that runs anywhere."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest

from kgmet.editing.config import config_from_mapping
from kgmet.editing.editors import EDITORS
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.write.statistics import KeyStatistics
from tests.tiny_models import tiny_lm


@pytest.fixture
def reach(load) -> ModuleType:  # type: ignore[no-untyped-def]
    return load("reach")


def test_a_row_has_the_losses_what_is_left_and_the_four_columns(reach: ModuleType) -> None:
    lm, store, catalogue = tiny_lm("gemma3"), sample_store(), RelationCatalogue.load()
    cases = reach.build_cases(lm, store, catalogue, split="tuning", limit=1)
    base = EDITORS["KGMET"].config
    changes = {"write": {"layers": [0, 1]}, "target": {"max_steps": 2}, "cutoff": {"kind": "rank", "value": 1.0}}
    editor = replace(EDITORS["KGMET"], config=config_from_mapping(changes, base=base))
    statistics = KeyStatistics(lm)
    cells = list(reach.row_of(lm, store, catalogue, cases, editor, statistics))
    assert len(cells) == 7
    searched, written, left = map(float, cells[:3])
    assert 0 < left < 100
    contexts = [reach.context_of(cases[0], store, catalogue, editor.config)]
    (one,) = reach.searches(lm, contexts, editor)
    assert searched == pytest.approx(one.shifts[0].curve[-1]["consequence"], abs=0.005)
    # As much of the shift as the write leaves, it lacks of the way from the first loss to the searched one, or more.
    assert searched - 0.005 <= written <= one.shifts[0].curve[0]["consequence"] + 0.005
    assert "n 1)" in cells[3]
