"""The files of docs/deploy.md: their commands are understood, and systemd finds no fault with the unit."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kgmet.cli import app
from tests.docs.deployed import TEXT, block

ROOT = Path(__file__).resolve().parents[2]


def understood(words: list[str], tmp_path: Path) -> dict[str, str]:
    """What the words of a command make of a visitor's rights; a file that they name is taken to be there."""
    secret = tmp_path / "secret"
    secret.write_text("a long password\n", encoding="utf-8")
    parser = argparse.ArgumentParser()
    app.add_parser(parser.add_subparsers())
    options = parser.parse_args(words)
    options.password_file = options.password_file and secret
    return app.visitors(options)


def test_the_unit_starts_a_shared_server_with_a_password_from_the_folder_that_has_the_program(tmp_path: Path) -> None:
    unit = dict(line.split("=", 1) for line in block("ini").splitlines() if "=" in line and "Environment" not in line)
    python, *words = unit["ExecStart"].split()
    assert words[:2] == ["-m", "kgmet"] and python == f"{unit['WorkingDirectory']}/.venv/bin/python"
    told = understood(words[2:], tmp_path)
    assert told["KGMET_SHARED"] == "1" and told["KGMET_PASSWORD_FILE"] == str(tmp_path / "secret")
    writable = f"/var/lib/{unit['StateDirectory']}"
    places = re.findall(r"Environment=(?:KGMET_CACHE|HF_HOME)=(\S+)", block("ini"))
    assert len(places) == 2 and all(place.startswith(writable) for place in places)


def test_the_program_is_found_in_its_folder_only(tmp_path: Path) -> None:
    """Why the unit has a working directory: the requirements install what the workbench needs, not the workbench."""
    command = [sys.executable, "-m", "kgmet", "app", "--help"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert "kgmet" not in (ROOT / "requirements.txt").read_text(encoding="utf-8").split()


def test_the_container_starts_with_a_password_on_the_port_that_is_published(tmp_path: Path) -> None:
    (command,) = re.findall(r"^CMD (.*)$", block("dockerfile"), re.MULTILINE)
    words = json.loads(command)
    assert words[:3] == ["python", "-m", "kgmet"]
    assert understood(words[3:], tmp_path)["KGMET_SHARED"] == "1"
    assert "EXPOSE 8501" in block("dockerfile") and "-p 127.0.0.1:8501:8501" in TEXT
    for name in re.findall(r"^COPY (.*) \./$", block("dockerfile"), re.MULTILINE)[0].split():
        assert (ROOT / name).is_file()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "kgmet.service"
    unit.write_text(block("ini").replace("/opt/kgmet/.venv/bin/python", sys.executable), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "kgmet" in line]) == (0, [])
