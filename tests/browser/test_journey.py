"""The whole way in a real browser: type, see, apply, believe, undo, keep; and nobody else's business."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import MovedTower
from tests.browser.running import EIFFEL, PATIENCE, Server, Visit, Watched, wait_for_drawn_graph

OTHERS = ("Shift", "Trace", "Orthogonality", "Compare", "Benchmark", "Models", "Method")
LINK = "subject=Japan&template=The capital of {} is&new_object=Rome"
EXACT = r"\d\.\d{6,}(?:e-\d+)?"


def exact_numbers(page: Page, card: int) -> list[str]:
    """The unrounded probabilities on one of the two cards after an undo."""
    side = page.locator(".kg-side").nth(card)
    expect(side).to_contain_text(re.compile(EXACT))
    return re.findall(EXACT, side.inner_text())


def test_the_eiffel_tower_moves_and_comes_back(moved_tower: MovedTower, server: Server) -> None:
    person, before = moved_tower.person, moved_tower.before
    page = person.page
    expect(page.get_by_text("now goes on with")).to_be_visible()
    expect(page.locator(".kg-side").nth(0)).to_contain_text("Paris")
    expect(page.locator(".kg-side").nth(1)).to_contain_text("Tokyo")
    expect(page.locator(".kg-bar").first).to_contain_text("Tokyo")
    expect(page.locator(".stMarkdownBadge", has_text="1 edit live")).to_be_visible()
    expect(page.locator(".kg-answers .kg-chip.good").nth(2)).to_be_visible()

    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("bit for bit")).to_be_visible(timeout=PATIENCE)
    person.settle()
    was, now = exact_numbers(page, 0), exact_numbers(page, 1)
    assert was == now and len(was) == 2
    expect(page.locator(".kg-bars")).to_have_text(before, use_inner_text=True)
    page.get_by_role("button", name="Redo").click()
    expect(page.get_by_text("now goes on with")).to_be_visible(timeout=PATIENCE)

    look_at_the_graph(person)
    ask_the_probes(person)
    keep_it_over_a_restart(person, server)
    assert person.outside() == []


def spot(page: Page, name: str) -> Locator:
    """A name in the picture."""
    return page.locator(".kg-story .spot", has=page.locator(f'text="{name}"')).first


def look_at_the_graph(person: Watched) -> None:
    page = person.page
    person.go("Graph")
    wait_for_drawn_graph(page)
    for kind in ("PNG", "SVG", "HTML"):
        with page.expect_download() as taken:
            page.get_by_role("button", name=kind, exact=True).click()
        assert taken.value.suggested_filename == f"eiffel-tower-tokyo.{kind.casefold()}"
    a_path_lights_up(page)
    spot(page, "Japan").dblclick()
    page.get_by_role("button", name="Close what was opened").wait_for(timeout=PATIENCE)
    person.settle()
    expect(page.get_by_role("combobox", name="Name")).to_have_value(re.compile("^Japan · Q17"))
    expect(page.locator(".kg-story .spot.chosen").first).to_contain_text("Japan")
    expect(page.locator(".kg-story .spot.rest").first).to_be_visible()
    page.get_by_text("before", exact=True).click()
    person.settle()
    expect(page.locator(".kg-story")).not_to_contain_text("the edited fact")


def a_path_lights_up(page: Page) -> None:
    """A row of the list lights its path in the picture, and a name in the picture its rows in the list."""
    story, row = page.locator(".kg-story"), page.locator('[class*="st-key-hold-"]', has_text="official language").first
    row.hover()
    expect(spot(page, "Japanese")).to_have_class(re.compile(r"\bon\b"))
    expect(spot(page, "yen")).not_to_have_class(re.compile(r"\bon\b"))
    spot(page, "Japanese").hover()
    expect(row).to_have_class(re.compile("kg-lit"))
    page.mouse.move(2, 2)
    expect(story).not_to_have_class(re.compile(r"\blit\b"))


def ask_the_probes(person: Watched) -> None:
    page = person.page
    person.go("Probe")
    page.get_by_role("textbox", name="Your own prompts").fill("The Eiffel Tower is in the country of | Japan | France")
    page.keyboard.press("Control+Enter")
    person.settle()
    for kind in ("Multi-hop questions", "Neighbours"):
        page.get_by_role("button", name=re.compile(rf"^{kind} \(")).click()
        person.settle()
    page.get_by_role("button", name=re.compile("^Ask ")).click()
    page.get_by_role("heading", name="Prompt by prompt").wait_for(timeout=PATIENCE)
    person.settle()
    stops = page.locator(".kg-hops .stop")
    expect(stops.nth(1)).to_contain_text("Tokyo")
    expect(stops.last).to_contain_text("all in one question")
    expect(page.locator(".kg-answers th", has_text="told").first).to_be_visible()
    expect(page.get_by_text(re.compile("Your own: says 1 of 1, 0 before, [01] told"))).to_be_visible()
    page.get_by_role("spinbutton", name="Longest answer").fill("5")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Outdated: the inputs have changed")).to_be_visible()


def keep_it_over_a_restart(person: Watched, server: Server) -> None:
    page = person.page
    person.go("Ledger")
    expect(page.get_by_text("1 in the ledger")).to_be_visible()
    page.get_by_role("textbox", name="Name").fill("my tower")
    page.keyboard.press("Enter")
    person.settle()
    server.stop()
    server.start()
    page.reload()
    page.get_by_role("heading", name="Ledger", exact=True).wait_for(timeout=PATIENCE)
    page.get_by_text("1 in the ledger").wait_for(timeout=PATIENCE)
    expect(page.get_by_role("textbox", name="Name")).to_have_value("my tower")
    page.get_by_role("button", name="Measure all").click()
    expect(page.locator(".kg-table")).to_contain_text("Tokyo", timeout=PATIENCE)


def test_two_people_who_edit_at_once_never_see_each_other(tiny_visit: Visit) -> None:
    one, two = tiny_visit(), tiny_visit()
    for person, fact in ((one, EIFFEL), (two, ("The Colosseum", EIFFEL[1], "London"))):
        person.page.get_by_role("button", name="Got it").click()
        person.type_fact(*fact)
    for person in (one, two):
        person.page.get_by_role("button", name="Apply the edit").click()
    for person in (one, two):
        person.page.get_by_text("multi-hop questions (").wait_for(timeout=PATIENCE)
        person.settle()
    assert one.session_id != two.session_id
    for person, mine, other in ((one, "Tokyo", "London"), (two, "London", "Tokyo")):
        again = tiny_visit("edit", session_id=person.session_id)
        expect(again.page.get_by_role("textbox", name="New object")).to_have_value(mine)
        again.go("Ledger")
        expect(again.page.get_by_text("1 in the ledger")).to_be_visible()
        entry = again.page.locator('[data-testid="stMainBlockContainer"]')
        expect(entry).to_contain_text(mine)
        expect(entry).not_to_contain_text(other)
        assert again.session_id == person.session_id
        assert person.outside() == again.outside() == []


def test_every_page_has_an_address(tiny_visit: Visit) -> None:
    page = tiny_visit("method").page
    for name in ("Edit", *OTHERS, "Graph", "Probe", "Ledger"):
        page.goto(page.url.rsplit("/", 1)[0] + f"/{name.casefold()}?{LINK}")
        page.get_by_role("heading", name=name, exact=True, level=1).wait_for(timeout=PATIENCE)
        expect(page.get_by_text("Page not found")).to_have_count(0)
        expect(page).to_have_title(f"{name} · KGMET Workbench")
        if name == "Edit":
            expect(page.get_by_role("textbox", name="Subject", exact=True)).to_have_value("Japan")


def test_a_phone_needs_no_sideways_scrolling(tiny_visit: Visit) -> None:
    person = tiny_visit("method", viewport={"width": 390, "height": 844})
    page = person.page
    page.goto(f"{person.url}/?subject=The Eiffel Tower&template={{}} is located in the city of&new_object=Tokyo")
    page.get_by_text("What the graph says").wait_for(timeout=PATIENCE)
    fits_in_both_colours(person)
    for path in ("graph", "models", "ledger"):
        page.goto(f"{person.url}/{path}")
        page.get_by_role("heading", level=1).wait_for(timeout=PATIENCE)
        fits_in_both_colours(person)


def fits_in_both_colours(person: Watched) -> None:
    person.settle()
    for scheme in ("dark", "light"):
        person.prefers(scheme)
        person.fits()
