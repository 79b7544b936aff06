"""Pages as a session sees them: run without a browser, and what they say as text."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from tests.workbench.sessions import wait_for
from workbench.running import jobs
from workbench.shared.inspect_actions import queue
from workbench.state.session import SESSION_KEY, WorkbenchState

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def components_are_looked_for_once() -> Iterator[None]:
    """For every `AppTest` anew, Streamlit would read the description of each installed package in search of them."""
    with pytest.MonkeyPatch.context() as patch:
        scan = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", scan)
        yield


def shown(name: str, state: WorkbenchState, **values: Any) -> AppTest:
    """Run a page of `pages/` for a session; `values` are set in the session state before."""
    page = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60)
    page.session_state[SESSION_KEY] = state.session_id
    for key, value in values.items():
        page.session_state[key] = value
    return page.run()


def settled(page: AppTest, state: WorkbenchState) -> AppTest:
    """The page once all its measurements are done."""
    for _ in range(6):
        job = jobs.latest(queue(state))
        if job is not None:
            wait_for(job.id)
        page.run()
        if jobs.latest(queue(state)) is job:
            return page
    raise AssertionError("the page never settled")


def words(page: AppTest) -> str:
    """All text of a page, and the labels of its buttons."""
    kinds = ("title", "markdown", "caption", "info", "warning", "error", "success", "subheader", "text")
    parts = [str(item.value) for kind in kinds for item in getattr(page, kind)]
    return "\n".join([*parts, *(button.label for button in page.button)])


def sentences(page: AppTest) -> str:
    """What a page says in sentences: no buttons, no plain text and no success."""
    kinds = ("title", "markdown", "caption", "info", "warning", "error", "subheader")
    return "\n".join(str(item.value) for kind in kinds for item in getattr(page, kind))
