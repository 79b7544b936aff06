"""What is built from the repository carries its data and works far from it."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.package.installed import ROOT, Installed, build
from tests.tiny_models import tiny_model, tiny_tokenizer

EIFFEL = ("--subject", "The Eiffel Tower", "--template", "{} is located in the city of", "--new-object", "Tokyo")
CARRIED = {
    "sample_data": "kgmet/shipped/sample_data",
    "pages": "workbench/shipped/pages",
    "assets": "workbench/shipped/assets",
    ".streamlit": "workbench/shipped/.streamlit",
}


def test_the_wheel_carries_every_file_of_the_folders_at_the_top(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        for folder, place in CARRIED.items():
            files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
            assert files
            for path in files:
                inside = f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
                assert packed.read(inside) == path.read_bytes()
        profiles = list((ROOT / "kgmet" / "editing" / "profiles").glob("*.json"))
        assert profiles
        assert {path.relative_to(ROOT).as_posix() for path in profiles} <= names
    for package in ("kgmet", "workbench"):
        modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert modules <= names


def test_the_source_archive_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    build(ROOT, tmp_path, ["sdist"])
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    build(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path, ["wheel"])
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {entry.filename: entry.CRC for entry in one.infolist()} == {
            entry.filename: entry.CRC for entry in other.infolist()
        }


def test_kgmet_comes_from_the_wheel(installed: Installed) -> None:
    code = "import kgmet, workbench; print(kgmet.__file__); print(workbench.__file__)"
    for place in installed.run(installed.python, "-c", code).splitlines():
        assert Path(place).resolve().is_relative_to(installed.environment.resolve())


def test_an_installed_library_has_its_graph_and_its_cases(installed: Installed) -> None:
    code = (
        "from kgmet.graph.stores.sample import sample_store; from kgmet.evaluate.datasets.load import load_dataset; "
        "print(len(sample_store()), len(load_dataset('own').cases))"
    )
    n_triple, n_case = installed.run(installed.python, "-c", code).split()
    assert int(n_triple) > 40_000
    assert int(n_case) == 392


@pytest.mark.usefixtures("default_model_dir")
def test_an_installed_library_runs_the_python_of_the_readme(installed: Installed) -> None:
    """It prints the report, with the answer before and after, and then a consequence."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S)
    *report, consequence = installed.run(installed.python, "-c", code).splitlines()
    assert any("before" in line and "Paris" in line for line in report)
    assert any("after" in line and "Tokyo" in line for line in report)
    assert "Japan" in consequence


@pytest.fixture
def tiny(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a folder with a tiny model; what is kept of it goes into a cache of its own."""
    tiny_model("llama").save_pretrained(installed.folder / "tiny")
    tiny_tokenizer().save_pretrained(installed.folder / "tiny")
    monkeypatch.setenv("KGMET_CACHE", str(installed.folder / "cache"))
    return "tiny"


def evaluated(installed: Installed, model: str, *more: str) -> dict[str, Any]:
    """Three edits at once, with AlphaEdit; the metrics."""
    said = installed.run(installed.command, "evaluate", "--ds_name", "own", "--dataset_size_limit", "3", "--json",
                         "--alg_name", "AlphaEdit", "--num_edits", "3", "--no-graph", "--skip_generation_tests",
                         "--free_tokens", "8", "--model", model, "--device", "cpu", *more)  # fmt: skip
    (row,) = json.loads(said)["rows"]
    metrics: dict[str, Any] = row["metrics"]
    return metrics


def test_an_installed_command_edits(installed: Installed, tiny: str) -> None:
    installed.run(installed.command, "edit", *EIFFEL, "--model", tiny, "--device", "cpu", "--save", "tower")
    assert (installed.folder / "tower" / "patch.safetensors").is_file()


def test_an_installed_command_evaluates(installed: Installed, tiny: str) -> None:
    (installed.folder / "own.toml").write_text("[write]\nlayers = [1, 2]\n", encoding="utf-8")
    metrics = evaluated(installed, tiny, "--hparams_fname", "own.toml")
    assert metrics["efficacy"]["after"]["n"] == 3
    assert metrics["efficacy"]["after"]["preferred"] >= metrics["efficacy"]["before"]["preferred"]
    assert metrics["neighborhood"]["before"]["n"] == 30
    assert metrics["perplexity"]["after"]["value"] > 1


@pytest.mark.soak  # half a minute of a processor; that an edit of the default model takes is seen above
@pytest.mark.usefixtures("default_model_dir")
def test_three_edits_at_once_take_and_neighbours_stay(installed: Installed) -> None:
    metrics = evaluated(installed, "bundled:smollm2")
    assert metrics["efficacy"]["before"]["preferred"] == 0
    assert metrics["efficacy"]["after"]["n"] == 3
    assert metrics["efficacy"]["after"]["preferred"] == 1
    assert metrics["efficacy"]["after"]["generated"] == 1
    neighbours = metrics["neighborhood"]
    assert neighbours["before"]["n"] == 30
    assert neighbours["before"]["preferred"] >= 0.8
    assert neighbours["after"]["preferred"] >= neighbours["before"]["preferred"] - 0.2
    assert metrics["perplexity"]["after"]["value"] < 1.2 * metrics["perplexity"]["before"]["value"]


def test_an_installed_command_says_which_port_it_cannot_serve(installed: Installed) -> None:
    with pytest.raises(AssertionError, match="--port: '70000' is not a whole number of at least 1 and at most 65535"):
        installed.run(installed.command, "app", "--port", "70000")
