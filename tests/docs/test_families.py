"""The table of models in `docs/families.md` is that of the code, of the tests, and of the versions they run with."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from kgmet.lm.load.family import FAMILIES
from tests.lm.load.test_description import WRAPPERS
from tests.tiny_models import FAMILY_KINDS, tiny_model

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")


def table() -> dict[str, str]:
    """`model_type` → the tests that are named for it."""
    found = {}
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 4 and "`tests/" in cells[3]:
            found |= dict.fromkeys(re.findall(r"`([a-z0-9_]+)`", cells[1]), cells[3])
    return found


def test_every_supported_kind_and_no_other_is_in_the_table() -> None:
    supported = {kind for family in FAMILIES for kind in family.model_types}
    assert set(table()) == supported | set(WRAPPERS)


def test_every_kind_was_tried_by_the_tests_it_names() -> None:
    tried = {tiny_model(kind).config.model_type for kind in FAMILY_KINDS} | set(WRAPPERS)
    assert set(table()) <= tried
    named = {name for tests in table().values() for name in re.findall(r"`(tests/[^`]+)`", tests)}
    assert named and all((ROOT / name).is_file() for name in named)


@pytest.mark.parametrize("package", ["transformers", "torch"])
def test_the_versions_are_those_of_the_lock_file(package: str) -> None:
    stated = re.search(rf"{package} (\d+\.\d+\.\d+)", TEXT)
    locked = re.search(rf"(?m)^{package}==(\d+\.\d+\.\d+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    assert stated is not None and locked is not None
    assert stated[1] == locked[1]
    if importlib.metadata.version("transformers") == locked[1]:
        assert importlib.metadata.version(package).split("+")[0] == stated[1]
