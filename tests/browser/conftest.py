"""The running app on a free loopback port, and a real Chromium that is watched.

Two servers are shared by all tests. The app with the default model is for what that model says, and for what is made of
it elsewhere. The app with the tiny random model is for what a page does whatever a model says: there an edit takes a
second.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.browser.running import EIFFEL, FLAGS, PATIENCE, Server, Visit, Watched, linked_cache
from tests.soak.served import Served
from workbench.state.vault import SessionVault


@pytest.fixture(scope="session")
def server(default_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(linked_cache(default_model_dir, tmp_path_factory.mktemp("cache")))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("tiny") / "cache") as made:
        yield made


@pytest.fixture(scope="session")
def chromium(chromium_executable: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, server: Server) -> Iterator[Visit]:
    """Open the app with the default model, see `visits`."""
    yield from visits(chromium, server)


@pytest.fixture
def tiny_visit(chromium: Browser, tiny_server: Served) -> Iterator[Visit]:
    """Open the app with the tiny model, see `visits`."""
    yield from visits(chromium, tiny_server)


def visits(chromium: Browser, server: Server | Served) -> Iterator[Visit]:
    """Yield what opens a page in the browser of a new person, or of the one whose session is named."""
    opened: list[BrowserContext] = []

    def opening(place: str = "", *, session_id: str = "", **options: object) -> Watched:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 1400}} | options))  # type: ignore[arg-type]
        context.set_default_timeout(30_000)
        opened.append(context)
        if session_id:
            context.add_cookies([{"name": f"kgmet_session_{server.port}", "value": session_id, "url": server.url}])
        made = Watched(context=context, page=context.new_page(), url=server.url)
        context.on("request", lambda request: made.asked.append(request.url))
        made.page.goto(f"{server.url}/{place}")
        made.page.get_by_role("heading", level=1).wait_for(timeout=PATIENCE)
        made.settle()
        return made

    yield opening
    for context in opened:
        context.close()


@pytest.fixture(scope="session")
def two_people(chromium: Browser, server: Server) -> tuple[str, str]:
    """Ids of the sessions of two people who moved the Eiffel Tower and the Colosseum, both at once."""
    (found,) = (moved_at_once(visit) for visit in visits(chromium, server))
    return found


def moved_at_once(visit: Visit) -> tuple[str, str]:
    one, two = visit(), visit()
    for person, fact in ((one, EIFFEL), (two, ("The Colosseum", EIFFEL[1], "London"))):
        person.page.get_by_role("button", name="Got it").click()
        person.type_fact(*fact)
    for person in (one, two):
        person.page.get_by_role("button", name="Apply the edit").click()
    for person in (one, two):
        person.page.get_by_text("multi-hop questions (").wait_for(timeout=2 * PATIENCE)
        person.settle()
        assert person.outside() == []
    return one.session_id, two.session_id


@pytest.fixture
def tower(two_people: tuple[str, str], server: Server) -> str:
    """Id of a session of the test's own in which the Eiffel Tower has been moved."""
    vault = SessionVault(server.cache / "sessions")
    first, made = vault.find(two_people[0]), vault.new()
    assert first is not None
    made.change(draft=first.saved.draft, stack=first.saved.stack, is_guide_seen=True)
    return made.session_id
