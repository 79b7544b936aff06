"""A few cases on the embedded model: it knows them before, edits take, neighbours stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgmet.evaluate.datasets.load import load_dataset
from kgmet.evaluate.runs.run import RunResources, run_evaluation
from kgmet.evaluate.runs.score import ScoreConfig
from kgmet.evaluate.runs.settings import RunSettings
from kgmet.evaluate.tables.summary import summarize_run
from kgmet.graph.relations import RelationCatalogue
from kgmet.lm.load.loaded import load_lm


@pytest.mark.usefixtures("default_model_dir")
def test_three_edits_at_once_on_the_default_model(tmp_path: Path) -> None:
    lm = load_lm()
    settings = RunSettings(editor="AlphaEdit", num_edits=3, score=ScoreConfig(free_tokens=8, n_generation=0))
    run_evaluation(
        lm,
        load_dataset("own", limit=3),
        settings,
        folder=tmp_path / "run_000",
        resources=RunResources(store=None, catalogue=RelationCatalogue.load()),
    )
    metrics = summarize_run(tmp_path / "run_000").metrics
    assert metrics["efficacy"]["before"]["preferred"] == 0
    assert metrics["efficacy"]["after"]["preferred"] == 1
    assert metrics["efficacy"]["after"]["generated"] == 1
    neighbours = metrics["neighborhood"]
    assert neighbours["before"]["n"] == 30
    assert neighbours["before"]["preferred"] >= 0.8
    assert neighbours["after"]["preferred"] >= neighbours["before"]["preferred"] - 0.2
    assert metrics["perplexity"]["after"]["value"] < 1.2 * metrics["perplexity"]["before"]["value"]
