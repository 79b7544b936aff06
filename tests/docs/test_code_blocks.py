"""Every block of Python in the README and in docs/ runs, page by page, and every cell of the notebook."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from pathlib import Path

import pytest

import kgmet
from tests.tiny_models import tiny_lm

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "first_edit.ipynb"
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n)?^( *)```python\n(.*?)^\2```$", flags=re.S | re.M)


def blocks(page: Path) -> list[str]:
    """The blocks of Python on a page that are to be run; the others say why not."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [textwrap.dedent(code) for reason, _, code in found if not reason]


def pages() -> list[Path]:
    """The pages with blocks to be run; of those whose blocks differ in comments only, the first."""
    found = {}
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]):
        if code := blocks(page):
            found.setdefault(tuple(ast.dump(ast.parse(block)) for block in code), page)
    return list(found.values())


PAGES = pages()
ANY_MODEL = {
    "calibrate.md": "",
    "export.md": "",
    "many_edits.md": "",
    "own_graph.md": "→ Japan",
    "report_card.md": "Edited by: KGMET.",
    "sharing.md": "['",
    "trace.md": "The capital of Japan is Tokyo: ",
}
"""Pages that say nothing of what the default model answers, and what they print with any model."""
ELSEWHERE = {"README.md"}
"""Its Python is run as an installed library's, by tests/package/test_wheel.py."""


def test_the_pages_with_examples_are_found() -> None:
    assert {"README.md", "many_edits.md", "own_graph.md", "export.md", "sharing.md"} <= {page.name for page in PAGES}


def run(page: Path) -> None:
    names: dict[str, object] = {}
    for number, code in enumerate(blocks(page), start=1):
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.soak] if page.name in {*ANY_MODEL, *ELSEWHERE} else []) for page in PAGES],
    ids=lambda page: page.name,
)
def test_the_blocks_of_a_page_run_one_after_the_other(
    page: Path,
    default_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run(page)
    printed = capsys.readouterr().out
    assert "Tokyo" in printed or "Japan" in printed or "print(" not in "".join(blocks(page))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in ANY_MODEL], ids=lambda page: page.name)
def test_the_blocks_of_a_page_about_any_model_run_with_a_tiny_one(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KGMET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kgmet, "load_lm", tiny_lm)
    run(page)
    printed = capsys.readouterr().out
    assert ANY_MODEL[page.name] in printed
    assert bool(printed.strip()) is ("print(" in "".join(blocks(page)))


def run_notebook(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    """The answers that it prints, before the edit, after it and after its undo, and all that it prints."""
    names: dict[str, object] = {}
    for number, cell in enumerate(json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"], start=1):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    printed = capsys.readouterr().out
    return [line for line in printed.splitlines() if line.startswith("[")], printed


@pytest.mark.soak  # the edit is that of the README, which runs with the default model in tests/package/test_wheel.py
@pytest.mark.usefixtures("default_model_dir")
def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (before, after, undone), _ = run_notebook(capsys)
    assert "France" in before
    assert "Japan" in after
    assert undone == before


def test_the_notebook_runs_with_a_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KGMET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kgmet, "load_lm", tiny_lm)
    (before, _, undone), printed = run_notebook(capsys)
    assert printed.index(before) < printed.index("The Eiffel Tower is located in the city of → Tokyo   (KGMET)")
    assert undone == before
