from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from kgmet.base.progress import Stage
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import entry_for
from workbench.screens.ledger.scripting import edit_script
from workbench.wording import STAGES, count, duration, percent, progress_line, safe, time_left

ROOT = Path(__file__).resolve().parents[2]


def test_every_stage_has_words_for_people() -> None:
    assert set(STAGES) == set(Stage)


def test_a_stage_says_how_far_it_is() -> None:
    assert progress_line(Stage.SEARCH, 3, 20) == "Searching the shift · 3 of 20"
    assert progress_line(Stage.KNOWN_FACTS, 3_000, 20_000).endswith(" · 3,000 of 20,000")
    assert progress_line(Stage.DOWNLOAD, 12_000_000, None) == "Downloading the model · 12 MB"
    assert progress_line(Stage.DOWNLOAD, 5_000_000, 10_000_000) == "Downloading the model · 5 of 10 MB"


@pytest.mark.parametrize(("n", "words"), [(0, "0 triples"), (1, "1 triple"), (44_227, "44,227 triples")])
def test_a_count_has_its_noun_and_separated_thousands(n: int, words: str) -> None:
    assert count(n, "triple") == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "5 s"), (24, "25 s"), (89, "90 s"), (100, "2 min"), (130, "2 min"), (5399, "90 min"), (7200, "2.0 h")],
)
def test_an_estimated_time_is_said_in_whole_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words and time_left(seconds) == f"about {words} left"


def test_a_number_and_its_sign_stay_on_one_line_in_markdown() -> None:
    assert safe(f"from {percent(0.5)}\n  to\u2028{percent(1e-7)} ") == "from 50\\.0\u00a0% to 1\\.0·10⁻⁵\u00a0%"


def test_no_noun_has_its_plural_in_brackets() -> None:
    """A count is followed by the noun in the right number (`wording.count`)."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value[:60]}"
        for folder in ("kgmet", "workbench")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"(?<!http)\(s\)", node.value)
    ]
    assert found == []


@pytest.mark.parametrize(("n", "words"), [(0, "0 edits"), (1, "1 edit"), (2, "2 edits")])
def test_a_script_of_edits_counts_in_words(n: int, words: str) -> None:
    entries = [entry_for(tiny_lm(), seed=seed) for seed in range(n)]
    assert edit_script(entries, "a model").startswith(f'"""Repeats {words} as the workbench made them')


def test_a_label_cannot_turn_the_words_of_the_page() -> None:
    turned = "Ro\u202eme \u2067x\u2066y\u202b"
    assert safe(f"{turned} (not in the graph)") == "Rome xy \\(not in the graph\\)"
    assert safe("\u05e8\u05d5\u05de\u05d0\u200f") == "\u05e8\u05d5\u05de\u05d0\u200f"
