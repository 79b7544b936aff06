"""What is typed wrong on the command line is said before anything is loaded, and nothing that was made is lost."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from pathlib import Path

import pytest
import torch

from kgmet.__main__ import COMMANDS, main, module_of
from kgmet.base.errors import ConfigError
from kgmet.cli.common import whole
from kgmet.lm.load.loaded import checked_device
from tests.tiny_models import tiny_model, tiny_tokenizer

EDIT = ["edit", "--subject", "Rome", "--template", "{} is in", "--new-object", "France"]


@pytest.mark.parametrize("option", ["--threads", "--tokens"])
@pytest.mark.parametrize("value", ["-3", "0", "x", "1.5", "9" * 20, "²"])
def test_a_number_that_is_none_is_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["probe", "--patch", "nowhere", "--prompt", "Rome is", f"{option}={value}"])
    assert stopped.value.code == 2
    assert "is not a whole number of at least 1" in capsys.readouterr().err


def options_of(command: str) -> list[argparse.Action]:
    """The options that a command declares."""
    parsers = argparse.ArgumentParser().add_subparsers()
    importlib.import_module(module_of(command)).add_parser(parsers)
    return list(parsers.choices[command]._actions)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_number_has_a_range(command: str) -> None:
    """``int`` takes -3 and ٣, and a number of 400 digits: no option uses it, nor ``float``."""
    for option in options_of(command):
        assert option.type not in (int, float), option.option_strings
        if isinstance(option.default, int) and not isinstance(option.default, bool):
            assert callable(option.type) and option.type(str(option.default)) == option.default
            for text in ("-3", "٣", "1.5", "nan", "", "9" * 400):
                with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number of at least"):
                    option.type(text)


def test_a_number_beyond_its_range_is_refused() -> None:
    assert whole(0, 10)("10") == 10
    with pytest.raises(argparse.ArgumentTypeError, match="'11' is not a whole number of at least 0 and at most 10"):
        whole(0, 10)("11")
    assert whole(0, 2**63 - 1)(str(2**63 - 1)) == 2**63 - 1


@pytest.mark.parametrize("device", ["foo", "cuda:99", "mps:7", "meta", "cpu:x", "\ud800"])
def test_a_device_that_is_not_here_is_refused(device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert main([*EDIT, "--no-graph", "--model", str(tmp_path), "--device", device]) == 2
    assert "There is no device" in capsys.readouterr().err


def test_a_device_of_another_kind_is_refused_where_there_is_none() -> None:
    assert checked_device("cpu") == torch.device("cpu")
    for device, is_here in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if not is_here:
            with pytest.raises(ConfigError, match="Choose one of: cpu"):
                checked_device(device)


def test_a_place_where_no_patch_can_be_kept_is_refused_before_the_edit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")

    def unwanted(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded first")

    monkeypatch.setattr("kgmet.cli.edit.load_model", unwanted)
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing")):
        assert main([*EDIT, "--no-graph", "--save", str(place)]) == 2
        assert "Give --save another folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_where_no_file_can_be_kept_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded first")

    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    for command in ("calibrate", "report_card"):
        monkeypatch.setattr(f"kgmet.cli.{command}.load_model", unwanted)
    for name, why in (
        ("pipe.json", "is a device or a pipe, not a file"),
        ("folder.json", "is a folder, not a file"),
        ("a" * 300 + ".json", "File name too long"),
        ("a\0b.json", "cannot hold the character U+0000"),
    ):
        for command in (["calibrate"], ["report-card", "--editor", "KGMET", *EDIT[1:]]):
            assert main([*command, "--out", str(tmp_path / name)]) == 2
            assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["report-card", "--patch", "p", "--downstream_path"],
        ["evaluate", "--hparams_fname"],
        ["evaluate", "--out", "OUT", "--model", "MODEL", "--continue_from_run"],
        ["summarize", "--dir_name"],
        ["edit", *EDIT[1:], "--no-graph", "--save"],
    ],
    ids=lambda words: words[-1],
)
@pytest.mark.parametrize("name", ["a" * 300, "a\0b"], ids=["long", "NUL"])
def test_a_name_that_no_file_can_have_is_refused(
    command: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "MODEL" in command:
        tiny_model("llama").save_pretrained(tmp_path / "model")
        tiny_tokenizer().save_pretrained(tmp_path / "model")
    places = {"OUT": str(tmp_path / "runs"), "MODEL": str(tmp_path / "model")}
    assert main([*(places.get(word, word) for word in command), str(tmp_path / name)]) == 2
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--no-graph",)])
def test_an_edit_of_a_relation_that_is_not_there_is_refused(
    more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*EDIT, "--relation", "nope", *more]) == 2
    assert "'nope'" in capsys.readouterr().err


def test_a_relation_that_is_switched_off_must_be_there(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["graph", "--subject", "The Eiffel Tower", "--relation", "P131", "--new-object", "Tokyo", "--exclude"]
    assert main([*words, "nope"]) == 2
    assert "There is no relation 'nope'" in capsys.readouterr().err
    assert main([*words, "country", "--json"]) == 0
    by_label = json.loads(capsys.readouterr().out)
    assert main([*words, "P17", "--json"]) == 0
    by_id = json.loads(capsys.readouterr().out)
    assert by_label["subgraph"] == by_id["subgraph"]
    assert "P17" not in {row["relation"]["id"] for row in by_id["subgraph"]["triples"]}


def test_half_an_option_is_not_taken_for_another(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--data", "cases.json"])
    assert stopped.value.code == 2
    assert "unrecognized arguments: --data cases.json" in capsys.readouterr().err
