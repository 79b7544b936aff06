"""Where the browser of the browser tests comes from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from scripts import get_chromium


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any browser, where neither apt-get nor Playwright can get one; a folder on its PATH."""
    monkeypatch.delenv("KGMET_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(get_chromium, "playwrights_own", lambda: None)
    monkeypatch.setattr(get_chromium, "from_playwright", lambda: None)
    return tmp_path


def put_program(path: Path) -> Path:
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_one_named_is_taken_before_any_other(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_program(nowhere / "chromium")
    named = put_program(nowhere / "mine")
    monkeypatch.setenv("KGMET_CHROMIUM", str(named))
    assert get_chromium.main() == 0
    assert capsys.readouterr().out == f"{named}\n"


def test_a_name_that_leads_nowhere_is_said_and_nothing_is_installed(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_program(nowhere / "chromium")
    monkeypatch.setenv("KGMET_CHROMIUM", str(nowhere / "gone"))
    monkeypatch.setattr(get_chromium, "from_apt", lambda: pytest.fail("must not install"))
    assert get_chromium.main() == get_chromium.NONE_FOUND
    said = capsys.readouterr()
    assert said.out == ""
    assert str(nowhere / "gone") in said.err


def test_one_on_the_path_is_found(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    browser = put_program(nowhere / "google-chrome")
    assert get_chromium.main() == 0
    assert capsys.readouterr().out == f"{browser}\n"


def test_without_any_it_is_loud_and_prints_no_path(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert get_chromium.main() == get_chromium.NONE_FOUND
    said = capsys.readouterr()
    assert said.out == ""
    assert "*** NO CHROMIUM" in said.err


@pytest.mark.skipif(sys.platform == "win32", reason="no apt-get on Windows")
@pytest.mark.parametrize(("user", "installs"), [(0, True), (1000, False)])
def test_debians_package_is_for_root_only(
    user: int, installs: bool, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An apt-get that "installs" by making the program; sh is reached by its full path.
    chromium = nowhere / "chromium"
    apt = put_program(nowhere / "apt-get")
    apt.write_text(f"#!/bin/sh\n: > {chromium}\n/bin/chmod 755 {chromium}\n", encoding="utf-8")
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert get_chromium.from_apt() == (str(chromium) if installs else None)
