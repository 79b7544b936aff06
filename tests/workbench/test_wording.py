from __future__ import annotations

import ast
from pathlib import Path

from workbench.wording import STAGES, progress_line

ROOT = Path(__file__).resolve().parents[2]


def reported_stages() -> dict[str, str]:
    """Every stage the code reports → a file that does."""
    found = {}
    for path in [*(ROOT / "kgmet").rglob("*.py"), *(ROOT / "workbench").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ProgressEvent":
                for word in node.keywords:
                    if word.arg == "stage" and isinstance(word.value, ast.Constant):
                        found[str(word.value.value)] = str(path.relative_to(ROOT))
    return found


def test_every_stage_that_is_reported_has_words_for_people() -> None:
    reported = reported_stages()
    assert len(reported) > 10
    assert {stage: file for stage, file in reported.items() if stage not in STAGES} == {}


def test_no_words_are_kept_for_a_stage_that_is_not_reported() -> None:
    assert set(STAGES) - set(reported_stages()) == set()


def test_a_stage_says_how_far_it_is() -> None:
    assert progress_line("search", 3, 20) == "Searching the shift · 3 of 20"
    assert progress_line("download", 12_000_000, None) == "Downloading the model · 12 MB"
