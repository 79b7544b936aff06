"""What a button sets off begins, although the browser asks for another page, or is gone, a moment later."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.soak.served import Served
from tests.soak.visitor import Visitor

SOAK = os.environ.get("KGMET_SOAK") == "1"
pytestmark = [pytest.mark.soak] if SOAK else []
N_CLICK = 40 if SOAK else 8
MOMENTS = (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05)
"""Seconds between the click and what comes after it: before its run has begun, while it begins, and while its
callback works."""
PATIENCE = 60.0
"""Seconds after which a click counts as lost."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served") / "cache") as made:
        yield made


def jobs(server: Served, kind: str) -> dict[str, str]:
    """State of the jobs of a kind that the server knows, by their ids; it forgets old ones."""
    return {one["id"]: one["state"] for one in server.jobs() if one["kind"] == kind}


def begun_after(server: Served, kind: str, known: set[str]) -> set[str]:
    """Ids of the jobs that are new; waits until there is one, and until it is done."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        now = jobs(server, kind)
        if now.keys() - known and all(state == "done" for state in now.values()):
            break
        time.sleep(0.05)
    return jobs(server, kind).keys() - known


def edit_form(server: Served, number: int) -> Visitor:
    """A new visitor whose form is filled."""
    visitor = Visitor(server.url, patience=120)
    visitor.open("edit")
    visitor.fill(Subject="The Eiffel Tower", New_object=f"Tokyo {number}", Template="{} is located in the city of")
    return visitor


def leave(visitor: Visitor, then: str, number: int) -> None:
    """Go to another page, or close the tab, at one of the moments."""
    time.sleep(MOMENTS[number % len(MOMENTS)])
    if then == "another page":
        visitor.open("share", wait=False)
        visitor.hear_out()


@pytest.mark.parametrize("then", ["another page", "gone"])
def test_apply_is_not_lost_by_what_comes_right_after_it(server: Served, then: str) -> None:
    """Apply begins its work in a callback."""
    known, n_made = set(jobs(server, "edit")), list[int]()
    for number in range(N_CLICK):
        visitor = edit_form(server, number)
        visitor.press("Apply the edit", wait=False)
        leave(visitor, then, number)
        visitor.close()
        new = begun_after(server, "edit", known)
        known |= new
        n_made.append(len(new))
    print(f"clicks on Apply: {N_CLICK}, then {then}; lost: {n_made.count(0)}; twice: {sum(n > 1 for n in n_made)}")
    assert n_made == [1] * N_CLICK


@pytest.mark.parametrize("then", ["another page", "gone"])
def test_a_button_that_the_page_asks_is_not_lost_either(server: Served, then: str) -> None:
    """The Ledger itself begins to measure, far down in its page."""
    visitor = edit_form(server, 0)
    visitor.press("Apply the edit")
    visitor.wait_until(lambda page: not page.has("button", "Stop") and page.can_press("Undo"))
    session_id = visitor.session_id
    visitor.close()
    known, n_made = set(jobs(server, "standing")), list[int]()
    for number in range(N_CLICK):
        visitor = Visitor(server.url, session_id=session_id, patience=120)
        visitor.open("ledger")
        visitor.press("Measure all edits as they stand now", wait=False)
        leave(visitor, then, number)
        visitor.close()
        new = begun_after(server, "standing", known)
        known |= new
        n_made.append(len(new))
    print(f"clicks on Measure: {N_CLICK}, then {then}; lost: {n_made.count(0)}; twice: {sum(n > 1 for n in n_made)}")
    assert n_made == [1] * N_CLICK
