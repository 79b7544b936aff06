"""Texts that would run a script are shown as text, in every place where a text of a person or a file is shown."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from kgmet.base.fingerprint import digest
from tests.browser.payloads import PAYLOADS, Marks, groups, hover_everything, made_of_payloads, says
from tests.soak.served import Served
from tests.soak.visitor import Visitor
from workbench.state.vault import SessionVault

SOAK = os.environ.get("KGMET_SOAK") == "1"
pytestmark = [pytest.mark.soak] if SOAK else [pytest.mark.browser]
KINDS = tuple(PAYLOADS[number] for number in (0, 1, 2, 5, 6, 7))
"""An image, a script, a drawing, a link in HTML and one in Markdown, and what opens itself: one text holds no more."""
GROUPS = groups(PAYLOADS)[: int(os.environ.get("KGMET_SOAK_GROUPS", "1000"))] if SOAK else groups(KINDS)
"""Texts with a few payloads each; the first ones hold those that need no end of what they are in."""
OF_THE_EDIT = ("edit", "graph", "foresee", "shift", "trace", "orthogonality", "probe", "compare", "share", "chat")
"""Pages that show one edit."""
OF_ALL = ("ledger", "benchmark", "models", "forensics", "report_card", "method")
N_ASKED = 3 if SOAK else 1
"""Groups about which everything is asked that takes seconds; then their pages show tables of answers."""
ASKED = (
    ("foresee", "Foresee"),
    ("probe", "Ask"),
    ("compare", "Compare"),
    ("report_card", "Score"),
    ("forensics", "Inspect"),
)
TEMPLATES = ("{} is located in the city of", "{} is in the country of", "{} was designed by")


@dataclass
class Seen:
    """What was looked at, and what payloads became elements."""

    views: int = 0
    hovered: int = 0
    files: int = 0
    made: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Pages that showed none of a group's payloads; some have nothing of the kind to show."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    graph = tmp_path / "payloads.nt"
    graph.write_text(graph_of(GROUPS), encoding="utf-8")
    with Served(tmp_path / "cache", graph=str(graph), names=GROUPS) as made:
        yield made


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport={"width": 1280, "height": 1400}, accept_downloads=True)
    made.set_default_timeout(60_000)
    yield made
    made.close()


def graph_of(texts: list[str]) -> str:
    """N-Triples: each text names a subject, its objects at two hops, and a relation."""
    lines = []

    def literal(text: str) -> str:
        return json.dumps(text, ensure_ascii=True)

    label = "<http://www.w3.org/2000/01/rdf-schema#label>"
    city, country = (f"<http://www.wikidata.org/prop/direct/{name}>" for name in ("P131", "P17"))
    for number, text in enumerate(texts):
        nodes = {name: f"<http://example.org/{name}{number}>" for name in ("subject", "city", "country", "own")}
        lines += [
            f"{nodes[name]} {label} {literal(text if name == 'subject' else f'{name} {text}')} ." for name in nodes
        ]
        lines += [
            f"{nodes['subject']} {city} {nodes['city']} .",
            f"{nodes['subject']} {nodes['own']} {nodes['country']} .",
            f"{nodes['city']} {country} {nodes['country']} .",
            f"{nodes['country']} {nodes['own']} {nodes['city']} .",
        ]
    return "\n".join(lines) + "\n"


def test_payloads_run_where_text_is_read_as_html(context: BrowserContext) -> None:
    """The control: written into a page as they are, most payloads run or become elements, and that is noticed."""
    marks, page, made = Marks(context), context.new_page(), 0
    for payload in PAYLOADS[:: 1 if SOAK else 12]:
        before = len(marks.ran)
        page.set_content(f"<title>t</title><style>a{{}}</style><p title=\"a\">{payload}</p><p title='{payload}'>x</p>")
        page.wait_for_timeout(30)
        made += bool(made_of_payloads(page)) or len(marks.ran) > before
    n_tried = len(PAYLOADS[:: 1 if SOAK else 12])
    print(f"as HTML: {made} of {n_tried} payloads were noticed")
    assert made > 0.7 * n_tried and marks.ran


def test_payloads_are_text_in_every_page_picture_tooltip_and_export(
    server: Served, context: BrowserContext, tmp_path: Path
) -> None:
    marks, page, seen = Marks(context), context.new_page(), Seen()
    sessions = [prepared(server, number) for number in range(len(GROUPS))]
    for number, session_id in enumerate(sessions):
        server.name_model(number)
        become(context, server, session_id)
        text = GROUPS[number]
        link = urlencode({"subject": text, "prompt": f"Of {text} it is said: {{}} is in", "new": f"new {text}"})
        look(page, f"{server.url}/edit?{link}", seen, text)
        look(page, f"{server.url}/edit?{urlencode({'subject': text, 'prompt': TEMPLATES[0], 'new': text})}", seen, text)
        for name in OF_THE_EDIT[1:]:
            turn_to(page, name, seen, text)
        type_a_model(page, text, seen)
        open_files(page, server, session_id, tmp_path, seen)
    all_in_one(context, server, sessions, page, seen)
    print(
        f"payloads: {len(PAYLOADS) if SOAK else sum(len(re.findall('kgmark', text)) for text in GROUPS)}; page views: "
    )
    print(f"{seen.views}; tooltips: {seen.hovered}; HTML files: {seen.files}; scripts that ran: {len(marks.ran)}; ")
    print(f"elements made of payloads: {len(seen.made)}; views without a payload: {len(seen.missing)}")
    assert marks.ran == [] and marks.dialogs == []
    assert seen.made == []
    assert len(seen.missing) < 0.3 * seen.views, seen.missing


def prepared(server: Served, number: int) -> str:
    """A session with an edit whose every text is one group of payloads; its id."""
    text, tab = GROUPS[number], Visitor(server.url, patience=180)
    tab.open("edit")
    tab.fill(Subject=text, New_object=f"new {text}", Template=TEMPLATES[number % 3], Old_object=f"city {text}")
    tab.press("Apply the edit")
    tab.wait_until(lambda one: not one.has("button", "Stop"))
    tab.open("ledger")
    tab.fill(Name=text, Note=f"note {text}")
    assert tab.faults == [] and b"kgmark" in tab.page()
    if number == 0:
        tab.open("benchmark")
        tab.number("Cases", 1)
        tab.press("Start")
        tab.wait_until(lambda one: not one.has("button", "Stop"))
    for name in ("shift", "trace", "orthogonality"):
        tab.open(name)
        tab.wait_until(lambda one: not one.has("button", "Stop"))
    if number < N_ASKED:
        for name, start in ASKED:
            tab.open(name)
            tab.press(next(label for label in tab.texts("button", "label") if label.startswith(start)))
            tab.wait_until(lambda one: not one.has("button", "Stop"))
            assert tab.faults == [], name
    tab.close()
    name_run(server, tab.session_id, text)
    return tab.session_id


def name_run(server: Served, session_id: str, text: str) -> None:
    """Give the session a copy of the first run, of a data file whose name is the text."""
    runs = server.cache / "runs"
    first = sorted(runs.glob("*/*/run_000/order.json"))[0]
    mine = runs / digest("session", session_id)[:32] / first.parent.parent.name / "run_000"
    if mine != first.parent:
        shutil.copytree(first.parent, mine)
    order = json.loads((mine / "order.json").read_text("utf-8")) | {"ds_label": f"{text}.json"}
    (mine / "order.json").write_text(json.dumps(order), "utf-8")


def become(context: BrowserContext, server: Served, session_id: str) -> None:
    """Give the browser the session."""
    context.add_cookies([{"name": f"kgmet_session_{server.port}", "value": session_id, "url": server.url}])


def look(page: Page, address: str, seen: Seen, text: str) -> None:
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for()
    examine(page, seen, address, text)


def turn_to(page: Page, name: str, seen: Seen, text: str) -> None:
    """To another page by its link in the sidebar."""
    page.locator(f'[data-testid="stSidebarNav"] a[href$="/{name}"]').click()
    page.wait_for_url(f"**/{name}")
    examine(page, seen, name, text)


def examine(page: Page, seen: Seen, what: str, text: str) -> None:
    """Wait until the page is drawn, look at its tooltips, and look for elements that a payload became."""
    settle(page)
    seen.views += 1
    seen.hovered += hover_everything(page)
    page.wait_for_timeout(150)
    seen.made += [f"{what}: {one}" for one in made_of_payloads(page)]
    if not says(page, "kgmark"):
        seen.missing.append(what.partition("?")[0])


def settle(page: Page) -> None:
    """Wait until the page's script has ended and its heading is there."""
    page.wait_for_function(
        """() => document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === 'notRunning'
            && document.querySelector('[data-testid="stAppViewContainer"] h1')""",
        timeout=120_000,
    )
    page.wait_for_timeout(250)
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)


