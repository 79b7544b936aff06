"""Texts that would run a script are shown as text, in every place where a text of a person or a file is shown."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from kgmet.base.fingerprint import digest
from tests.browser.payloads import PAYLOADS, Marks, groups, hover_everything, made_of_payloads, numbers_of, shown
from tests.browser.running import DRAWN, PATIENCE
from tests.soak.served import Served
from tests.soak.visitor import Visitor
from workbench.state.vault import SessionVault

SOAK = os.environ.get("KGMET_SOAK") == "1"
pytestmark = [pytest.mark.soak] if SOAK else [pytest.mark.browser]
GROUPS = groups(PAYLOADS, most=190)
"""Texts with several payloads each, as long as a subject may be; the first hold those that need no end of what they are
in."""
N_EDIT = min(int(os.environ.get("KGMET_SOAK_EDITS", "1000")), -(-len(GROUPS) // 3)) if SOAK else 1
EDITS = tuple((GROUPS + [""] * 2)[number :: -(-len(GROUPS) // 3)][:3] for number in range(N_EDIT))
"""Subject, text in the template and new object of each edit: every page that shows an edit shows all three."""
SHOWN = tuple(payload for payload in PAYLOADS if any(payload in text for texts in EDITS for text in texts))
MANY = "Facts: a table (columns subject, template, new_object, old_object), a JSON list, or a sentence a line"
OF_THE_EDIT = ("edit", "graph", "foresee", "shift", "trace", "orthogonality", "probe", "compare", "share", "chat")
"""Pages that show one edit."""
OF_ALL = ("ledger", "benchmark", "models", "forensics", "report_card", "method")
IS_SHOWN = """label => [...document.querySelectorAll('input, textarea')]
    .some(one => one.getAttribute('aria-label') === label && one.checkVisibility())"""
"""Whether the field is to be seen; the page was drawn to its end before."""
N_ASKED = 3 if SOAK else 1
"""Groups about which everything is asked that takes seconds; then their pages show tables of answers."""
ASKED = (
    ("foresee", "Foresee"),
    ("probe", "Ask"),
    ("compare", "Compare"),
    ("report_card", "Score"),
    ("forensics", "Inspect"),
)
FIELDS = (
    ("chat", ("Which country is the Eiffel Tower in?",), (), 400),
    ("probe", ("Your own prompts, one a line",), (), 2000),
    ("trace", ("Text", "Subject", "Answer", "Rival", "Bridge"), ("Prompt: Type a prompt",), 400),
    ("models", ("Id or folder",), ("choose: Hugging Face id or folder",), 400),
    ("forensics", ("Folder",), ("choose: Folder on this machine",), 400),
    ("edit", (MANY,), ("open: Many edits at once",), 2000),
    ("graph", ("Folder or file",), ("open: Load a graph of your own", "choose: folder on this machine"), 400),
    ("graph", ("Address",), ("open: Load a graph of your own", "choose: SPARQL address"), 400),
)
"""Page, labels of the fields that are filled together, how they are reached, and how many characters they take.

