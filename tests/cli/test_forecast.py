"""The forecast command: it ranks what a saved patch moves, counts what a model knows, and says what it lacks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from kgmet.base.errors import ConfigError
from kgmet.cli import forecast
from kgmet.forecast.index import build_index
from kgmet.write.patch import save_patch
from tests.evaluate.records import counterfact, written, zsre
from tests.forecast.tiny_world import CATALOGUE, known_world
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import random_patch


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "load_model", lambda *_: tiny_lm())
    monkeypatch.setattr(forecast, "open_store", lambda options: None if options.no_graph else known_world(tiny_lm())[0])


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    forecast.add_parser(parser.add_subparsers(required=True))
    options = parser.parse_args(["forecast", *words])
    return int(options.run(options))


def test_the_largest_loss_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_patch(random_patch(tiny_lm()), tmp_path / "patch")
    assert call("--patch", str(tmp_path / "patch"), "--worst", "3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    changes = [row["change"] for row in found["worst"]]
    assert changes == sorted(changes)
    assert len(changes) == 3
    index = build_index(tiny_lm(), known_world(tiny_lm())[0], CATALOGUE, (1, 2), limit=100)
    assert found["facts"] == len(index)  # the graph knows nothing of the tower, so nothing is left out
    assert call("--patch", str(tmp_path / "patch")) == 0
    assert " % → " in capsys.readouterr().out


def test_a_persons_own_facts_are_forecast_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_patch(random_patch(tiny_lm()), tmp_path / "patch")
    own = tmp_path / "own.csv"
    own.write_text("prompt,answer\nBig Ben is located in the city of,London\n", encoding="utf-8")
    words = ("--patch", str(tmp_path / "patch"), "--worst", "1000", "--json")
    call(*words)
    without = json.loads(capsys.readouterr().out)
    call(*words, "--own", str(own))
    found = json.loads(capsys.readouterr().out)
    assert found["facts"] == without["facts"] + 1
    assert "London" in {row["answer"] for row in found["worst"]}


def test_what_must_stay_by_a_data_set_is_forecast_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_patch(random_patch(tiny_lm()), tmp_path / "patch")
    stays = written(tmp_path / "some.json", [counterfact(0)])
    words = ("--patch", str(tmp_path / "patch"), "--worst", "1000", "--json", "--ds_path", str(stays), "--ds_name")
    assert call(*words, "mcf") == 0
    found = json.loads(capsys.readouterr().out)
    prompts = {row["prompt"] for row in found["worst"]}
    assert {"The Louvre is located in the city of", "The towers of the city of"} <= prompts
    asks = written(tmp_path / "questions.json", [zsre(locality={"Other": [{"prompt": "Who?", "ground_truth": "Bo"}]})])
    assert call(*words[:-2], str(asks), "--ds_name", "zsre") == 0
    assert "Q: Who?\nA:" in {row["prompt"] for row in json.loads(capsys.readouterr().out)["worst"]}
    none = written(tmp_path / "none.json", [counterfact(0, neighborhood_prompts=[])])
    with pytest.raises(ConfigError, match="no fact that must stay"):
        call("--patch", str(tmp_path / "patch"), "--ds_name", "mcf", "--ds_path", str(none))
    with pytest.raises(ConfigError, match="--ds_name"):
        call("--patch", str(tmp_path / "patch"), "--ds_path", str(none))


def test_the_cost_is_said_before_an_index_is_built_and_a_stop_keeps_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_patch(random_patch(tiny_lm()), tmp_path / "patch")
    monkeypatch.setenv("KGMET_CACHE", str(tmp_path / "cache"))

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kgmet.forecast.index.build_index", stopped)
    assert call("--patch", str(tmp_path / "patch"), "--facts", "7") == 130
    said = capsys.readouterr().err
    assert said.index("Up to 7 known facts are measured: at most about 0.0 min") < said.index(
        "Stopped. The facts measured so far"
    )


def test_a_model_that_knows_nothing_is_told_what_to_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_patch(random_patch(tiny_lm()), tmp_path / "patch")
    index = build_index(tiny_lm(), known_world(tiny_lm())[0], CATALOGUE, (1, 2), limit=100).only([])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kgmet.forecast.index.build_index", lambda *_, **__: index)
        assert call("--patch", str(tmp_path / "patch")) == 0
    assert "knows none of the facts" in capsys.readouterr().out


def test_what_the_model_knows_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--known", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["known"] == sum(row["known"] for row in found["relations"]) > 0
    assert call("--known") == 0
    assert f"knows {found['known']} of the {found['asked']} facts" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "says"), [((), "--patch"), (("--known", "--no-graph"), "graph")])
def test_what_is_missing_is_said(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        call(*words)
