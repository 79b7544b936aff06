"""The shared file in a real browser: nothing in a name runs, nothing is asked for, the arrow keys turn pages."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.workbench.drawing.test_handout import everything
from workbench.drawing.handout import Handout, Section, handout_html
from workbench.drawing.plain import bdi
from workbench.screens.share.view import handout_of

RUN = "window.ran=(window.ran||0)+1"
PAYLOADS = (
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<svg onload={RUN}>",
    f'"><svg/onload="{RUN}">',
    f"' onmouseover='{RUN}' autofocus onfocus='{RUN}'",
    f"</style><script>{RUN}</script>",
    f"</title><script>{RUN}</script>",
    f"<a href='javascript:{RUN}'>x</a>",
    f"javascript:{RUN}",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<math><mtext></mtext><mglyph><style><img src onerror={RUN}></style></mglyph></math>",
    "$\\href{javascript:alert(1)}{x}$ \\u003cscript\\u003e",
    f"\u202e<script>{RUN}</script>\u2066",
    f"\x00\x1b]]><script>{RUN}</script><!--",
    "<meta http-equiv=refresh content='0;url=http://example.org/'>",
)


def opened(chromium: Browser, page: str, folder: Path) -> tuple[Page, list[str]]:
    """The file opened from the disk, and what it asked for."""
    path = folder / "shared.html"
    path.write_text(page, encoding="utf-8")
    tab = chromium.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(path.as_uri())
    return tab, asked


def test_nothing_in_a_name_runs(chromium: Browser, tmp_path: Path) -> None:
    tab, asked = chromium.new_page(), list[str]()
    tab.on("request", lambda request: asked.append(request.url))
    for number, payload in enumerate(PAYLOADS):
        path = tmp_path / f"{number}.html"
        path.write_text(handout_html(handout_of(everything(payload))), encoding="utf-8")
        tab.goto(f"{path.as_uri()}?present")
        for _ in range(8):
            tab.keyboard.press("ArrowRight")
            tab.mouse.move(300, 300)
            tab.mouse.move(500, 200)
        tab.wait_for_timeout(50)
        has_run = tab.evaluate("window.ran")  # nothing to wait for: it must never be set
        assert has_run is None, payload
        assert asked == [f"{path.as_uri()}?present"], payload
        asked.clear()
    tab.close()


def test_even_markup_that_got_in_runs_nothing(chromium: Browser, tmp_path: Path) -> None:
    """The file's own policy is a second wall: here the payloads stand in it as they are."""
    body = "".join(PAYLOADS[:6])
    tab, asked = opened(
        chromium, handout_html(Handout(title="t", sections=[Section(heading="h", body=body)])), tmp_path
    )
    tab.wait_for_timeout(200)
    has_run = tab.evaluate("window.ran")  # nothing to wait for: it must never be set
    assert has_run is None
    assert not [address for address in asked if address.startswith("http")]
    tab.close()


def test_the_arrow_keys_turn_the_pages(chromium: Browser, tmp_path: Path) -> None:
    sections = [Section(heading=f"page {n}", body=bdi("text")) for n in range(3)]
    tab, _ = opened(chromium, handout_html(Handout(title="t", sections=sections)), tmp_path)
    expect(tab.locator("section:visible")).to_have_count(3)
    tab.keyboard.press("ArrowRight")
    expect(tab.locator("section:visible")).to_have_count(3)
    tab.get_by_role("button", name="Present").click()
    expect(tab.locator("section:visible")).to_have_text("page 0text")
    for key, number in (("ArrowRight", 1), ("PageDown", 2), ("ArrowRight", 2), ("ArrowLeft", 1), ("Home", 0)):
        tab.keyboard.press(key)
        expect(tab.locator("section:visible")).to_have_text(f"page {number}text")
    expect(tab.locator("#place")).to_have_text("1 / 3")
    tab.keyboard.press("Escape")
    expect(tab.locator("section:visible")).to_have_count(3)
    tab.close()
