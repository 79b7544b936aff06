"""What visitors of the real server hold is freed when they go: memory, threads and open files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.served import Served
from tests.soak.visitor import Visitor

pytestmark = [pytest.mark.soak]
N_WARM = int(os.environ.get("KGMET_SOAK_WARM", "10"))
N_SESSION = int(os.environ.get("KGMET_SOAK_SESSIONS", "200"))
MOST = 1.1
"""Largest memory after `N_SESSION` sessions over that after `N_WARM`."""
PAGES = ("ledger", "graph", "probe", "shift", "orthogonality", "share", "benchmark", "models")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "cache", soon=True) as made:
        yield made


def one_session(server: Served) -> None:
    """Someone comes, applies an edit, looks at the pages, and leaves."""
    tab = Visitor(server.url)
    tab.open("edit")
    tab.fill(
        Subject="The Eiffel Tower", New_object="Tokyo", Template="{} is located in the city of", Old_object="Paris"
    )
    tab.press("Apply the edit")
    tab.wait_until(lambda one: not one.has("button", "Stop"))
    for name in PAGES:
        tab.open(name)
        assert tab.faults == [], name
    tab.close()


def after_all_have_gone(server: Served) -> dict[str, int]:
    """What is held once the last sessions are forgotten.

    Streamlit keeps them for a second and looks for such when the next one comes, so the last two that come stay.
    """
    end = time.monotonic() + 60
    while True:
        time.sleep(1.5)
        tab = Visitor(server.url)
        tab.open("method")
        tab.close()
        time.sleep(1.5)
        held = dict(server.held())
        if held["sessions"] <= 2 or time.monotonic() > end:
            return held


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts memory and handles in /proc")
def test_sessions_leave_nothing_behind_on_the_server(server: Served) -> None:
    for _ in range(N_WARM):
        one_session(server)
    before = after_all_have_gone(server)
    for _ in range(N_SESSION - N_WARM):
        one_session(server)
    after = after_all_have_gone(server)
    print(f"sessions on the server: {N_SESSION}; after {N_WARM}: {before}; at the end: {after}; ")
    print(f"memory: {after['memory'] / before['memory']:.3f} times")
    assert after["sessions"] <= 2, "those that have gone are not in memory"
    assert after["memory"] <= MOST * before["memory"]
    assert after["threads"] <= before["threads"] + 1
    assert after["files"] <= before["files"] + 2
