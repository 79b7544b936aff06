"""Make the pictures of the README in docs/img/, from the running app with the embedded model.

`python scripts/screenshots.py` needs a Chromium (KGMET_CHROMIUM, or what scripts/get_chromium.py finds) and minutes.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser  # noqa: E402

from kgmet.lm.load.bundled import ensure_bundled  # noqa: E402
from scripts.get_chromium import NONE_FOUND, chromium  # noqa: E402
from tests.browser.running import PATIENCE, Server, Watched, launched, linked_cache  # noqa: E402

FOLDER = ROOT / "docs" / "img"
WIDE = {"width": 1280, "height": 900}


def visit(browser: Browser, url: str, *, scheme: str) -> Watched:
    context = browser.new_context(viewport=WIDE, color_scheme=scheme)
    page = context.new_page()
    person = Watched(context=context, page=page, url=url)
    page.goto(url)
    page.get_by_role("textbox", name="Subject", exact=True).wait_for(timeout=120_000)
    page.get_by_role("button", name="Got it").click()
    person.settle()
    return person


def take(person: Watched, name: str, *, height: int = 900) -> None:
    person.page.set_viewport_size({"width": 1280, "height": height})
    person.page.mouse.move(5, 5)
    person.page.evaluate("document.querySelector('[data-testid=\"stMain\"]').scrollTo(0, 0)")
    person.settle()
    person.page.wait_for_timeout(2500)
    person.page.screenshot(path=FOLDER / f"{name}.png")
    person.page.set_viewport_size(WIDE)
    print(FOLDER / f"{name}.png")


def look_inside(person: Watched, name: str) -> None:
    """Press the first main button of pages that measure on request, and wait for the figure."""
    person.go(name)
    button = person.page.locator('[data-testid="stMain"] button[kind="primary"]')
    if button.count() and button.first.is_enabled():
        button.first.click()
    person.page.locator(".js-plotly-plot").first.wait_for(timeout=PATIENCE)
    take(person, name.lower(), height=1300)


def compare(person: Watched) -> None:
    person.go("Compare")
    person.page.get_by_role("button", name=re.compile(r"^Compare \d")).click()
    person.page.get_by_text("How to read it").first.wait_for(timeout=3 * PATIENCE)
    take(person, "compare", height=1500)


def pictures(browser: Browser, url: str) -> None:
    person = visit(browser, url, scheme="light")
    person.type_fact("The Eiffel Tower", "{} is located in the city of", "Tokyo")
    person.apply()
    take(person, "edit", height=2050)
    person.go("Probe")
    person.page.get_by_role("button", name=re.compile("^Ask ")).click()
    person.page.get_by_role("heading", name="Prompt by prompt").wait_for(timeout=PATIENCE)
    take(person, "probe", height=1500)
    for name in ("Shift", "Orthogonality"):
        look_inside(person, name)
    compare(person)
    cookies = person.context.cookies()
    dark = browser.new_context(viewport=WIDE, color_scheme="dark")
    dark.add_cookies(cookies)
    page = dark.new_page()
    page.goto(url)
    page.get_by_text("What the graph says").wait_for(timeout=60_000)
    take(Watched(context=dark, page=page, url=url), "edit-dark", height=2050)


def main() -> int:
    path = chromium()
    if path is None:
        return NONE_FOUND
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, launched(path) as browser:
        server = Server(linked_cache(ensure_bundled(), Path(place)))
        server.start()
        try:
            pictures(browser, server.url)
        finally:
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
