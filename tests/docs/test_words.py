"""Docstrings, comments, messages and pages are in plain English; commits stand in their own lines."""

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
HASH = re.compile(r"\b(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{7,40}\b")
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


def test_hashes_of_commits_stand_in_their_own_lines_only() -> None:
    """A paragraph with one says "Commit:" or "Commits:"."""
    found = [
        f"{path.relative_to(ROOT)}: {said[0]}"
        for path in FILES
        if path.suffix == ".md"
        for paragraph in path.read_text(encoding="utf-8").split("\n\n")
        if (said := HASH.findall(paragraph)) and not re.search(r"\bCommits?: ", paragraph)
    ]
    assert not found, "\n".join(found)
