"""What the README shows works, and what it points to exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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


def test_the_python_of_the_readme_runs_and_the_edit_takes_hold(default_model_dir: Path) -> None:
    """It prints the report, with the answer before and after, and then a consequence."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S)
    assert len(code) == 1
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code[0]], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    *report, consequence = done.stdout.splitlines()
    assert any("before" in line and "Paris" in line for line in report)
    assert any("after" in line and "Tokyo" in line for line in report)
    assert "Japan" in consequence
