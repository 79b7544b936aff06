"""Files of settings are read by the tools they are meant for, and promise what they say."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))


def requirements(name: str) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def test_streamlit_knows_every_option() -> None:
    """It only logs what it does not know, and goes on without."""
    command = [sys.executable, "-m", "streamlit", "config", "show"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "not a valid config option" not in done.stdout + done.stderr
    assert "backgroundColor" in done.stdout


def test_the_server_listens_on_this_machine_only_and_tells_nobody() -> None:
    assert SETTINGS["server"]["address"] == "127.0.0.1"
    assert SETTINGS["browser"]["gatherUsageStats"] is False


def test_no_setting_makes_the_browser_load_anything_from_outside() -> None:
    assert "://" not in (ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("scale", ["chartDivergingColors", "chartSequentialColors"])
def test_scales_have_the_ten_steps_streamlit_asks_for(scale: str) -> None:
    colours = SETTINGS["theme"][scale]
    assert len(set(colours)) == 10


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(theme: str) -> None:
    """WCAG 2.2, 1.4.3 (text, 4.5) and 1.4.11 (parts of controls, 3); buttons write white on the primary colour."""
    colours = SETTINGS["theme"][theme]
    for ground in (
        colours["backgroundColor"],
        colours["secondaryBackgroundColor"],
        colours["sidebar"]["backgroundColor"],
    ):
        for text in ("textColor", "linkColor"):
            assert contrast(colours[text], ground) >= 4.5
        assert contrast(colours["primaryColor"], ground) >= 3
    assert contrast(colours["primaryColor"], "#ffffff") >= 4.5


def test_one_scale_runs_evenly_from_dark_to_light() -> None:
    steps = [luminance(colour) for colour in SETTINGS["theme"]["chartSequentialColors"]]
    assert all(low < high for low, high in pairwise(steps))


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_lock_names_a_version_within_every_bound(name: str) -> None:
    locked = {canonicalize_name(entry.name): entry for entry in requirements("requirements.lock")}
    for requirement in requirements(name):
        (pin,) = locked[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(pin.version), f"{requirement} but the lock has {pin}"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_bounded_above(name: str) -> None:
    for requirement in requirements(name):
        assert any(bound.operator in {"==", "~=", "<"} for bound in requirement.specifier), str(requirement)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_every_make_target_named_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    named = set(
        re.findall(r"(?:^|`)make (?:--[a-z-]+ )?([a-z-]+)", (ROOT / name).read_text(encoding="utf-8"), flags=re.M)
    )
    assert named
    assert named <= targets


def test_tests_have_no_network() -> None:
    with pytest.raises(OSError, match="tests have no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(socket.gaierror, match="tests have no network"):
        socket.create_connection(("example.org", 80), timeout=1)
