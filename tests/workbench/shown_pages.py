"""Pages as a session sees them: run without a browser, and what they say as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from workbench.state.session import SESSION_KEY, WorkbenchState

ROOT = Path(__file__).resolve().parents[2]


def shown(name: str, state: WorkbenchState, **values: Any) -> AppTest:
    """Run a page of `pages/` for a session; `values` are set in the session state before."""
    page = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60)
    page.session_state[SESSION_KEY] = state.session_id
    for key, value in values.items():
        page.session_state[key] = value
    return page.run()


def words(page: AppTest) -> str:
    """All text of a page, and the labels of its buttons."""
    kinds = ("title", "markdown", "caption", "info", "warning", "error", "success", "subheader", "text")
    parts = [str(item.value) for kind in kinds for item in getattr(page, kind)]
    return "\n".join([*parts, *(button.label for button in page.button)])


def sentences(page: AppTest) -> str:
    """What a page says in sentences: no buttons, no plain text and no success."""
    kinds = ("title", "markdown", "caption", "info", "warning", "error", "subheader")
    return "\n".join(str(item.value) for kind in kinds for item in getattr(page, kind))
