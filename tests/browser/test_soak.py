"""The real server with the real model, killed at any moment of what a browser asked for."""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.running import PATIENCE, Server, Watched, linked_cache
from workbench.state.vault import SessionRecord, SessionVault

pytestmark = [pytest.mark.soak]
N_KILL = int(os.environ.get("KGMET_SOAK_KILLS", "16"))
PEOPLE = (
    ("The Eiffel Tower", "{} is located in the city of", "Tokyo"),
    ("The Colosseum", "{} is located in the city of", "London"),
    ("Big Ben", "{} is located in the city of", "Madrid"),
    ("The Louvre", "{} is located in the city of", "Vienna"),
    ("The Kremlin", "{} is located in the city of", "Lisbon"),
    ("The Taj Mahal", "{} is located in the city of", "Oslo"),
)
PAGES = ("edit", "graph", "probe", "ledger", "benchmark", "models", "forensics")


def test_a_killed_server_loses_no_finished_edit_and_every_page_opens(
    chromium: Browser, default_model_dir: Path, tmp_path: Path
) -> None:
    server, draw = Server(linked_cache(default_model_dir, tmp_path)), random.Random(0)
    server.start()
    context = chromium.new_context(viewport={"width": 1280, "height": 1400})
    context.set_default_timeout(PATIENCE)  # after a restart the form is there once the model is loaded
    person = Watched(context=context, page=context.new_page(), url=server.url)
    killed: dict[str, int] = {}
    try:
        length = finished_edit(person, *PEOPLE[0])
        for number in range(N_KILL):
            if not stack_of(server, person):
                finished_edit(person, *PEOPLE[4 + number % 2])
            before, act = stack_of(server, person), (apply, undo, export, benchmark)[number % 4]
            act(person, number)
            time.sleep(draw.uniform(0.0, 1.2 * length))
            server.kill()
            after = stack_of(server, person)
            gone = [one for one in before if one not in after]
            assert len(gone) <= (act is undo), "only what was being undone may have gone"
            assert act in (apply, undo) or after == before
            killed[act.__name__] = killed.get(act.__name__, 0) + 1
            server.start()
            for name in PAGES:
                open_page(person, name)
            record = record_of(server, person)
            assert record.damage == () and record.unsaved == ""
            assert all(entry.report is not None for entry in record.saved.entries)
    except BaseException:
        print(f"after {killed} the page says: {person.page.locator('body').inner_text(timeout=5000)}")
        raise
    finally:
        context.close()
        server.stop()
    print(f"kills: {killed}; edits lost: 0; pages that did not open: 0 of {N_KILL * len(PAGES)}")


def open_page(person: Watched, name: str) -> None:
    person.page.goto(f"{person.url}/{name}")
    person.page.get_by_role("heading", level=1).wait_for(timeout=PATIENCE)
    person.settle()


def finished_edit(person: Watched, subject: str, prompt: str, new: str) -> float:
    """Apply an edit and wait for its result; return the seconds that this took."""
    open_page(person, "edit")
    person.type_fact(subject, prompt, new)
    begin = time.monotonic()
    person.apply()
    return time.monotonic() - begin


def record_of(server: Server, person: Watched) -> SessionRecord:
    """The session as a server that has just been started reads it."""
    ids = [cookie["value"] for cookie in person.context.cookies() if cookie["name"].startswith("kgmet_session")]
    record = SessionVault(server.cache / "sessions").find(ids[0])
    assert record is not None
    return record


def stack_of(server: Server, person: Watched) -> list[str]:
    return [entry.id for entry in record_of(server, person).saved.stack]


def apply(person: Watched, number: int) -> None:
    open_page(person, "edit")
    subject, prompt, new = PEOPLE[number // 4 % len(PEOPLE)]
    person.type_fact(subject, prompt, new if number // 4 % 2 else "Cairo")
    person.page.get_by_role("button", name="Apply the edit").click()


def undo(person: Watched, number: int) -> None:
    open_page(person, "edit")
    person.page.get_by_role("button", name="Undo", exact=True).click()


def export(person: Watched, number: int) -> None:
    open_page(person, "ledger")
    person.page.locator("summary").filter(has_text="Export").click()
    person.page.get_by_role("button", name="Export", exact=True).click()


def benchmark(person: Watched, number: int) -> None:
    open_page(person, "benchmark")
    # A run that a kill has cut short is offered first, and the form for a new one is folded up.
    person.page.get_by_role("button", name=re.compile("^(Start|Resume)$")).first.click()
