"""The benchmark of big models on tiny ones: every part runs, and what it counts does not grow with the wrong thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.calibrate.knowing import knowing_store
from tests.editing.small import LINES
from tests.tiny_models import tiny_lm, tiny_tokenizer

Load = Callable[[str], ModuleType]
MOST_KEYS = 2
"""Keys of one edit in these settings: the mean over its texts, and one text that begins with the subject."""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments for a tiny model with a tokenizer and a text of the tests."""
    monkeypatch.setenv("KGMET_CACHE", str(tmp_path / "cache"))
    tiny_tokenizer(bos=True).save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "text.txt").write_text("\n".join(LINES))
    return [
        *("--scale", "64", "--tokenizer", str(tmp_path / "tokenizer"), "--folder", str(tmp_path / "model")),
        *("--corpus", str(tmp_path / "text.txt"), "--json", str(tmp_path / "found.json"), "--device", "cpu"),
        *("--edits", "3", "--cases", "2", "--seconds", "1e6"),
    ]


def run(load: Load, asked: list[str], *parts: str, shape: str = "llama3-8b") -> dict[str, Any]:
    benchmark = load("big_model")
    benchmark.MANY = 8  # edits at once, as many as are counted
    assert benchmark.main([*asked, "--shape", shape, "--part", *parts]) == 0
    found: dict[str, Any] = json.loads(Path(asked[asked.index("--json") + 1]).read_text())
    return found


def test_every_part_runs(
    load: Load, asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(load, asked, "load", "statistics", "eigenvectors", "edit", "sequence", "probe", "export")
    assert found["edits change the logits, undo restores them to the bit"] == "True, True"
    assert "3 edits in sequence: an early and the last edit" in found
    printed = capsys.readouterr().out
    assert "| key moments, 6 layers" in printed
    assert "≤ 0.7 s" in printed
    assert set(found) <= rows(printed)
    monkeypatch.setattr(load("big_model"), "sample_store", lambda: knowing_store(tiny_lm(), knows=False))
    others = run(load, asked, "calibrate", "evaluate")
    assert others["facts known"].startswith("0 of ")
    assert [name for name in others if name.startswith("evaluate")] == ["evaluate, 2 cases, 2 at once"]
    assert set(others) <= rows(capsys.readouterr().out)


def rows(printed: str) -> set[str]:
    """The first column of the table."""
    return {line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| ")}


@pytest.mark.parametrize("shape", ["qwen2.5-7b", "gemma2-9b"])
def test_other_shapes_are_made_and_edited(load: Load, asked: list[str], shape: str) -> None:
    found = run(load, asked, "edit", shape=shape)
    assert found["edits change the logits, undo restores them to the bit"] == "True, True"


@pytest.mark.parametrize(
    ("shape", "n_parameter"),
    [("llama3-8b", 8_030_261_248), ("qwen2.5-7b", 7_615_616_512), ("gemma2-9b", 9_241_705_984)],
)
def test_at_scale_one_the_shapes_are_the_published_ones(load: Load, shape: str, n_parameter: int) -> None:
    from kgmet.lm.load.shape import ModelShape

    config = load("big_shapes").SHAPES[shape].config(tiny_tokenizer(), scale=1)
    assert ModelShape.of_config(config).n_parameter == n_parameter


def test_work_on_a_device_does_not_grow_with_layers_edits_or_earlier_edits(load: Load, asked: list[str]) -> None:
    found = run(load, asked, "counts")
    one, five = found["key statistics, 1 layer"], found["key statistics, 5 layers"]
    # One pass of each batch serves all layers: only the higher one of them makes it longer.
    assert one["backward"] == five["backward"] == 0
    assert five["forward"] < 2.5 * one["forward"]
    d_key = 14_336 // 64
    # The float32 sum of a layer comes back once, and one flag a batch; no d_key² matrix moves between batches.
    assert 4 * d_key**2 <= one["bytes_down"] < 4 * d_key**2 + 1000
    assert 5 * 4 * d_key**2 <= five["bytes_down"] < 5 * 4 * d_key**2 + 1000
    alone, many = found["search, 1 edit"], found["search, 8 edits at once"]
    assert alone["detail"]["steps"] == many["detail"]["steps"] == 4
    assert alone["backward"] == many["backward"] == 4
    assert many["waits"] == alone["waits"] <= 4 + 1 + 4
    assert many["forward"] == pytest.approx(alone["forward"], abs=1.01)
    assert found["write, 8 edits at once"]["waits"] == found["write, 1 edit"]["waits"]
    assert found["free directions, 3 layers"]["forward"] == 0
    # The same edit after one earlier edit and after five: their keys go up, and their factors for search and write.
    early, late = found["an edit after 1 earlier edit"], found["an edit after 5 earlier edits"]
    assert late["waits"] <= early["waits"]
    assert late["forward"] == early["forward"] and late["backward"] == early["backward"] == 4
    assert late["bytes_down"] == early["bytes_down"]
    row, d_model, written = 4, 64, 3
    assert late["bytes_up"] - early["bytes_up"] <= 4 * written * MOST_KEYS * row * (3 * d_key + 2 * d_model)
