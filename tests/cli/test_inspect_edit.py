"""The inspect-edit command: a verdict, the subjects, and the patch that undoes the change."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from kgmet.base.errors import BrokenArtifactError, ConfigError
from kgmet.cli import inspect_edit
from kgmet.write.corpus import Corpus
from kgmet.write.export import export_merged
from kgmet.write.patch import load_patch, save_patch
from tests.forecast.tiny_world import NAMES, known_world
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import random_patch


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = tuple(f"Line {n} of a short text about towers and rivers." for n in range(40))
    monkeypatch.setattr(inspect_edit, "load_model", lambda *_: tiny_lm())
    monkeypatch.setattr(
        inspect_edit, "open_store", lambda options: None if options.no_graph else known_world(tiny_lm())[0]
    )
    monkeypatch.setattr("kgmet.write.statistics.bundled_corpus", lambda: Corpus(name="few", lines=lines))


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    inspect_edit.add_parser(parser.add_subparsers(required=True))
    options = parser.parse_args(["inspect-edit", *words])
    return int(options.run(options))


def test_a_patch_is_described_and_undone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_patch(random_patch(tiny_lm()), tmp_path / "patch")
    words = ("--edited", str(tmp_path / "patch"), "--undo", str(tmp_path / "undo"))
    assert call(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ranked"] == len(NAMES)
    assert [change["layer"] for change in found["changes"]] == [1, 2]
    undo = load_patch(tmp_path / "undo")
    assert undo.editor == "undo"
    assert [update.layer for update in undo.updates] == [1, 2]
    assert call("--edited", str(tmp_path / "patch"), "--first", "3") == 0
    out = capsys.readouterr().out
    assert "2 weights changed" in out
    assert "Rank of ΔW" in out


def test_a_checkpoint_is_not_loaded_without_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_merged(random_patch(tiny_lm()), tiny_lm(), tmp_path / "model")
    assert call("--edited", str(tmp_path / "model"), "--no-answers", "--ranked", "5", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ranked"], found["answers"], found["undo"]) == (5, [], False)
    assert "not loaded" in found["no_undo"]


@pytest.mark.parametrize(
    ("words", "says", "error"),
    [
        (("--no-graph",), "graph", ConfigError),
        (("--no-answers", "--undo", "UNDO"), "--undo needs the edited model", ConfigError),
        ((), r"config\.json is missing", BrokenArtifactError),
    ],
)
def test_what_is_missing_is_said(words: tuple[str, ...], says: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error, match=says):
        call("--edited", str(tmp_path), *(word.replace("UNDO", str(tmp_path / "undo")) for word in words))
