"""Six browsers at once on one real server, each a visitor of its own for minutes: none has anything of another.

Each types, names and asks with words of its own. What its pages held, what came through its connections and the files
that it was given are kept, and the words and the session ids of the others are looked for in them afterwards.
`tests/soak/test_many_visitors.py` does the same with eight threads and more of the pages, without a browser.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, WebSocket, async_playwright, expect

from kgmet.base.fingerprint import digest
from tests.browser.payloads import EVERYTHING
from tests.browser.running import DRAWN, FLAGS, LIVE
from tests.soak.served import Served
from tests.soak.test_many_visitors import SYLLABLES, unzipped

pytestmark = [pytest.mark.soak]
N_BROWSER = int(os.environ.get("KGMET_SOAK_BROWSERS", "6"))
SECONDS = float(os.environ.get("KGMET_SOAK_SECONDS", "120"))
PATIENCE = int(os.environ.get("KGMET_SOAK_PATIENCE", "240000"))
"""Milliseconds that something may take on a busy machine, behind what five others asked for."""
LOOKS = ("Graph", "Shift", "Orthogonality", "Compare", "Share", "Chat", "Benchmark", "Models")
FORMS = ("patch", "Python script")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "cache") as made:
        yield made


class Person:
    """The browser of one visitor: words that nobody else uses, and everything that this browser got."""

    def __init__(self, server: Served, number: int) -> None:
        self._server, self._draw = server, random.Random(number)
        self.word = f"Q{number}" + "".join(self._draw.choice(SYLLABLES) for _ in range(6))
        self.held: list[bytes] = []
        """What its pages held and its files, a piece for each look."""
        self.sent: list[bytes] = []
        """What came through its connections."""
        self.done: Counter[str] = Counter()
        self.session_id = ""
        self.page: Page

    async def enter(self, context: BrowserContext) -> None:
        """Open the app for the first time."""
        context.set_default_timeout(PATIENCE)
        self.page = await context.new_page()
        self.page.on("websocket", self._listen)
        await self.page.goto(f"{self._server.url}/edit")
        await self._settle()
        await self.page.wait_for_function("() => document.cookie.includes('kgmet_session_')")
        (self.session_id,) = [one["value"] for one in await context.cookies() if "kgmet_session" in one["name"]]
        await self.page.get_by_role("button", name="Got it").click()

    async def stay(self, end: float) -> None:
        """Do one round after the other until the time is over, two at least."""
        while self.done["undo"] < 2 or time.monotonic() < end:
            for act in (self.apply, self.rename, self.probe, self.export, self.look_round, self.undo):
                try:
                    await act()
                except BaseException:
                    print(f"{act.__name__} of {self.word}: {await self.page.locator('body').inner_text(timeout=5000)}")
                    raise
                self.done[act.__name__] += 1

    async def apply(self) -> None:
        """An edit whose every text has the own word."""
        await self._go("Edit")
        number = self._draw.randrange(10_000)
        texts = {
            "Subject": f"The Tower {number} of {self.word}",
            "New object": f"Oslo {self.word}",
            "Template, with": "{} is located in the city of",
        }
        await self._type(texts)
        await expect(self.page.get_by_text("Still missing")).to_have_count(0, timeout=PATIENCE)
        await self._press(re.compile("^Apply the edit"), more=1)
        await self._go("Ledger")
        entry = self.page.locator(".kg-entry").last
        await expect(entry).to_contain_text(f"The Tower {number} of {self.word}", timeout=PATIENCE)

    async def _type(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            await self.page.get_by_role("textbox", name=name, exact=name == "Subject").fill(text)
        await self.page.keyboard.press("Enter")
        await self._settle()

    async def rename(self) -> None:
        """Give the last edit a name and a note."""
        await self._go("Ledger")
        for label in ("Name of edit", "Note on edit"):
            await self.page.get_by_role("textbox", name=label).last.fill(f"{label} {self.word}")
            await self.page.keyboard.press("Enter")
            await self._settle()

    async def probe(self) -> None:
        """Ask a question of one's own."""
        await self._go("Probe")
        own = self.page.get_by_role("textbox", name="Your own prompts")
        await own.fill(f"The road to {self.word} leads | Rome {self.word} | Paris")
        await self.page.keyboard.press("Control+Enter")
        await self._settle()
        await self._press(re.compile("^Ask "))
        await expect(self.page.get_by_role("heading", name="Prompt by prompt")).to_be_visible(timeout=PATIENCE)
        await self._look(holds=f"The road to {self.word}")

    async def export(self) -> None:
        """Have the edits written into a file and download it."""
        await self._go("Ledger")
        box = self.page.locator("details", has=self.page.locator("summary", has_text="Export"))
        if await box.get_attribute("open") is None:
            await box.locator("summary").click()
        await box.get_by_text(self._draw.choice(FORMS), exact=True).click()
        await self._settle()
        await self._press("Export")
        async with self.page.expect_download() as taken:
            await self.page.get_by_role("button", name=re.compile("^Download ")).first.click()
        got = await taken.value
        parts = unzipped(Path(await got.path()).read_bytes())
        assert any(self.word.encode() in part for part in parts)
        self.held += [*parts, got.suggested_filename.encode(), got.url.encode()]

    async def look_round(self) -> None:
        """See some of the pages on which one's edits are."""
        for name in self._draw.sample(LOOKS, 2):
            await self._go(name)

    async def undo(self) -> None:
        """Take the last edit back."""
        await self._go("Ledger")
        await self._press("Undo", more=-1)

    async def _go(self, name: str) -> None:
        await self.page.get_by_role("link", name=name, exact=True).click()
        await self.page.get_by_role("heading", name=name, exact=True, level=1).wait_for()
        await self._look()

    async def _press(self, name: str | re.Pattern[str], *, more: int = 0) -> None:
        """Press a button and wait for what it began; that many more edits are live then."""
        badge = self.page.locator(LIVE).first
        live = int(re.findall(r"\d+", await badge.inner_text())[0])
        await self.page.get_by_role("button", name=name, exact=isinstance(name, str)).click()
        await expect(badge).to_have_text(re.compile(rf"\b{live + more} edits? live"), timeout=PATIENCE)
        await self._settle()
        await expect(self.page.get_by_role("button", name="Stop", exact=True)).to_have_count(0, timeout=PATIENCE)
        await self._look()

    async def _settle(self) -> None:
        """Wait until the page is drawn to its end."""
        await self.page.wait_for_function(DRAWN)
        await self.page.wait_for_timeout(250)

    async def _look(self, *, holds: str = "") -> None:
        """Keep what the page holds; it shows no exception, and what it must hold is there."""
        await self._settle()
        await expect(self.page.locator('[data-testid="stException"]')).to_have_count(0)
        text = str(await self.page.evaluate(EVERYTHING))
        assert holds in text
        self.held.append(text.encode())
        self.done["looks"] += 1

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda data: self.sent.append(data if isinstance(data, bytes) else data.encode()))


