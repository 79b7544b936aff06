"""How long people wait, in a real browser: the table of waits, and the switch to every page.

    python benchmarks/pages.py [--threads 2] [--repeats 3] [--chromium FILE]

It starts the app on a free loopback port with the default model. Every wait is measured from the click (or from the
start of the process) until the result can be seen, in a session of its own for each repeat. A page counts as switched
when its script has ended, its figure is drawn and the browser has painted. Three repeats take about five minutes on an
idle machine of two cores. Apply is clicked as soon as the preview is there, and once more in another session five
seconds later: the edit is made ahead while a person reads. Its *whole result* has the consequences and the multi-hop
questions too, which are still being asked when the answers to the edit's own prompt are shown.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
from measure import Table, machine
from playwright.sync_api import Browser, Page, expect

from kgmet.lm.load.bundled import ensure_bundled
from scripts.get_chromium import NONE_FOUND, chromium
from tests.browser.running import PATIENCE, Server, Watched, launched, linked_cache

PLOT = ".js-plotly-plot .main-svg"
FIGURES = {
    "Edit": ".kg-story .spot",
    "Graph": ".kg-story .spot",
    "Shift": PLOT,
    "Trace": PLOT,
    "Orthogonality": PLOT,
    "Probe": ".kg-answers",
    "Compare": ".kg-matrix",
    "Benchmark": PLOT,
    "Ledger": ".kg-entry",
    "Models": '[data-testid="stMetric"]',
    "Method": "table",
}
"""Page → selector that must match before it counts as drawn."""
LIMITS = {
    "cold start: from starting the program to a usable form": 8.0,
    "first visit of a running server, form usable": 2.0,
    "example → preview": 1.0,
    "Apply → before and after": 4.0,
    "Apply → whole result": 4.0,
    "Apply → before and after, after five seconds of reading the preview": 4.0,
    "Apply → whole result, after five seconds of reading the preview": 4.0,
    "42 questions in chat, before and after": 10.0,
    "Compare of three editors": 10.0,
    "first Orthogonality view": 3.0,
    "first causal map of Trace, with contributions and ranks": 3.0,
    "page switch, slowest page": 0.5,
}
"""Wait → most seconds it may take, in the order of the table."""
COLD, VISIT, PREVIEW, FIRST, APPLY, FIRST_READ, APPLY_READ, ASK, COMPARE, LOOK, TRACE, SWITCH = LIMITS
FACTS = (
    ("The Eiffel Tower", "{} is located in the city of", "Rome"),
    ("Germany", "The capital of {} is", "Rome"),
    ("The Colosseum", "{} is located in the city of", "Berlin"),
    ("Japan", "The currency of {} is the", "euro"),
    ("Brazil", "The official language of {} is", "French"),
)
"""What is edited in each repeat; an edit that was made before would be quicker to look into."""
PLACES = ("Eiffel Tower", "Colosseum", "Big Ben", "Louvre", "Kremlin", "Parthenon", "Prado")
ASKED = ("In which country is", "In which city is", "On which continent is", "What is the currency where you find",
         "Which language is spoken at", "What is the capital of the country of")  # fmt: skip
SWITCHED = """([heading, figure]) => new Promise((resolve, reject) => {
  const app = () => document.querySelector('[data-testid="stApp"]');
  const deep = (root) => root.querySelector(figure)
    || [...root.querySelectorAll('*')].some((part) => part.shadowRoot && deep(part.shadowRoot));
  const start = performance.now();
  const heading_of = () => (document.querySelector('h1')?.innerText ?? '').trim();
  // A run so short that it is not seen still changes the heading.
  let hasRun = heading_of() !== heading;
  const look = () => {
    const state = app().getAttribute('data-test-script-state');
    if (state !== 'notRunning') hasRun = true;
    if (hasRun && state === 'notRunning' && heading_of() === heading && deep(document)) {
      requestAnimationFrame(() => requestAnimationFrame(() => resolve((performance.now() - start) / 1000)));
    } else if (performance.now() - start > 60000) reject(new Error('not drawn in 60 s: ' + heading));
    else setTimeout(look, 4);
  };
  [...document.querySelectorAll('[data-testid="stSidebarNav"] a')]
    .find(a => a.innerText.trim().endsWith(heading)).click();
  look();
})"""


@dataclass
class Waits:
    """Seconds of each repeat, by wait."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        start = time.perf_counter()
        yield
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        print(f"{name}: {self.seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help=f"1 to {len(FACTS)}")
    parser.add_argument("--chromium", default=os.environ.get("KGMET_CHROMIUM"))
    options = parser.parse_args()
    browser_path = options.chromium or chromium()
    if browser_path is None:
        sys.exit(NONE_FOUND)
    repeats = min(options.repeats, len(FACTS))
    threads = str(options.threads)
    os.environ |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "KGMET_THREADS": threads}
    waits, load = Waits(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place, launched(browser_path) as browser:
        cache = linked_cache(ensure_bundled(), Path(place))
        server = Server(cache)
        try:
            for _ in range(repeats):
                server.stop()
                with waits.timed(COLD):
                    server.start()
                    opened = usable(browser, server.url)
                opened.context.close()
            for _ in range(repeats):
                with waits.timed(VISIT):
                    opened = usable(browser, server.url)
                opened.context.close()
            for fact in FACTS[:repeats]:
                person = usable(browser, server.url)
                one_session(person, fact, waits)
                if fact is not FACTS[repeats - 1]:
                    person.context.close()
            fill(person)
            switches = switched(person.page, repeats)
            for fact in FACTS[:repeats]:
                reader = usable(browser, server.url)
                after_reading(reader, fact, waits)
                reader.context.close()
        finally:
            server.stop()
    slowest = max(switches, key=lambda name: statistics.median(switches[name]))
    waits.seconds[SWITCH] = switches[slowest]
    show(waits, switches)
    print(f"\n{machine(options.threads)}; load average {load:.1f} before, {os.getloadavg()[0]:.1f} after.")
    print(f"Medians of n = {repeats}, in brackets the slowest. The slowest page to switch to is {slowest}.")


def usable(browser: Browser, url: str) -> Watched:
    """Visit for the first time, until the form can be typed in."""
    page = browser.new_context(viewport={"width": 1280, "height": 1400}).new_page()
    page.set_default_timeout(PATIENCE)
    person = Watched(context=page.context, page=page, url=url)
    page.goto(url)
    expect(page.get_by_role("textbox", name="Subject", exact=True)).to_be_editable(timeout=PATIENCE)
    return person


def after_reading(person: Watched, fact: tuple[str, str, str], waits: Waits) -> None:
    """Apply an edit of one's own some seconds after it was typed; it is made ahead meanwhile."""
    person.settle()
    person.page.get_by_role("button", name="Got it").click()
    person.settle()
    person.type_fact(*fact)
    person.page.wait_for_timeout(5000)
    apply(person, FIRST_READ, APPLY_READ, waits)


def apply(person: Watched, first: str, whole: str, waits: Waits) -> None:
    """Apply what is typed, until its verdict with before and after can be seen, and until all that the result says."""
    page = person.page
    with waits.timed(whole):
        with waits.timed(first):
            page.get_by_role("button", name="Apply the edit").click()
            page.locator(".kg-side").first.wait_for()
        page.get_by_text("multi-hop questions (").wait_for()
    person.settle()


def one_session(person: Watched, fact: tuple[str, str, str], waits: Waits) -> None:
    """Take an example, apply an edit of one's own, look into it, ask about it, compare editors."""
    page = person.page
    person.settle()
    page.get_by_role("button", name="Got it").click()
    person.settle()
    page.get_by_role("combobox", name="Start from an example").click()
    example = page.get_by_role("option").first
    example.wait_for()
    with waits.timed(PREVIEW):
        example.click()
        page.locator(".kg-story .spot").nth(3).wait_for()
    person.settle()
    person.type_fact(*fact)
    apply(person, FIRST, APPLY, waits)
    with waits.timed(LOOK):
        page.get_by_role("link", name="Orthogonality", exact=True).click()
        page.get_by_role("heading", name="Orthogonality", exact=True).wait_for()
        page.locator(PLOT).first.wait_for()
    person.settle()
    with waits.timed(TRACE):
        page.get_by_role("link", name="Trace", exact=True).click()
        page.get_by_role("heading", name="Trace", exact=True, level=1).wait_for()
        page.locator(PLOT).first.wait_for()
    person.settle()
    ask(person, waits)
    person.go("Compare")
    with waits.timed(COMPARE):
        # Columns appear as they are made: the third one ends the wait, whatever stands in the form behind it.
        page.get_by_role("button", name=re.compile(r"^Compare \d")).click()
        page.locator(".kg-matrix thead th").nth(4).wait_for()
    page.get_by_text("How to read it").first.wait_for()
    person.settle()


def ask(person: Watched, waits: Waits) -> None:
    """Put 42 typed questions in the chat template, before and after."""
    page = person.page
    person.go("Probe")
    chosen = page.locator('button[data-variant="pills"][data-selected="true"]')
    for left in range(chosen.count() - 1, -1, -1):
        chosen.first.click()
        expect(chosen).to_have_count(left)
    person.settle()
    lines = [f"{asked} the {place}? | Rome | Paris" for asked in ASKED for place in PLACES]
    page.get_by_role("textbox", name="Your own prompts").fill("\n".join(lines))
    page.keyboard.press("Control+Enter")
    person.settle()
    button = page.get_by_role("button", name=f"Ask {len(lines)} prompts")
    button.wait_for()
    with waits.timed(ASK):
        button.click()
        page.get_by_role("heading", name="Prompt by prompt").wait_for()
    person.settle()


def fill(person: Watched) -> None:
    """Fill what the pages of the last session do not show yet."""
    page = person.page
    for name in ("Shift", "Trace"):
        person.go(name)
        page.locator(FIGURES[name]).first.wait_for()
        person.settle()
    person.go("Benchmark")
    page.get_by_role("spinbutton", name="Cases").fill("2")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("heading", name="Runs").wait_for(timeout=3 * PATIENCE)
    person.settle()


def switched(page: Page, repeats: int) -> dict[str, list[float]]:
    """Return page → seconds of each switch to it; every page is visited once before any is measured."""
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    for number in range(repeats + 1):
        for name, figure in FIGURES.items():
            seconds = page.evaluate(SWITCHED, [name, figure])
            page.wait_for_timeout(300)
            if number:
                found[name].append(seconds)
    return found


def show(waits: Waits, switches: dict[str, list[float]]) -> None:
    middle: Callable[[list[float]], str] = lambda all_: f"{statistics.median(all_):.2f} ({max(all_):.2f})"  # noqa: E731
    table = Table(("wait", "s", "n", "at most", ""))
    for name, limit in LIMITS.items():
        seconds = waits.seconds[name]
        is_kept = statistics.median(seconds) <= limit
        table.add(name, middle(seconds), str(len(seconds)), f"{limit:g} s", "yes" if is_kept else "NO")
    print(table)
    print()
    table = Table(("switch to", "s"))
    for name, seconds in switches.items():
        table.add(name, middle(seconds))
    print(table)


if __name__ == "__main__":
    main()