Those of the Edit page's form are filled by links, the ledger's by `prepared`."""
WHOLE = ("edit", "ledger", "share")
"""Places in which every payload must stand as text."""


@dataclass
class Seen:
    """What was looked at, and what payloads became elements."""

    views: int = 0
    hovered: int = 0
    files: int = 0
    made: list[str] = field(default_factory=list)
    on: dict[str, set[int]] = field(default_factory=dict)
    """Place → the payloads that stood there as text."""

    def at(self, place: str, page: Page) -> None:
        """Count a view."""
        self.views += 1
        self.made += [f"{place}: {one}" for one in made_of_payloads(page)]
        self.on.setdefault(place, set()).update(shown(page))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    graph = tmp_path / "payloads.nt"
    graph.write_text(graph_of(EDITS), encoding="utf-8")
    with Served(tmp_path / "cache", graph=str(graph), names=[" ".join(texts) for texts in EDITS]) as made:
        yield made


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport={"width": 1280, "height": 1400}, accept_downloads=True)
    made.set_default_timeout(PATIENCE)
    yield made
    made.close()


def graph_of(edits: Sequence[Sequence[str]]) -> str:
    """N-Triples: the first text of each edit names a subject, its objects at two hops, and a relation.

    Each payload of the edit is also the whole name of an object of its own, and of the relation to it.
    """
    lines = []

    def literal(text: str) -> str:
        return json.dumps(text, ensure_ascii=True)

    label = "<http://www.w3.org/2000/01/rdf-schema#label>"
    city, country = (f"<http://www.wikidata.org/prop/direct/{name}>" for name in ("P131", "P17"))
    for number, (text, *others) in enumerate(edits):
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
        for own in numbers_of(" ".join([text, *others])):
            thing, relation = f"<http://example.org/thing{own}>", f"<http://example.org/relation{own}>"
            lines += [f"{one} {label} {literal(PAYLOADS[own])} ." for one in (thing, relation)]
            lines.append(f"{nodes['subject']} {relation} {thing} .")
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
    sessions = [prepared(server, number) for number in range(len(EDITS))]
    for number, session_id in enumerate(sessions):
        server.name_model(number)
        become(context, server, session_id)
        subject, within, new = EDITS[number]
        link = urlencode({"subject": subject, "prompt": template_of(within), "new": new})
        look(page, f"{server.url}/edit?{link}", seen, "edit")
        for name in OF_THE_EDIT[1:]:
            turn_to(page, name, seen)
        open_files(page, server, session_id, tmp_path, seen)
    tell("pages of each edit", marks, seen)
    all_in_one(context, server, sessions, page, seen)
    tell("and all edits in one session", marks, seen)
    assert marks.ran == [] and marks.dialogs == []
    assert seen.made == []
    for name in WHOLE:
        assert len(seen.on[name]) == len(SHOWN), name
    assert all(seen.on[name] for name in (*OF_THE_EDIT, *OF_ALL))


@pytest.mark.soak  # a minute; the texts of the edit, which most pages show, are in the test above
def test_payloads_that_are_typed_or_sent_off_are_text(server: Served, context: BrowserContext) -> None:
    marks, page, seen = Marks(context), context.new_page(), Seen()
    become(context, server, prepared(server, 0))
    look(page, f"{server.url}/ledger", seen, "ledger")
    type_everywhere(page, seen)
    tell("typed into other fields than those of the edit", marks, seen)
    assert marks.ran == [] and marks.dialogs == []
    assert seen.made == []
    for _, labels, _, _ in FIELDS:
        assert seen.on[f"typed: {labels[0]}"], labels
    assert seen.on["typed: layers"]


def tell(what: str, marks: Marks, seen: Seen) -> None:
    """Print what was counted so far."""
    print(f"{what}: payloads {len(SHOWN)}, page views {seen.views}, tooltips {seen.hovered}, HTML files {seen.files}, ")
    print(f"scripts that ran {len(marks.ran)}, elements made of payloads {len(seen.made)}; payloads shown as text: ")
    print(", ".join(f"{name} {len(numbers)}" for name, numbers in sorted(seen.on.items())), flush=True)


def template_of(within: str) -> str:
    """A template with a text in it, before the subject's place."""
    return f"Of {within} it is said: {{}} is located in the city of"


def prepared(server: Served, number: int) -> str:
    """A session with an edit whose every text is one group of payloads; its id."""
    (text, within, new), tab = EDITS[number], Visitor(server.url, patience=180)
    tab.open("edit")
    tab.fill(Subject=text, New_object=new or "Rome", Template=template_of(within), Old_object=f"city {text}")
    tab.press("Apply the edit")
    tab.wait_until(lambda one: not one.has("button", "Stop"))
    tab.open("ledger")
    tab.fill(Name=text[:200], Note=f"note {text} {within} {new}")
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
    name_run(server, tab.session_id, f"{text} {within} {new}")
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


def look(page: Page, address: str, seen: Seen, place: str) -> None:
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for()
    examine(page, seen, place)


def turn_to(page: Page, name: str, seen: Seen) -> None:
    """To another page by its link in the sidebar."""
    page.locator(f'[data-testid="stSidebarNav"] a[href$="/{name}"]').click()
    page.wait_for_url(f"**/{name}")
    examine(page, seen, name)


