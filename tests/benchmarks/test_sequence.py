"""What the sequence benchmark takes: other cases than the tables', and settings as they are typed."""

from __future__ import annotations

import argparse
from types import ModuleType

import pytest

from kgmet.evaluate.datasets.cases import AskKind
from kgmet.evaluate.datasets.load import load_dataset


@pytest.fixture
def sequence(load) -> ModuleType:
    return load("sequence")


def test_no_case_of_the_tables_is_used(sequence: ModuleType) -> None:
    of_the_tables = {case.case_id for case in load_dataset("own", limit=sequence.FIRST).cases}
    chosen = sequence.tuning_cases(120).cases
    assert len(chosen) == 120
    assert of_the_tables.isdisjoint(case.case_id for case in chosen)


def test_no_neighbour_is_asked_that_another_case_edits(sequence: ModuleType) -> None:
    cases = sequence.tuning_cases(120).cases
    for case in cases:
        edited = [e.subject for other in cases if other.relation == case.relation for e in other.edits]
        for ask in case.of(AskKind.NEIGHBORHOOD):
            assert not any(f" {subject} " in f" {ask.prompt} " for subject in edited), ask.prompt


def test_settings_are_read_as_typed(sequence: ModuleType) -> None:
    typed = "write.layers=[0,1,2],write.ridge=2,target.max_norm_ratio=0.9,write.schedule=1/remaining"
    assert sequence.changes_of(typed) == {
        "write": {"layers": [0, 1, 2], "ridge": 2, "schedule": "1/remaining"},
        "target": {"max_norm_ratio": 0.9},
    }
    with pytest.raises(argparse.ArgumentTypeError, match=r"STAGE\.SETTING=VALUE"):
        sequence.changes_of("ridge=2")
