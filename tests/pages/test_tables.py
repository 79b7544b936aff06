"""Every table on every page can be saved as CSV, JSON and Markdown; what counts as too small is said in one place."""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.workbench.sessions import edited, fresh_process, state_of
from tests.workbench.shown_pages import ROOT, shown
from workbench.drawing.tables import table_files

PANEL = "workbench/shared/table_panel.py"
DRAW = {"dataframe", "table", "data_editor"}
TYPED_IN = {"workbench/screens/compare/page.py"}
"""Where a table is a form: what is typed there is the choice of editors, and the result has the files."""
AS_HTML = {"answer_table", "card_html", "matrix_html", "_standing_table"}
SAVE = {"save_table", "downloads", "_downloads", "download_button"}
WHILE_RUNNING = {("workbench/screens/compare/page.py", "_matrix")}
"""Functions that draw a part of a table while the rest is computed."""


def called(node: ast.AST) -> Iterator[tuple[str, str]]:
    """What is called below a node: what it is taken from (``st``), if it is a plain name, and its own name."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            owner = inner.func.value
            yield (owner.id if isinstance(owner, ast.Name) else "", inner.func.attr)
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name):
            yield "", inner.func.id


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted((ROOT / "workbench").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                yield path.relative_to(ROOT).as_posix(), node


def test_no_page_draws_a_table_without_its_files() -> None:
    faults = []
    for path, node in functions():
        names = list(called(node))
        saves = bool({name for _, name in names} & SAVE)
        for owner, name in names:
            is_table = owner == "st" and name in DRAW and path != PANEL
            is_form = name == "data_editor" and (saves or path in TYPED_IN)
            if is_table and not is_form:
                faults.append(f"{path}: {node.name} calls st.{name}; use {PANEL}")
    assert faults == []


def test_no_page_shows_a_table_as_html_without_its_files() -> None:
    faults = []
    for path, node in functions():
        shows = [inner for inner in ast.walk(node) if isinstance(inner, ast.Call) and _is_html(inner)]
        drawn = {name for inner in shows for _, name in called(inner)} & AS_HTML
        saves = {name for _, name in called(node)} & SAVE
        if drawn and not saves and (path, node.name) not in WHILE_RUNNING:
            faults.append(f"{path}: {node.name} shows {sorted(drawn)}")
    assert faults == []


def _is_html(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "html"


def test_the_files_hold_every_value_and_text_is_text() -> None:
    frame = pd.DataFrame(
        {"name": ["=1+1", "a|b <b>"], "p": [0.125, None], "n": [3, 4]}, index=pd.Index(["x", "*y*"], name="who")
    )
    files = table_files(frame)
    rows = list(csv.DictReader(io.StringIO(files["csv"])))
    assert [(row["who"], row["name"], row["p"], row["n"]) for row in rows] == [
        ("x", "'=1+1", "0.125", "3"),
        ("*y*", "a|b <b>", "", "4"),
    ]
    assert json.loads(files["json"]) == [
        {"who": "x", "name": "=1+1", "p": 0.125, "n": 3},
        {"who": "*y*", "name": "a|b <b>", "p": None, "n": 4},
    ]
    assert files["md"].splitlines() == [
        "| who | name | p | n |",
        "|---|---|---|---|",
        "| x | =1\\+1 | 0.125 | 3 |",
        "| \\*y\\* | a\\|b \\<b\\> |  | 4 |",
    ]


@pytest.mark.parametrize(("name", "stem"), [("method", "symbols"), ("edit", "consequences"), ("graph", "triples")])
def test_a_page_offers_its_table_in_three_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stem: str
) -> None:
    resident = fresh_process(tmp_path, monkeypatch)
    page = shown(name, edited(state_of(), resident))
    assert not page.exception
    ids = [str(item.proto.id) for item in page.get("download_button")]
    for ending in ("csv", "json", "md"):
        assert any(one.endswith(f"table-{stem}-{ending}") for one in ids), (stem, ending, ids)
