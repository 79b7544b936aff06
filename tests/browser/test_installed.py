"""The app as `kgmet app` serves it from an installed wheel, far from the repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.running import PATIENCE, Server, linked_cache
from tests.package.installed import Installed


@pytest.fixture
def app(installed: Installed, default_model_dir: Path, tmp_path: Path) -> Iterator[Server]:
    made = Server(linked_cache(default_model_dir, tmp_path), installed=installed)
    made.start()
    yield made
    made.stop()


def test_an_installed_app_shows_its_pages_in_its_own_colours(app: Server, chromium: Browser) -> None:
    context = chromium.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(f"{app.url}/method")
    expect(page.get_by_role("heading", name="Method", exact=True, level=1)).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".st-key-pipeline img")).to_have_js_property("complete", True)
    expect(page.locator('[data-testid="stApp"]')).to_have_css("background-color", "rgb(17, 24, 31)")
    page.goto(f"{app.url}/edit?subject=The Eiffel Tower&template={{}} is located in the city of&new_object=Rome")
    expect(page.get_by_role("textbox", name="Subject", exact=True)).to_have_value("The Eiffel Tower", timeout=PATIENCE)
    expect(page.locator(".kg-story svg")).to_be_visible(timeout=PATIENCE)
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)
    context.close()
