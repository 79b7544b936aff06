"""What a model takes is said from its config alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kgmet.__main__ import main
from tests.tiny_models import tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder with a config and nothing else."""
    tiny_model("llama").config.save_pretrained(tmp_path)
    return str(tmp_path)


def test_memory_is_shown_by_stage_without_weights(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--model", folder, "--device", "cpu", "--edits", "4"]) == 0
    said = capsys.readouterr().out
    assert [line.split("  ")[0] for line in said.splitlines()[3:8]] == [
        *("load", "key statistics", "eigenvectors", "search", "write"),
    ]
    assert "float32, KGMET, 4 at once" in said
    assert "Fits here: up to 256 edits at once in float32" in said


def test_memory_is_one_json_object(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["models", "--model", folder, "--device", "cpu", "--dtype", "8 bits", "--editor", "MEMIT", "--json"]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["bytes"]) == {"load", "key statistics", "eigenvectors", "search", "write"}
    assert all(use["device"] == 0 < use["cpu"] for use in found["bytes"].values())


@pytest.mark.parametrize(("source", "said"), [("nowhere/", "no config.json"), ("bundled:nothing", "bundled")])
def test_a_model_that_is_not_there_is_named(source: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--model", "./" + source if "/" in source else source]) == 2
    assert said in capsys.readouterr().err