async def stay_together(people: list[Person], chromium: str) -> None:
    """Six contexts of one browser: each has cookies, connections and pages of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        contexts = [await browser.new_context(viewport={"width": 1280, "height": 1000}) for _ in people]
        await asyncio.gather(*(one.enter(context) for one, context in zip(people, contexts, strict=True)))
        end = time.monotonic() + SECONDS
        await asyncio.gather(*(one.stay(end) for one in people))
        await browser.close()


def test_browsers_at_once_have_nothing_of_each_other(server: Served, chromium_executable: str) -> None:
    people = [Person(server, number) for number in range(N_BROWSER)]
    with ThreadPoolExecutor(1) as thread:  # this thread may have an event loop, that of the other browser tests
        thread.submit(asyncio.run, stay_together(people, chromium_executable)).result()
    done = sum((one.done for one in people), Counter[str]())
    n_bytes = sum(nothing_of_another(one, people) for one in people)
    print(f"browsers: {N_BROWSER} at once; done: {dict(done)}; bytes looked through: {n_bytes}; exceptions shown: 0; ")
    print("words or ids of another: 0")
    assert len({one.session_id for one in people}) == N_BROWSER


def nothing_of_another(person: Person, people: list[Person]) -> int:
    """Assert that a browser got no word and no id of another, and its own id in the cookie's script only."""
    pages, frames = b"\n".join(person.held), b"\n".join(person.sent)
    for text in (pages, frames):
        assert person.word.encode() in text, "its own is there, so another's would be seen"
        for other in people:
            for secret in (other.word, other.session_id, digest("session", other.session_id)[:32]):
                assert other is person or secret.encode() not in text, f"{person.word} has {secret}"
        left = re.sub(rb"kgmet_session_\d+=" + re.escape(person.session_id.encode()), b"", text)
        assert person.session_id.encode() not in left
    return len(pages) + len(frames)
