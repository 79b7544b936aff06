"""The edit command: the verdict in words, small probabilities as they are, and one sentence about the graph."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest
import torch

from kgmet.base.errors import ConfigError
from kgmet.cli import edit as edit_command
from kgmet.write.patch import EditPatch, load_patch
from tests.graph.small_world import world
from tests.tiny_models import tiny_lm

FACT = ("--subject", "The Eiffel Tower", "--template", "{} is located in the city of", "--new-object", "Rome")
SMALL = '[write]\nlayers = [1, 2]\n[target]\nmax_steps = 3\n[hold]\ncontexts = 1\n[direction]\nsource = "free"\n'

PRICED_SEARCH = SMALL.replace("max_steps = 3", "max_steps = 3\nprice = 1.0")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_command, "load_model", lambda *_: tiny_lm())
    monkeypatch.setattr(edit_command, "open_store", lambda options: None if options.no_graph else world())


def printed(folder: Path, capsys: pytest.CaptureFixture[str], *words: str, settings: str = SMALL) -> str:
    (folder / "small.toml").write_text(settings)
    (folder / "lines.txt").write_text("".join(f"Line {n} of a text about towers and rivers.\n" for n in range(40)))
    parser = argparse.ArgumentParser()
    edit_command.add_parser(parser.add_subparsers(required=True))
    given = ["edit", *FACT, "--config", str(folder / "small.toml"), "--corpus", str(folder / "lines.txt"), *words]
    options = parser.parse_args(given)
    assert options.run(options) == 0
    return capsys.readouterr().out


def test_without_a_graph_that_is_said_once_and_no_subject_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(tmp_path, capsys, "--no-graph")
    assert out.count("No graph was given.") == 1
    assert "the subject" not in out.lower().partition("before")[0], "it says that the subject is not in a graph"


def test_the_verdict_stands_in_words_before_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(tmp_path, capsys)
    verdict, _, numbers = out.partition("  before ")
    assert re.search(r"took\b|did not take|but not what the model says", verdict)
    assert "goes on with" in verdict
    assert re.search(r"expected \d", numbers)


def test_a_small_probability_is_not_printed_as_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"(?:expected|rejected) ([0-9.e-]+)", printed(tmp_path, capsys))
    assert len(shown) > 8
    assert all(float(one) > 0 for one in shown)
    assert any(float(one) < 1e-4 for one in shown), "some are that small"


def test_json_alone_is_printed_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(printed(tmp_path, capsys, "--no-graph", "--json"))
    assert report["edit"]["new_object"] == "Rome"
    assert report["verdict"]["headline"]


@pytest.mark.parametrize(("editor", "settings"), [("KGMET-priced", SMALL), ("KGMET", PRICED_SEARCH)])
def test_a_persons_own_facts_join_those_that_a_price_keeps(
    editor: str, settings: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KGMET_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "own.csv"
    own.write_text("prompt,answer\nBig Ben is located in the city of,London\n", encoding="utf-8")
    patches = {}
    for name, more in {"priced": (), "and own": ("--own", str(own))}.items():
        words = ("--editor", editor, "--graph", "g.nt", "--save", str(tmp_path / name), *more)
        out = printed(tmp_path, capsys, *words, settings=settings)
        assert "The Eiffel Tower is located in the city of → Rome" in out
        patches[name] = load_patch(tmp_path / name)
    assert not same_updates(*patches.values()), "the fact of one's own has a price"


def test_own_facts_are_refused_where_nothing_is_priced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.csv"
    own.write_text("prompt,answer\nBig Ben is in,London\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="--editor KGMET-priced"):
        printed(tmp_path, capsys, "--own", str(own))


def same_updates(one: EditPatch, other: EditPatch) -> bool:
    """Whether two patches change every weight alike."""
    pairs = zip(one.updates, other.updates, strict=True)
    return all(torch.allclose(a.dense(), b.dense(), rtol=1e-6, atol=0) for a, b in pairs)
