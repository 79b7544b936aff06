"""`pyproject.toml` and the files of requirements agree: what is tested is what a user may install."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
LIBRARY = [Requirement(line) for line in PROJECT["dependencies"]]


def of_file(name: str) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def by_name(requirements: Iterable[Requirement]) -> dict[str, Requirement]:
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


LOCK = {name: Version(next(iter(pin.specifier)).version) for name, pin in by_name(of_file("requirements.lock")).items()}


def test_the_app_is_installed_from_what_the_library_and_the_extra_app_name() -> None:
    assert set(by_name(of_file("requirements.txt"))) == set(by_name([*LIBRARY, *EXTRAS["app"]]))


def test_tests_need_what_the_extra_dev_names() -> None:
    named = {extra for requirement in EXTRAS["dev"] for extra in requirement.extras} - {"app"}
    wanted = [*EXTRAS["dev"], *(requirement for extra in named for requirement in EXTRAS[extra])]
    files = set(by_name(of_file("requirements-dev.txt")))
    assert files == set(by_name(wanted)) - {canonicalize_name(PROJECT["name"])}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_what_is_tested_lies_within_the_ranges_of_the_project(name: str) -> None:
    ranges = by_name([*LIBRARY, *(requirement for extra in EXTRAS.values() for requirement in extra)])
    for requirement in of_file(name):
        found = ranges[canonicalize_name(requirement.name)]
        version = LOCK[canonicalize_name(requirement.name)]
        assert found.specifier.contains(version), f"{found} does not allow {version}, with which the tests run"
        assert requirement.marker == found.marker


@pytest.mark.parametrize("name", ["requirements.txt"])
def test_the_lock_binds_what_make_app_installs(name: str) -> None:
    assert re.search(r"^-c requirements\.lock$", (ROOT / name).read_text(encoding="utf-8"), flags=re.M)


def test_every_range_has_two_ends() -> None:
    for requirement in [*LIBRARY, *(one for extra in EXTRAS.values() for one in extra)]:
        if canonicalize_name(requirement.name) == canonicalize_name(PROJECT["name"]):
            continue
        operators = {bound.operator for bound in requirement.specifier}
        assert operators & {"==", "~="} or {">=", "<"} <= operators, str(requirement)


def test_the_library_alone_needs_nothing_of_the_app() -> None:
    assert not {"streamlit", "plotly", "pyvis", "pandas"} & set(by_name(LIBRARY))


def test_one_version_is_named_everywhere() -> None:
    import kgmet

    assert kgmet.__version__ == PROJECT["version"]
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.M)
    assert cited is not None
    assert cited[1] == PROJECT["version"]
