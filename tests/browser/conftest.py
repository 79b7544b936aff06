"""The running app on a free loopback port, and a real Chromium that is watched.

Two servers are shared by all tests. The app with the default model is for what that model says, and for what is made of
it elsewhere. The app with the tiny random model is for what a page does whatever a model says: there an edit takes a
second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.browser.running import EIFFEL, PATIENCE, Server, Visit, Watched, linked_cache, wait_for_drawn_graph
from tests.soak.served import Served
from workbench.state.values import SavedSession
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
        context.set_default_timeout(PATIENCE)
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


@dataclass(frozen=True, eq=False, kw_only=True)
class MovedTower:
    """A visit in which the Eiffel Tower was moved with the default model, the one edit that takes so long.

    `before` is what the model's bars said before; `saved` is the session right after.
    """

    person: Watched
    before: str
    saved: SavedSession


@pytest.fixture(scope="session")
def moved_tower(chromium: Browser, server: Server) -> Iterator[MovedTower]:
    for visit in visits(chromium, server):
        person = visit()
        page = person.page
        page.get_by_role("button", name="Got it").click()
        expect(page.get_by_text("Five steps")).not_to_be_visible()
        person.type_fact(*EIFFEL)
        expect(page.locator(".kg-tokens .edited")).to_have_text("·Tower")
        expect(page.locator(".kg-bar").first).to_contain_text("Paris")
        wait_for_drawn_graph(page)
        before = page.locator(".kg-bars").inner_text()
        person.apply()
        expect(page.get_by_role("status").filter(has_text="Edit applied: took.")).to_have_count(1)
        record = SessionVault(server.cache / "sessions").find(person.session_id)
        assert record is not None
        yield MovedTower(person=person, before=before, saved=record.saved)


@pytest.fixture
def tower(moved_tower: MovedTower, server: Server) -> str:
    """Id of a session of the test's own in which the Eiffel Tower has been moved."""
    made, saved = SessionVault(server.cache / "sessions").new(), moved_tower.saved
    made.change(draft=saved.draft, stack=saved.stack, is_guide_seen=True)
    return made.session_id
