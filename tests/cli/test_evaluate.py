"""The two commands from end to end, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kgmet.__main__ import main
from tests.evaluate.records import counterfact, written
from tests.evaluate.world import tiny_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("world"), n_case=4)


@pytest.fixture(autouse=True)
def cache(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGMET_CACHE", str(world / "cache"))


def evaluate(world: Path, out: Path, *more: str) -> int:
    given = ["--model_name", str(world / "model"), "--hparams_fname", str(world / "own.toml"), "--ds_name", "mcf"]
    given += ["--ds_path", str(world / "cases.json"), "--num_edits", "2", "--out", str(out), "--no-graph"]
    return main(["evaluate", *given, "--free_tokens", "2", "--n_generation", "0", "--device", "cpu", *more])


def test_a_sweep_prints_one_object_with_a_row_per_editor(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(world, tmp_path, "--alg_name", "AlphaEdit,random", "--json") == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)["rows"]
    assert [(row["editor"], row["dataset"], row["n_edits"]) for row in rows] == [
        ("AlphaEdit", "mcf", 4),
        ("random", "mcf", 4),
    ]
    assert rows[0]["metrics"]["efficacy"]["after"]["n"] == 4
    assert "run_000" in shown.err


def test_summarize_shows_and_compares_what_evaluate_made(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(world, tmp_path, "--alg_name", "AlphaEdit,random") == 0
    assert "| random | after |" in capsys.readouterr().out
    assert main(["summarize", "--dir_name", "AlphaEdit,random", "--runs", "run_000", "--out", str(tmp_path)]) == 0
    assert "McNemar p" in capsys.readouterr().out
    assert main(["summarize", "--dir_name", "AlphaEdit", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rows"]) == 1
    assert found["latex"].startswith("\\begin{tabular}")
    assert len(found["figures"]) == 3 and all(Path(path).is_file() for path in found["figures"])


def test_summarize_says_that_a_run_was_not_finished_and_how_it_goes_on(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def summarized() -> str:
        capsys.readouterr()
        assert main(["summarize", "--dir_name", "random", "--out", str(tmp_path)]) == 0
        return capsys.readouterr().out

    assert evaluate(world, tmp_path, "--alg_name", "random") == 0
    assert "not finished" not in summarized()
    scored = tmp_path / "random" / "run_000" / "cases.jsonl"
    lines = scored.read_text(encoding="utf-8").splitlines(keepends=True)
    scored.write_text("".join(lines[:-1]), encoding="utf-8")
    said = summarized()
    assert f"random/run_000 was not finished: {len(lines) - 1} of {len(lines)} cases are scored." in said
    assert "--continue_from_run run_000" in said


def test_what_is_left_out_is_named_by_both_commands_and_in_the_run(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = counterfact(1)
    wrong["requested_rewrite"]["target_new"]["str"] = wrong["requested_rewrite"]["target_true"]["str"]
    data = written(tmp_path / "some.json", [counterfact(0), wrong])
    assert evaluate(world, tmp_path / "out", "--alg_name", "random", "--ds_path", str(data)) == 0
    assert "mcf: 1 record left out:" in capsys.readouterr().err
    assert main(["summarize", "--dir_name", "random", "--out", str(tmp_path / "out")]) == 0
    assert "mcf: 1 record left out:" in capsys.readouterr().err
    (settings,) = (tmp_path / "out").rglob("settings.json")
    (left_out,) = json.loads(settings.read_text(encoding="utf-8"))["left_out"]
    assert left_out["reason"]


def test_cases_that_have_no_graph_are_said_by_both_commands(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = (("Rome", "Italy"), ("Paris", "France"))
    triples = [{"subject": city, "relation": "country", "target": country} for city, country in places]
    data = written(tmp_path / "some.json", [counterfact(0, triples=triples), counterfact(1)])
    more = ["--alg_name", "KGMET", "--ds_path", str(data), "--graph_source", "case", "--hparams_fname", ""]
    assert evaluate(world, tmp_path / "out", *more) == 0
    said = "KGMET/run_000: the graph took part in 50.0 % of 2 cases. WARNING"
    assert said in capsys.readouterr().out
    assert main(["summarize", "--dir_name", "KGMET", "--out", str(tmp_path / "out")]) == 0
    assert said in capsys.readouterr().out


def test_summarize_shows_its_table_where_plotly_is_missing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(world, tmp_path, "--alg_name", "random") == 0
    monkeypatch.setattr("kgmet.evaluate.tables.figures.has_plotly", lambda: False)
    capsys.readouterr()
    assert main(["summarize", "--dir_name", "random", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "| random | after |" in shown.out
    assert "pip install 'kgmet-workbench[app]'" in shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--alg_name", "Magic"], "There is no editor 'Magic'"),
        (["evaluate", "--ds_name", "zsre"], "--ds_path"),
        (["evaluate", "--ds_name", "own,mcf", "--ds_path", "one.json"], "2 data sets and 1 files"),
        (["evaluate", "--hparams_fname", "bert.json"], "gpt2-xl.json"),
        (["summarize", "--dir_name", "Nobody"], "no run"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_loaded(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


def test_a_run_that_is_stopped_says_how_it_goes_on_and_does(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    more = ["--alg_name", "AlphaEdit,random"]
    with monkeypatch.context() as patched:
        patched.setattr("kgmet.evaluate.runs.run.score_cases", stopped)
        assert evaluate(world, tmp_path, *more) == 130
    said = capsys.readouterr().err
    again = ["--alg_name", "AlphaEdit,random", "--continue_from_run", "run_000"]
    assert f"kept in {tmp_path}. Go on with the same options and {' '.join(again)}." in said
    assert evaluate(world, tmp_path, *again) == 0
    shown = capsys.readouterr().out
    assert "| AlphaEdit | after | 4 |" in shown and "| random | after | 4 |" in shown
    assert evaluate(world, tmp_path, "--alg_name", "random", "--continue_from_run", "run_007") == 2
