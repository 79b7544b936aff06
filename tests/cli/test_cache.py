"""`kgmet cache` counts what is kept, clears only what can be computed again, and follows no link."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from kgmet.__main__ import main
from kgmet.base.kept import KINDS
from tests.package.installed import ROOT


@pytest.fixture
def cache(own_cache_folder: Path) -> Path:
    for kind in KINDS:
        (own_cache_folder / kind.name / "deep").mkdir(parents=True)
        (own_cache_folder / kind.name / "deep" / "file").write_bytes(b"12345")
    return own_cache_folder


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, tuple[int, int]]:
    assert main(["cache", "--json", *arguments]) == 0
    rows = json.loads(capsys.readouterr().out)["kept"]
    return {row["kind"]: (row["files"], row["bytes"]) for row in rows}


def test_everything_is_counted(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys) == {kind.name: (1, 5) for kind in KINDS}
    assert main(["cache"]) == 0
    assert "sessions" in capsys.readouterr().out


def test_the_help_names_what_can_be_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cache", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "remove one kind (models, moments, forecast, sparql, calibrate, examples, cards, links), or all:" in said


def test_an_empty_cache_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KGMET_CACHE", str(tmp_path / "none"))
    assert set(listed(capsys, "--clear", "all").values()) == {(0, 0)}


def test_only_what_was_asked_for_is_cleared(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, "--clear", "moments") == {k.name: (0, 0) if k.name == "moments" else (1, 5) for k in KINDS}


def test_a_users_work_is_never_cleared(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = listed(capsys, "--clear", "all")
    kept = {"profiles", "links", "sessions", "runs", "exports"}
    assert {name for name, size in left.items() if size != (0, 0)} == kept
    for name in ("profiles", "sessions", "runs", "exports", "../outside", "."):
        assert main(["cache", "--clear", name]) == 2
        assert (
            "Choose one of: models, moments, forecast, sparql, calibrate, examples, cards, links"
            in capsys.readouterr().err
        )
    assert listed(capsys)["sessions"] == (1, 5)


def test_published_copies_are_cleared_by_their_name_alone(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    assert "copies of results that links open (only by its name)" in capsys.readouterr().out
    left = listed(capsys, "--clear", "links")
    assert left == {kind.name: (0, 0) if kind.name == "links" else (1, 5) for kind in KINDS}


def test_no_link_is_followed(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("years")
    (cache / "moments" / "link").symlink_to(tmp_path / "mine")
    listed(capsys, "--clear", "moments")
    assert (tmp_path / "mine" / "thesis").read_text() == "years"
    assert not (cache / "moments" / "link").exists()


def test_every_folder_the_code_uses_is_listed() -> None:
    files = [path for name in ("kgmet", "workbench") for path in (ROOT / name).rglob("*.py")]
    used = {name for path in files for name in re.findall(r'cache_dir\(\) / "(\w+)"', path.read_text(encoding="utf-8"))}
    assert {"moments", "sessions"} <= used <= {kind.name for kind in KINDS}


def test_a_folder_that_is_a_link_is_not_cleared(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis").write_text("years", encoding="utf-8")
    shutil.rmtree(cache / "forecast")
    (cache / "forecast").symlink_to(mine, target_is_directory=True)
    assert main(["cache", "--clear", "forecast"]) == 2
    assert "is a link to" in capsys.readouterr().err
    assert main(["cache", "--clear", "all"]) == 2
    assert (mine / "thesis").read_text(encoding="utf-8") == "years"
