"""What a browser test asserts about a page, it waits for: a page on a busy machine is late, not wrong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
NEVER_WAIT = {
    "all_inner_texts",
    "all_text_contents",
    "count",
    "evaluate_all",
    "is_checked",
    "is_disabled",
    "is_editable",
    "is_enabled",
    "is_hidden",
    "is_visible",
    "query_selector",
    "query_selector_all",
}
"""They answer at once with what is there at this moment."""

WAIT_FOR_PRESENCE = {
    "bounding_box",
    "content",
    "evaluate",
    "get_attribute",
    "inner_html",
    "inner_text",
    "input_value",
    "text_content",
    "title",
}
"""They wait until an element is there, not until it says what is expected."""


def calls(tree: ast.AST, names: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            yield node


def faults(source: str) -> list[int]:
    """Lines that ask a page without waiting, or assert on what it says at this moment."""
    tree = ast.parse(source)
    asserted = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    hasty = [*calls(tree, NEVER_WAIT), *(call for node in asserted for call in calls(node, WAIT_FOR_PRESENCE))]
    return sorted({call.lineno for call in hasty})


def short(source: str) -> list[int]:
    """Lines that wait for a page for a number of milliseconds of their own, but to say what a failed test saw."""
    found = [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr != "inner_text"
        for given in [*(word.value for word in node.keywords if word.arg == "timeout"), *limits(node)]
        if isinstance(given, ast.Constant) and isinstance(given.value, int) and given.value >= 1000
    ]
    return sorted(set(found))


def limits(call: ast.Call) -> list[ast.expr]:
    """The limit that a call sets for all that come after it."""
    return call.args[:1] if isinstance(call.func, ast.Attribute) and call.func.attr == "set_default_timeout" else []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_pages_are_waited_for_as_long_as_a_busy_machine_needs(path: Path) -> None:
    """Use `PATIENCE`, or name no limit: the contexts and `expect` have it."""
    assert short(path.read_text(encoding="utf-8")) == []


def test_a_short_limit_is_seen() -> None:
    source = "a.wait_for(timeout=5000)\nb.set_default_timeout(30_000)\nc.wait_for(timeout=PATIENCE)\nd(timeout=2)"
    assert short(source) == [1, 2]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_pages_are_waited_for(path: Path) -> None:
    """Use `expect(…)`, `wait_for` or `wait_for_function`."""
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("assert page.locator('a').count() == 1", [1]),
        ("n = page.locator('a').count()", [1]),
        ("assert page.locator('a').inner_text() == 'b'", [1]),
        ("before = page.locator('a').inner_text()", []),
        ("expect(page.locator('a')).to_have_count(1)", []),
    ],
)
def test_haste_is_seen(source: str, lines: list[int]) -> None:
    assert faults(source) == lines
