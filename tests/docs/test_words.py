"""Docstrings, comments, messages and pages are in plain English: none of the words that have a plainer one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAINER = {
    "anew": "again",
    "dear": "expensive",
    "dearer": "more expensive",
    "lest": "so that … not",
    "nobody": "no user, or: unknown",
    "owed": "due",
    "so manieth": "N-th",
    "thereby": "so",
    "whoever": "the user, or: users who",
}
FILES = [
    *sorted(
        path
        for folder in ("kgmet", "workbench", "benchmarks", "scripts", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md"} and path.parent.name != "facts"
    ),
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
]


@pytest.mark.parametrize("word", PLAINER)
def test_plain_words_are_used(word: str) -> None:
    pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, f"write {PLAINER[word]!r} instead of {word!r}:\n" + "\n".join(found)
