"""What is typed wrong on the command line is said before anything is loaded, and nothing that was made is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kgmet.__main__ import main
from kgmet.base.errors import ConfigError
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


def test_half_an_option_is_not_taken_for_another(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--data", "cases.json"])
    assert stopped.value.code == 2
    assert "unrecognized arguments: --data cases.json" in capsys.readouterr().err
