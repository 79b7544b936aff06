"""The calibrate command: it keeps a profile that `edit` finds, says what it lacks, and can be stopped."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from kgmet.base.errors import ConfigError, StaleArtifactError, UnwritableError
from kgmet.calibrate import calibrate as calibration
from kgmet.cli import calibrate, edit
from kgmet.editing.profile import load_profile, profile_path
from tests.calibrate.knowing import knowing_store
from tests.tiny_models import tiny_lm

LM = tiny_lm("llama", seed=1)
WORDS = ("--editor", "MEMIT", "--budget", "2", "--facts", "8", "--per-relation", "48")
FACT = ("--subject", "The Louvre", "--template", "{} is in the city of", "--new-object", "Rome", "--editor", "MEMIT")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (calibrate, edit):
        monkeypatch.setattr(command, "load_model", lambda *_: LM)
        monkeypatch.setattr(command, "open_store", lambda options: None if options.no_graph else knowing_store(LM))


def call(command: object, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(required=True))  # type: ignore[attr-defined]
    options = parser.parse_args([command.__name__.rpartition(".")[2], *words])  # type: ignore[attr-defined]
    return int(options.run(options))


def test_a_profile_is_kept_passed_on_used_by_the_next_edit_and_refused_for_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(edit, *FACT, "--json") == 0
    assert json.loads(capsys.readouterr().out)["settings"].startswith("not calibrated: scaled from SmolLM2")
    assert call(calibrate, *WORDS, "--out", str(tmp_path / "mine.json")) == 0
    said = capsys.readouterr()
    assert "2 settings compared on up to 4 facts" in said.out
    assert "Check on 4 other facts" in said.out
    assert "MEMIT, 4 facts: " in said.err
    assert load_profile(tmp_path / "mine.json") == load_profile(profile_path(LM))
    assert call(edit, *FACT, "--json") == 0
    assert json.loads(capsys.readouterr().out)["settings"].startswith("calibrated on 4 facts")
    profile_path(LM).unlink()
    assert call(edit, *FACT, "--json", "--profile", str(tmp_path / "mine.json")) == 0
    assert json.loads(capsys.readouterr().out)["settings"].startswith("calibrated on 4 facts")

    call(calibrate, *WORDS, "--json")
    again = json.loads(capsys.readouterr().out)
    assert again["read_back"] >= 12, "what was measured is read back"
    assert again["profile"] == json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))

    monkeypatch.setattr(edit, "load_model", lambda *_: tiny_lm("gpt2"))
    with pytest.raises(StaleArtifactError, match="was calibrated for tiny llama"):
        call(edit, *FACT, "--profile", str(tmp_path / "mine.json"))


def test_ctrl_c_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    own, asked = calibration.CaseRunner.trials, []

    def interrupted(self, *words, **named):  # type: ignore[no-untyped-def]
        asked.append(words)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return own(self, *words, **named)

    monkeypatch.setattr(calibration.CaseRunner, "trials", interrupted)
    assert call(calibrate, *WORDS) == 130
    assert "goes on from there" in capsys.readouterr().err
    monkeypatch.undo()
    assert not profile_path(LM).exists()


def test_a_model_that_knows_nothing_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibrate, "open_store", lambda _: knowing_store(LM, knows=False))
    assert call(calibrate, *WORDS) == 0
    assert "Not calibrated. tiny llama knows 0 of" in capsys.readouterr().out
    assert not profile_path(LM).exists()


@pytest.mark.parametrize("budget", ["1", "0", "-3", "soon", "0min", "1e3", "999"])
def test_a_budget_is_a_number_of_settings_or_minutes(budget: str) -> None:
    with pytest.raises(ConfigError, match="--budget"):
        call(calibrate, f"--budget={budget}")


def test_what_cannot_work_is_refused_before_a_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(calibrate, "load_model", never)
    with pytest.raises(ConfigError, match="in-context writes nothing, so it has no settings to calibrate"):
        call(calibrate, "--editor", "in-context")
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(UnwritableError, match=r"Give --out another place\.$"):
        call(calibrate, *WORDS, "--out", str(tmp_path / "file" / "mine.json"))


def test_a_calibration_needs_a_graph() -> None:
    with pytest.raises(ConfigError, match="graph"):
        call(calibrate, "--no-graph")