def type_a_model(page: Page, text: str, seen: Seen) -> None:
    """Type the text as the id of a model, and press Load."""
    turn_to(page, "models", seen, text)
    page.get_by_role("radio", name="Hugging Face id or folder").or_(
        page.get_by_role("button", name="Hugging Face id or folder")
    ).first.click()
    page.get_by_role("textbox", name="Id or folder").fill(text)
    page.keyboard.press("Enter")
    settle(page)
    page.get_by_role("button", name="Load", exact=True).click()
    examine(page, seen, "a model's id", text)


def open_files(page: Page, server: Served, session_id: str, folder: Path, seen: Seen) -> None:
    """Fetch the HTML files that pages offer, and open them."""
    tab = Visitor(server.url, session_id=session_id, patience=180)
    for name in ("share", "graph", "compare", "report_card"):
        tab.open(name)
        for data in tab.downloads():
            begin = data[:200].lstrip().lower()
            if not begin.startswith((b"<!doctype html", b"<html", b"<svg", b"<?xml")):
                continue  # tables and JSON hold the texts as they are, and no browser takes them for HTML
            kind = "svg" if begin.startswith((b"<svg", b"<?xml")) else "html"
            file = folder / f"{name}-{seen.files}.{kind}"
            file.write_bytes(data)
            page.goto(f"file://{file}")
            page.wait_for_timeout(150)
            seen.files += 1
            seen.made += [f"{name} file: {one}" for one in made_of_payloads(page)]
    tab.close()
    page.goto(f"{server.url}/edit")
    page.get_by_role("heading", level=1).wait_for()


def all_in_one(context: BrowserContext, server: Served, sessions: list[str], page: Page, seen: Seen) -> None:
    """One session with all edits at once: the ledger, the lists in which one chooses, and their texts on every page."""
    vault = SessionVault(server.cache / "sessions")
    together = vault.new()
    for session_id in sessions:
        record = vault.find(session_id)
        assert record is not None
        for entry in record.saved.stack:
            together.push(entry)
    name_run(server, together.session_id, " ".join(GROUPS)[:2000])
    become(context, server, together.session_id)
    look(page, f"{server.url}/ledger", seen, "kgmark")
    for name in (*OF_ALL[1:], "share", "compare", "graph"):
        turn_to(page, name, seen, "kgmark")
        for box in page.locator('[data-testid="stMain"] [data-testid="stSelectbox"] input:enabled').all()[:1]:
            box.click(force=True)
            page.wait_for_timeout(200)
            seen.made += [f"a list of {name}: {one}" for one in made_of_payloads(page)]
            page.keyboard.press("Escape")
