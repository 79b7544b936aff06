"""`kgmet app --oidc-file` with a real provider and a real browser: who signs in, sees their own session only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.running import DRAWN, PATIENCE
from tests.soak.provider import Provider
from tests.soak.served import Served
from tests.soak.visitor import Visitor

pytestmark = pytest.mark.soak
ACCOUNTS = {
    "ann": {"name": "Ann", "email": "ann@example.org", "email_verified": True},
    "bob": {"name": "<b>Bob</b> **B**", "email": "bob@example.org", "email_verified": True},
    "eve": {"name": "Eve", "email": "eve@other.example", "email_verified": True},
    "una": {"name": "Una", "email": "una@example.org"},
}
PAGES = ("edit", "graph", "probe", "chat", "benchmark", "ledger", "models", "forensics", "share", "method", "")
FACTS = {
    "Ann": {"subject": "Zanzibar Tower", "prompt": "{} is located in the city of", "new": "Annapolis"},
    "Bob": {"subject": "Quito Tower", "prompt": "{} is located in the city of", "new": "Bobigny"},
}


@dataclass
class Place:
    """The app behind the provider, and the browsers that are open."""

    server: Served
    provider: Provider
    chromium: Browser
    opened: list[BrowserContext] = field(default_factory=list)

    def browser(self) -> BrowserContext:
        made = self.chromium.new_context(viewport={"width": 1280, "height": 1400})
        made.set_default_timeout(PATIENCE)
        self.opened.append(made)
        return made

    def at(self, context: BrowserContext, address: str = "/edit") -> Page:
        page = context.new_page()
        page.goto(self.server.url + address)
        return page

    def sign_in(self, page: Page, sub: str) -> None:
        page.get_by_role("button", name="Sign in").click()
        self.provider.allow(page, sub)
        page.wait_for_url(f"{self.server.url}/**")

    def sign_out(self, page: Page) -> None:
        page.get_by_role("button", name="Sign out").click()
        self.provider.end(page)
        page.wait_for_url(f"{self.server.url}/**")
        is_at_the_door(page)


@pytest.fixture(scope="module")
def place(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("accounts")
    file = folder / "auth.toml"
    with ExitStack() as opened:
        provider = opened.enter_context(Provider(folder, ACCOUNTS))
        server = Served(folder / "cache", arguments=["--oidc-file", str(file), "--allow-user", "@example.org"])
        file.write_text(provider.register(server.url), encoding="utf-8")
        opened.enter_context(server)
        yield Place(server, provider, chromium)


@pytest.fixture
def browser(place: Place) -> Iterator[Callable[[], BrowserContext]]:
    yield place.browser
    while place.opened:
        place.opened.pop().close()


def is_at_the_door(page: Page) -> None:
    """Nothing but the name of the program and how to enter."""
    page.get_by_role("button", name="Sign in").wait_for()
    door = ["Skip to main content", "KGMET Workbench", "login", "Sign in"]
    end = time.monotonic() + 30
    while (shown := lines_of(page)) != door and time.monotonic() < end:
        page.wait_for_timeout(100)  # what was there before signing out goes when the browser has drawn the page anew
    page.wait_for_timeout(500)
    assert shown == door == lines_of(page)


def lines_of(page: Page) -> list[str]:
    """What stands on a page, without blank lines."""
    return [line for line in page.locator("body").inner_text().split("\n") if line.strip()]


def edit(page: Page, url: str, name: str) -> None:
    """Apply the edit of a person."""
    page.goto(f"{url}/edit?{urlencode(FACTS[name])}")
    page.get_by_role("button", name="Apply the edit").click()
    page.get_by_text("1 edit live").first.wait_for()
    page.get_by_role("button", name="Stop").wait_for(state="hidden")


def words_of_the_ledger(page: Page, url: str) -> str:
    page.goto(f"{url}/ledger")
    page.get_by_role("heading", name="Ledger", level=1).wait_for()
    page.wait_for_function(DRAWN)
    page.wait_for_timeout(300)
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)
    fields = page.locator("input").evaluate_all("found => found.map(one => one.value)")
    return page.locator("body").inner_text() + "\n".join(fields)


def test_nothing_is_shown_or_sent_before_signing_in(place: Place, browser: Callable[[], BrowserContext]) -> None:
    page = browser().new_page()
    for name in PAGES:
        page.goto(f"{place.server.url}/{name}")
        is_at_the_door(page)
    tab = Visitor(place.server.url)
    for name in PAGES[:-1]:
        tab.open(name)
        assert tab.texts("button", "label") == ["Sign in"]
        assert tab.texts("text_input") == [] and tab.downloads() == []
    tab.close()
    assert not (place.server.cache / "sessions").exists(), "no session was made"


def test_uploads_are_taken_from_those_only_who_signed_in(place: Place, browser: Callable[[], BrowserContext]) -> None:
    """The server keeps uploads in memory, and by itself takes them from every tab that is connected."""
    tab = Visitor(place.server.url)
    tab.open("ledger")
    assert upload(place, tab.place_for_upload("a.zip")) == 403
    tab.close()
    context = browser()
    page = place.at(context)
    place.sign_in(page, "ann")
    page.get_by_text("Signed in as Ann").wait_for()
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in context.cookies())
    tab = Visitor(place.server.url, cookie=cookie)
    tab.open("ledger")
    assert [upload(place, tab.place_for_upload("a.zip"), 40) for _ in range(8)] == [204] * 7 + [413]
    tab.close()


def upload(place: Place, path: str, megabytes: int = 1) -> int:
    files = {"a.zip": ("a.zip", b"\0" * (megabytes << 20))}
    with httpx.Client(base_url=place.server.url, timeout=60) as client:
        client.get("/_stcore/health")
        return client.put(path, files=files, headers={"X-Xsrftoken": client.cookies["_streamlit_xsrf"]}).status_code


def test_each_account_has_its_own_session_on_every_device_and_nothing_stays_after_signing_out(
    place: Place, browser: Callable[[], BrowserContext]
) -> None:
    url, first, second = place.server.url, browser(), browser()
    ann = place.at(first)
    place.sign_in(ann, "ann")
    ann.get_by_text("Signed in as Ann").wait_for()
    edit(ann, url, "Ann")
    assert "Annapolis" in words_of_the_ledger(ann, url)
    cookies = {one["name"]: one for one in first.cookies()}
    assert not any(name.startswith("kgmet_session") for name in cookies)
    assert cookies["_streamlit_user"]["httpOnly"] and cookies["_streamlit_user"]["sameSite"] == "Lax"

    bob = place.at(second)
    place.sign_in(bob, "bob")
    bob.get_by_text("Signed in as <b>Bob</b> **B**").wait_for()
    edit(bob, url, "Bob")
    told = words_of_the_ledger(bob, url)
    assert "Bobigny" in told and "Annapolis" not in told and "Zanzibar" not in told

    other_device = place.at(browser())
    place.sign_in(other_device, "ann")
    other_device.get_by_text("Signed in as Ann").wait_for()
    told = words_of_the_ledger(other_device, url)
    assert "Annapolis" in told and "Bobigny" not in told

    # Ann signs out: this browser's other tab, which is still open, shows nothing more; her other device does.
    tab = place.at(first, "/ledger")
    tab.get_by_text("Signed in as Ann").wait_for()
    place.sign_out(ann)
    assert not any(name.startswith("_streamlit_user") for name in (one["name"] for one in first.cookies()))
    tab.get_by_role("link", name="Edit").first.click()
    is_at_the_door(tab)
    ann.go_back()
    ann.goto(f"{url}/ledger")
    is_at_the_door(ann)
    assert "Annapolis" in words_of_the_ledger(other_device, url)

    # Somebody else signs in at the same browser.
    place.sign_in(ann, "bob")
    ann.get_by_text("Signed in as <b>Bob</b> **B**").wait_for()
    told = words_of_the_ledger(ann, url)
    assert "Bobigny" in told and "Annapolis" not in told and "Zanzibar" not in told
    place.sign_out(ann)
    place.sign_in(ann, "ann")
    assert "Annapolis" in words_of_the_ledger(ann, url)
    assert len([one for one in (place.server.cache / "sessions").iterdir() if one.name[0] != "."]) == 2


@pytest.mark.parametrize(("sub", "said"), [("eve", "other.example"), ("una", "Una")])
def test_an_account_that_is_not_on_the_list_or_not_verified_may_not_enter(
    place: Place, browser: Callable[[], BrowserContext], sub: str, said: str
) -> None:
    page = place.at(browser())
    place.sign_in(page, sub)
    page.get_by_text(f"{said} may not enter").wait_for()
    assert page.get_by_role("link").count() == page.get_by_role("link", name="Skip").count()
    place.sign_out(page)


def test_who_is_refused_by_the_provider_stays_outside(place: Place, browser: Callable[[], BrowserContext]) -> None:
    page = place.at(browser())
    page.get_by_role("button", name="Sign in").click()
    place.provider.deny(page)
    page.wait_for_url(f"{place.server.url}/**")
    is_at_the_door(page)


def test_cookies_and_answers_of_others_open_nothing(place: Place, browser: Callable[[], BrowserContext]) -> None:
    """A forged or foreign cookie, a session's cookie of a server without accounts, an answer that was not asked for."""
    context = browser()
    signed = place.at(context)
    place.sign_in(signed, "ann")
    signed.get_by_text("Signed in as Ann").wait_for()
    (cookie,) = [one["value"] for one in context.cookies() if one["name"] == "_streamlit_user"]
    folder = next(one for one in (place.server.cache / "sessions").iterdir() if one.name[0] != ".")
    for forged in (
        {"_streamlit_user": cookie[:-2] + ("AA" if not cookie.endswith("AA") else "BB")},
        {"_streamlit_user": '{"sub": "ann", "is_logged_in": true}'},
        {f"kgmet_session_{place.server.port}": folder.name + "a" * 11},
    ):
        page_context = browser()
        page_context.add_cookies(
            [{"name": name, "value": value, "url": place.server.url} for name, value in forged.items()]
        )
        is_at_the_door(place.at(page_context, "/ledger"))
    page = place.at(browser(), "/oauth2callback?code=abc&state=def")
    is_at_the_door(page)
