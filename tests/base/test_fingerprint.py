"""Properties of fingerprints: equal for equal things in every process, different for different ones."""

from __future__ import annotations

import enum
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from kgmet.base import fingerprint
from kgmet.base.fingerprint import digest, fingerprint_model, fingerprint_source, fingerprint_value, plain
from tests.tiny_models import tiny_model


class Colour(enum.Enum):
    """For the test."""

    RED = "red"


@dataclass(frozen=True)
class Setting:
    """For the test."""

    size: int
    colour: Colour = Colour.RED
    path: Path = Path("a/b")


def test_parts_do_not_run_together() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert digest("a") == digest(b"a")
    assert len(digest()) == 64


def test_values_become_plain_json() -> None:
    assert plain({1: (Setting(size=2), {"b", "a"})}) == {"1": [{"size": 2, "colour": "red", "path": "a/b"}, ["a", "b"]]}


def test_the_order_of_keys_does_not_matter_and_values_do() -> None:
    assert fingerprint_value({"a": 1, "b": 2}) == fingerprint_value({"b": 2, "a": 1})
    assert fingerprint_value({"a": 1}) != fingerprint_value({"a": 2})
    assert fingerprint_value(Setting(size=1)) != fingerprint_value(Setting(size=2))


def test_another_process_finds_the_same() -> None:
    code = "from kgmet.base.fingerprint import fingerprint_value; print(fingerprint_value({'x': {'b', 'a', 'c'}}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": str(seed)}
        ).stdout.strip()
        for seed in (0, 1)
    }
    assert found == {fingerprint_value({"x": {"c", "b", "a"}})}


def test_the_source_of_a_package_is_known_by_its_files_and_their_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "write" / "deep").mkdir(parents=True)
    monkeypatch.setattr(fingerprint, "__file__", str(tmp_path / "base" / "fingerprint.py"))
    (tmp_path / "write" / "deep" / "solve.py").write_text("1")
    (tmp_path / "base" / "files.py").write_text("1")
    first = fingerprint_source("write")
    (tmp_path / "base" / "files.py").write_text("2")
    assert fingerprint_source("write") == first
    (tmp_path / "write" / "deep" / "solve.py").write_text("2")
    changed = fingerprint_source("write")
    (tmp_path / "write" / "deep" / "solve.py").rename(tmp_path / "write" / "solve.py")
    assert len({first, changed, fingerprint_source("write")}) == 3


def test_a_model_is_known_by_its_weights_and_config() -> None:
    model = tiny_model("llama")
    config = model.config.to_dict()
    name = fingerprint_model(model, config)
    assert name == fingerprint_model(tiny_model("llama"), config)
    assert name != fingerprint_model(tiny_model("llama", seed=1), config)
    assert name != fingerprint_model(model, config | {"rms_norm_eps": 0.5})
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[0, 0] += 0.01
    assert name != fingerprint_model(model, config)


def test_the_whole_of_a_large_weight_takes_part() -> None:
    model = torch.nn.Linear(64, 1024)
    before = fingerprint_model(model, {})
    with torch.no_grad():
        model.weight[-8:] += 1  # far beyond the first values
    assert fingerprint_model(model, {}) != before
