"""The app in a process of its own, and a browser page that is watched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.package.installed import Installed
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 240_000
"""Milliseconds a page may take on a busy machine for whatever is waited for; an idle one needs about 15 seconds."""
DRAWN = """() => document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === 'notRunning'
    && document.querySelector('[data-testid="stAppViewContainer"] h1')
    && !document.querySelector('[data-testid="stSkeleton"]')"""
"""Whether the page's script has ended, its heading is there and the parts that load late are."""
LIVE = '.stMarkdownBadge:text-matches("edits? live")'
"""The count of live edits in the sidebar."""
GROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 24, 31)"}
EIFFEL = ("The Eiffel Tower", "{} is located in the city of", "Tokyo")


@contextmanager
def launched(executable: str) -> Iterator[Browser]:
    """A headless Chromium, closed in the end; every expectation of a page waits as long as a busy machine needs."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Server:
    """The app in a process of its own, with sessions in a folder of its own: the repository's or an installed one."""

    def __init__(self, cache: Path, *, installed: Installed | None = None) -> None:
        self._cache, self._log, self._installed = cache, cache / "server.log", installed
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def cache(self) -> Path:
        """Where this server keeps what it keeps."""
        return self._cache

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        environment = os.environ | {"KGMET_CACHE": str(self._cache), "TOKENIZERS_PARALLELISM": "false"}
        environment["STREAMLIT_SERVER_FILE_WATCHER_TYPE"] = "none"
        python, folder = sys.executable, ROOT
        if self._installed is not None:
            python, folder = str(self._installed.python), self._installed.folder
            environment.pop("PYTHONPATH", None)
        command = [python, "-m", "kgmet", "app", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 90
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise AssertionError(f"the app did not start:\n{self._log.read_text(encoding='utf-8')[-2000:]}")

    def kill(self) -> None:
        """End the server at once, as a crash or a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


@dataclass
class Watched:
    """A browser of one person: its page, and every address it asked for."""

    context: BrowserContext
    page: Page
    url: str
    asked: list[str] = field(default_factory=list)

    @property
    def session_id(self) -> str:
        """Id of the person's session, as the cookie says."""
        (found,) = [one["value"] for one in self.context.cookies() if one["name"].startswith("kgmet_session")]
        return found

    def go(self, name: str) -> None:
        """To another page of the app, by its link in the sidebar."""
        self.page.get_by_role("link", name=name, exact=True).click()
        self.page.get_by_role("heading", name=name, exact=True, level=1).wait_for(timeout=PATIENCE)
        self.settle()

    def settle(self) -> None:
        """Wait until no script runs any more, and the browser has loaded the parts of every field and button."""
        self.page.wait_for_function(
            '!document.querySelector(\'[data-testid="stStatusWidget"], [data-testid="stSkeleton"]\')', timeout=PATIENCE
        )
        self.page.wait_for_timeout(300)
        expect(self.page.locator('[data-testid="stException"]')).to_have_count(0)

    def prefers(self, scheme: Literal["light", "dark"]) -> None:
        """Prefer light or dark colours from now on, and wait until the page has their ground."""
        self.page.emulate_media(color_scheme=scheme)
        expect(self.page.locator('[data-testid="stApp"]')).to_have_css("background-color", GROUNDS[scheme])

    def fits(self) -> None:
        """Assert that the page needs no sideways scrolling."""
        self.page.wait_for_function(
            """() => { const main = document.querySelector('[data-testid="stMain"]');
            return main && main.scrollWidth <= main.clientWidth + 1
                && document.documentElement.scrollWidth <= window.innerWidth; }"""
        )

    def type_fact(self, subject: str, prompt: str, new: str) -> None:
        """Fill the form of the Edit page, as by keyboard."""
        self.page.get_by_role("textbox", name="Subject", exact=True).fill(subject)
        self.page.get_by_role("textbox", name="New object").fill(new)
        self.page.get_by_role("textbox", name="Template, with").fill(prompt)
        self.page.keyboard.press("Enter")
        self.page.get_by_text("What the graph says").wait_for(timeout=PATIENCE)
        self.settle()

    def apply(self) -> None:
        """Press Apply and wait for the result. An edit that was made ahead is live at once, without a Stop to see."""
        badge = self.page.locator(LIVE).first
        live = int(re.findall(r"\d+", badge.inner_text())[0])
        self.page.get_by_role("button", name="Apply the edit").click()
        expect(badge).to_have_text(re.compile(rf"\b{live + 1} edits? live"), timeout=PATIENCE)
        self.page.get_by_text("multi-hop questions (").wait_for(timeout=PATIENCE)
        self.settle()

    def outside(self) -> list[str]:
        """What was asked of another machine."""
        here = re.compile(rf"^(?:https?|wss?)://(?:localhost|127\.0\.0\.1):{self.url.rsplit(':', 1)[1]}(?:/|$)")
        return [
            address for address in self.asked if not here.match(address) and not address.startswith(("data:", "blob:"))
        ]


Visit = Callable[..., Watched]
"""Opens a page of the app in a browser: the page's place, the session's id and the options of the browser's context."""


def wait_for_drawn_graph(page: Page) -> None:
    """Wait until the picture has its names."""
    expect(page.locator(".kg-story .spot").nth(5)).to_be_visible()


def linked_cache(model_folder: Path, cache: Path) -> Path:
    """Make `cache` a cache with the models and statistics that are there already, and sessions and runs of its own."""
    kept = model_folder.parent.parent
    (kept / "moments").mkdir(exist_ok=True)
    for folder in kept.iterdir():
        if folder.is_dir() and folder.name not in ("sessions", "exports", "runs"):
            (cache / folder.name).symlink_to(folder, target_is_directory=True)
    return cache