def examine(page: Page, seen: Seen, place: str) -> None:
    """Wait until the page is drawn, look at its tooltips, and look for elements that a payload became."""
    settle(page)
    seen.hovered += hover_everything(page)
    page.wait_for_timeout(150)
    seen.at(place, page)


def settle(page: Page) -> None:
    """Wait until the page's script has ended and its heading is there."""
    page.wait_for_function(DRAWN, timeout=PATIENCE)
    page.wait_for_timeout(250)
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)


def type_everywhere(page: Page, seen: Seen) -> None:
    """Type all payloads into each field, as many at once as it takes, and send them off."""
    for name, labels, steps, room in FIELDS:
        turn_to(page, name, seen)
        reach(page, labels[0], steps)
        for text in groups(SHOWN, most=room):
            reach(page, labels[0], steps)
            for label in labels:
                send(page, label, text)
            press_if_it_can_be(page, "Load")
            page.get_by_role("button", name="Stop").wait_for(state="hidden")
            examine(page, seen, f"typed: {labels[0]}")
    turn_to(page, "compare", seen)
    for text in groups(SHOWN, most=2000):
        type_into_the_table(page, text)
        examine(page, seen, "typed: layers")


def press_if_it_can_be(page: Page, name: str) -> None:
    """Press the button, where the page has one that is on; the page was drawn to its end before."""
    page.evaluate(
        """name => [...document.querySelectorAll('[data-testid="stMain"] button')]
            .find(one => one.innerText.trim() === name && !one.disabled)?.click()""",
        name,
    )


def reach(page: Page, label: str, steps: tuple[str, ...]) -> None:
    """Open what a field is in, unless it is to be seen."""
    for step in steps:
        if page.evaluate(IS_SHOWN, label):
            return
        kind, _, name = step.partition(": ")
        if kind == "open":
            box = page.locator("details", has=page.locator("summary", has_text=name))
            if box.get_attribute("open") is None:
                box.locator("summary").click()
        elif kind == "choose":
            page.get_by_role("radio", name=name).or_(page.get_by_role("button", name=name)).first.click()
        else:
            page.locator('[data-testid="stSelectbox"]', has_text=kind).locator("input").click(force=True)
            page.get_by_role("option", name=name).click()
        settle(page)
    page.get_by_label(label, exact=True).wait_for()


def send(page: Page, label: str, text: str) -> None:
    """Fill a field and send it off, as its kind wants it."""
    box = page.get_by_label(label, exact=True)
    box.fill(text)
    is_area = box.evaluate("one => one.matches('textarea') && !one.closest('[data-testid=\"stChatInput\"]')")
    page.keyboard.press("Control+Enter" if is_area else "Enter")
    settle(page)


def type_into_the_table(page: Page, text: str) -> None:
    """Type into the column “layers” of the first row of Compare's table."""
    box = page.locator("details", has=page.locator("summary", has_text="Editors and settings"))
    if box.get_attribute("open") is None:
        box.locator("summary").click()
    place = page.locator('[data-testid="stDataFrame"]').first.bounding_box()
    assert place is not None
    editor = page.locator("textarea.gdg-input")
    for right in range(150, int(place["width"]), 50):  # the grid is one picture: nothing in it has a name
        page.mouse.dblclick(place["x"] + right, place["y"] + 52)
        page.wait_for_timeout(300)
        if page.evaluate("() => document.querySelector('textarea.gdg-input') !== null"):
            break
        page.keyboard.press("Escape")
    editor.fill(text)
    page.keyboard.press("Enter")
    settle(page)


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
    look(page, f"{server.url}/ledger", seen, "ledger")
    for name in (*OF_ALL[1:], "share", "compare", "graph"):
        turn_to(page, name, seen)
        for box in page.locator('[data-testid="stMain"] [data-testid="stSelectbox"] input:enabled').all()[:1]:
            box.click(force=True)
            page.wait_for_timeout(200)
            seen.made += [f"a list of {name}: {one}" for one in made_of_payloads(page)]
            page.keyboard.press("Escape")
