"""What `docs/trust.md` names as proof exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[^`]+)`", (ROOT / "docs" / "trust.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_promise_names_a_test() -> None:
    rows = [
        line
        for line in (ROOT / "docs" / "trust.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| Promise")
    ]
    assert [row for row in rows if "`tests/" not in row] == []


def calls(folder: str) -> Iterator[tuple[str, ast.Call]]:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


@pytest.mark.parametrize("folder", ["kgmet", "workbench"])
def test_no_file_is_unpickled_and_no_model_brings_code(folder: str) -> None:
    faults = []
    for place, call in calls(folder):
        name = ast.unparse(call.func)
        remote = [item.value for item in call.keywords if item.arg == "trust_remote_code"]
        if name.split(".")[0] in ("pickle", "dill", "joblib", "marshal") or name == "torch.load":
            faults.append(f"{place} unpickles")
        if re.fullmatch(r"Auto\w+\.from_\w+", name) and not remote:
            faults.append(f"{place} does not say that remote code is off")
        faults += [place for value in remote if not (isinstance(value, ast.Constant) and value.value is False)]
    assert faults == []
