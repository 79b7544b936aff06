"""The running app with the real model on a free loopback port, and a real Chromium that is watched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.browser.running import FLAGS, PATIENCE, Server, Watched, linked_cache


@pytest.fixture(scope="session")
def server(default_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(linked_cache(default_model_dir, tmp_path_factory.mktemp("cache")))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def chromium(chromium_executable: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, server: Server) -> Iterator[Any]:
    """Open the app as a new person (or as one whose cookies are given)."""
    opened: list[BrowserContext] = []

    def opening(**options: Any) -> Watched:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 1400}} | options))
        context.set_default_timeout(30_000)
        opened.append(context)
        page = context.new_page()
        made = Watched(context=context, page=page, url=server.url)
        context.on("request", lambda request: made.asked.append(request.url))
        page.goto(server.url)
        page.get_by_role("textbox", name="Subject", exact=True).wait_for(timeout=PATIENCE)
        made.settle()
        return made

    yield opening
    for context in opened:
        context.close()
