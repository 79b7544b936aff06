"""Redraw time of the app's pages without model work, and time of ten probes, in a real browser.

    python benchmarks/pages.py [--threads 2] [--repeats 5] [--chromium FILE]

It starts the app on a free loopback port with the default model, fills a session (two edits, inspections, probes, a
comparison, a short benchmark), and then visits every page. *switch* is the time from the click on a page's link until
its script has ended, its figures are drawn and the browser has painted; *rerun* is the same for a script run without
any change. The limits are 1 s for a redraw and 3 s for ten probes.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
from measure import Table, machine
from playwright.sync_api import Page, expect, sync_playwright

from kgmet.lm.load.bundled import ensure_bundled
from tests.browser.running import FLAGS, PATIENCE, Server, Watched, linked_cache

FIGURES = {
    "Edit": '[data-testid="stIFrame"], iframe',
    "Graph": '[data-testid="stIFrame"], iframe',
    "Shift": ".js-plotly-plot .main-svg",
    "Trace": ".js-plotly-plot .main-svg",
    "Orthogonality": ".js-plotly-plot .main-svg",
    "Probe": '[data-testid="stDataFrame"] canvas',
    "Compare": ".js-plotly-plot .main-svg",
    "Benchmark": ".js-plotly-plot .main-svg",
    "Ledger": ".kg-entry",
    "Models": '[data-testid="stMetric"]',
    "Method": "table",
}
"""Page → selectors that must be visible before it counts as drawn."""
EDITS = (
    ("The Eiffel Tower", "{} is located in the city of", "Tokyo"),
    ("Germany", "The capital of {} is", "Rome"),
)
OWN = (
    "The Eiffel Tower is located in the city of | Tokyo | Paris",
    "The Eiffel Tower is in the country of | Japan | France",
    "The Eiffel Tower is on the continent of | Asia | Europe",
    "To see the Eiffel Tower you travel to | Tokyo | Paris",
    "The Colosseum is located in the city of | Rome | Tokyo",
    "Big Ben is located in the city of | London | Tokyo",
    "The capital of Germany is | Berlin | Rome",
    "The capital of France is | Paris | Rome",
    "The capital of Japan is | Tokyo | Rome",
    "The currency of Japan is the | yen | euro",
)
REDRAWN = """([action, heading, figure]) => new Promise((resolve, reject) => {
  const app = () => document.querySelector('[data-testid="stApp"]');
  const start = performance.now();
  let hasRun = false;
  const look = () => {
    const state = app().getAttribute('data-test-script-state');
    if (state !== 'notRunning') hasRun = true;
    const title = document.querySelector('h1');
    const stands = title && title.innerText.trim() === heading && document.querySelector(figure);
    if (hasRun && state === 'notRunning' && stands) {
      requestAnimationFrame(() => requestAnimationFrame(() => resolve((performance.now() - start) / 1000)));
    } else if (performance.now() - start > 60000) reject(new Error('not redrawn in 60 s: ' + heading));
    else setTimeout(look, 4);
  };
  if (action === 'rerun') {
    const key = {key: 'r', code: 'KeyR', keyCode: 82, bubbles: true};
    for (const kind of ['keydown', 'keyup']) document.body.dispatchEvent(new KeyboardEvent(kind, key));
  } else {
    [...document.querySelectorAll('[data-testid="stSidebarNav"] a')]
      .find(a => a.innerText.trim().endsWith(heading)).click();
  }
  look();
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--chromium", default=os.environ.get("KGMET_CHROMIUM"))
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        server = Server(linked_cache(ensure_bundled(), Path(place)))
        server.start()
        browser = playwright.chromium.launch(executable_path=options.chromium or chromium(), args=FLAGS)
        try:
            page = browser.new_context(viewport={"width": 1280, "height": 1400}).new_page()
            page.set_default_timeout(PATIENCE)
            person = Watched(context=page.context, page=page, url=server.url)
            fill(person)
            load = os.getloadavg()[0]
            redraws = redrawn(page, options.repeats)
            probes = [ten_probes(person) for _ in range(options.repeats)]
        finally:
            browser.close()
            server.stop()
    show(redraws, probes)
    print(f"\n{machine(options.threads)}; load average {load:.1f} before, {os.getloadavg()[0]:.1f} after.")
    print(f"Median of {options.repeats}, in brackets the slowest.")


def chromium() -> str:
    """Return the Chromium that scripts/get_chromium.py finds."""
    script = ROOT / "scripts" / "get_chromium.py"
    found = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(found.stderr)
    return found.stdout.strip()


def fill(person: Watched) -> None:
    """Fill the session so that every page has content."""
    page = person.page
    page.goto(person.url)
    page.get_by_role("textbox", name="Subject", exact=True).wait_for()
    person.settle()
    page.get_by_role("button", name="Got it").click()
    for fact in EDITS:
        person.type_fact(*fact)
        person.apply()
    for name in ("Shift", "Trace", "Orthogonality"):
        person.go(name)
        page.locator(FIGURES[name]).first.wait_for()
        person.settle()
    person.go("Probe")
    page.get_by_role("button", name=re.compile("^Ask ")).click()
    page.get_by_role("heading", name="Prompt by prompt").wait_for()
    person.go("Compare")
    page.get_by_role("button", name=re.compile(r"^Compare \d")).click()
    page.locator(FIGURES["Compare"]).first.wait_for(timeout=3 * PATIENCE)
    person.go("Ledger")
    page.get_by_role("button", name="Measure all").click()
    page.locator(".kg-table").first.wait_for()
    person.go("Benchmark")
    page.get_by_role("spinbutton", name="Cases").fill("4")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("heading", name="Runs").wait_for(timeout=3 * PATIENCE)
    person.settle()


def redrawn(page: Page, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Return page → way → seconds of each repeat; every page is visited once before any is measured."""
    found: dict[str, dict[str, list[float]]] = {name: {"switch": [], "rerun": []} for name in FIGURES}
    for number in range(repeats + 1):
        for name, figure in FIGURES.items():
            for way in ("switch", "rerun"):
                seconds = page.evaluate(REDRAWN, [way, name, figure])
                page.wait_for_timeout(400)
                if number:
                    found[name][way].append(seconds)
    return found


def ten_probes(person: Watched) -> tuple[float, float]:
    """Time ten typed prompts on the Probe page: the job alone, and from the click to the answers."""
    page = person.page
    person.go("Probe")
    chosen = page.locator('button[data-variant="pills"][data-selected="true"]')
    for left in range(chosen.count() - 1, -1, -1):
        chosen.first.click()
        expect(chosen).to_have_count(left)
    person.settle()
    page.get_by_role("textbox", name="Your own prompts").fill("\n".join(OWN))
    page.keyboard.press("Control+Enter")
    person.settle()
    button = page.get_by_role("button", name="Ask 10 prompts before and after")
    button.wait_for()
    start = time.perf_counter()
    button.click()
    page.get_by_role("button", name="Stop").wait_for()
    page.get_by_role("heading", name="Prompt by prompt").wait_for()
    waited = time.perf_counter() - start
    person.settle()
    said = page.get_by_text(re.compile(r"^10 prompts before and after in [\d.]+ s")).inner_text()
    match = re.search(r"in ([\d.]+) s", said)
    assert match is not None
    return float(match[1]), waited


def show(redraws: dict[str, dict[str, list[float]]], probes: list[tuple[float, float]]) -> None:
    middle: Callable[[list[float]], str] = lambda all_: f"{statistics.median(all_):.2f} ({max(all_):.2f})"  # noqa: E731
    table = Table(("page", "switch, s", "rerun, s", "at most 1 s"))
    for name, ways in redraws.items():
        worst = max(statistics.median(seconds) for seconds in ways.values())
        table.add(name, middle(ways["switch"]), middle(ways["rerun"]), "yes" if worst <= 1 else "NO")
    print(table)
    table = Table(("ten probes before and after", "s", "at most 3 s"))
    for label, seconds in zip(("the job", "from the click to the answers"), zip(*probes, strict=True), strict=True):
        table.add(label, middle(list(seconds)), "yes" if statistics.median(seconds) <= 3 else "NO")
    print(table)


if __name__ == "__main__":
    main()
