"""What the README and the pages of docs/ point to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    # Pages under reference/ are made when the site is built; tests/docs/test_site.py follows the links to them.
    inside = [link for link in links if "://" not in link and not link.startswith(("mailto:", "reference/"))]
    assert [link for link in inside if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_script_named_as_a_source_of_figures_exists(page: Path) -> None:
    named = re.findall(r"(?:benchmarks|scripts)/[a-z0-9_/]+\.py", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file()] == []
