"""Looking inside an edit in a real browser: cells that are clicked, pages that fit a phone, a small benchmark."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import FloatRect, Locator, Page, expect

from tests.browser.running import EIFFEL, PATIENCE, Visit, Watched

PAGES = ("Foresee", "Shift", "Trace", "Orthogonality", "Compare", "Benchmark", "Models", "Method")
CASES = [
    {
        "case_id": number,
        "requested_rewrite": {
            "prompt": "The capital of {} is",
            "relation_id": "P36",
            "target_new": {"str": new},
            "target_true": {"str": true},
            "subject": subject,
        },
        "paraphrase_prompts": [f"The capital city of {subject} is"],
        "neighborhood_prompts": ["The capital of France is"],
        "generation_prompts": [],
    }
    for number, (subject, true, new) in enumerate([("Germany", "Berlin", "Madrid"), ("Japan", "Tokyo", "Rome")])
]


def test_an_edit_is_looked_into_cell_by_cell(visit: Visit, tower: str) -> None:
    person = visit("shift", session_id=tower)
    click_a_cell(person)
    see_what_is_protected(person)
    assert person.outside() == []


def click_a_cell(person: Watched) -> None:
    """Chosen cells drive the selectors, the table beside the map and the lens below it."""
    page = person.page
    figure = page.locator(".js-plotly-plot").first
    figure.wait_for(timeout=PATIENCE)
    person.settle()
    expect(page.get_by_text(re.compile("What layer 29 would say here"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"^After layer 29: Tokyo: .* → 9\d"))).to_be_visible()
    cells = figure.locator(".nsewdrag").first
    area = sized(cells)
    cells.click(position={"x": 0.02 * area["width"], "y": 0.98 * area["height"]})
    expect(page.get_by_text("What layer 0 would say here")).to_be_visible(timeout=PATIENCE)
    person.settle()
    area = sized(cells)
    cells.hover(position={"x": area["width"] / 2, "y": area["height"] / 2})
    expect(page.locator(".hoverlayer .hovertext").first).to_be_visible()
    with page.expect_download() as taken:
        figure.locator(".modebar-btn").click()
    assert taken.value.suggested_filename == "kgmet-figure.svg"
    page.get_by_text("All texts by layer", exact=True).click()
    person.settle()
    expect(page.locator(".legendtext", has_text="unrelated text").first).to_be_visible()


def sized(part: Locator) -> FloatRect:
    """Where a part of the page lies, once it is there."""
    part.wait_for()
    area = part.bounding_box()
    if area is None:
        raise LookupError(f"{part} has no place on the page")
    return area


def see_what_is_protected(person: Watched) -> None:
    page = person.page
    person.go("Orthogonality")
    page.locator(".js-plotly-plot").first.wait_for(timeout=PATIENCE)
    person.settle()
    expect(metric(page, "Update in protected space")).to_have_text("0 %")
    page.get_by_role("slider", name="Free directions").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text(re.compile("With 1 fewer free directions"))).to_be_visible(timeout=PATIENCE)
    page.get_by_text("Drift", exact=True).click()
    person.settle()
    expect(page.get_by_text("protected neighbours should stay near 0")).to_be_visible()


def metric(page: Page, label: str) -> Locator:
    return page.locator('[data-testid="stMetric"]', has_text=label).locator('[data-testid="stMetricValue"]')


def test_an_edit_is_compared_with_other_methods_and_every_page_fits_a_phone(tiny_visit: Visit) -> None:
    person = tiny_visit()
    page = person.page
    page.get_by_role("button", name="Got it").click()
    person.type_fact(*EIFFEL)
    person.apply()
    person.go("Compare")
    page.get_by_role("button", name=re.compile(r"^Compare \d columns$")).click()
    expect(page.get_by_text("How to read it")).to_be_visible(timeout=PATIENCE)
    person.settle()
    table = page.get_by_role("table").first
    for name in ("unedited", "KGMET", "AlphaEdit", "MEMIT", "random"):
        expect(table).to_contain_text(name)
    hop = table.locator("tr.question", has_text="Which country").first
    expect(hop.locator(".more", has_text="rank").first).to_be_hidden()
    hop.locator("summary").click()
    expect(hop.locator("td .more", has_text="rank").first).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    person.fits()
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.locator(".js-plotly-plot")).to_have_count(1, timeout=PATIENCE)
    page.reload()
    expect(page.get_by_role("table").first).to_contain_text("AlphaEdit", timeout=PATIENCE)
    for name in PAGES:
        person.go(name)
        for width, height in ((390, 844), (1920, 1080)):
            page.set_viewport_size({"width": width, "height": height})
            person.fits()
    assert person.outside() == []


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(visit: Visit, tmp_path: Path) -> None:
    person = visit("models")
    page = person.page
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    page.get_by_text("Hugging Face id or folder", exact=True).click()
    person.settle()
    page.get_by_role("textbox", name="Id or folder").fill(str(tmp_path))
    page.keyboard.press("Enter")
    person.settle()
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.get_by_text("is still loaded")).to_be_visible(timeout=PATIENCE)
    expect(page.locator('[data-testid="stSidebar"]')).to_contain_text("bundled:smollm2")
    assert person.outside() == []


def test_a_small_benchmark_runs_to_its_end(tiny_visit: Visit, tmp_path: Path) -> None:
    data = tmp_path / "two.json"
    data.write_text(json.dumps(CASES), encoding="utf-8")
    person = tiny_visit("benchmark")
    page = person.page
    expect(page.get_by_text("No run yet")).to_be_visible()
    page.locator('input[type="file"]').set_input_files(str(data))
    expect(page.get_by_text("two.json")).to_be_visible()
    person.settle()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="KGMET on 2 cases")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("heading", name="Runs")).to_be_visible(timeout=PATIENCE)
    person.settle()
    expect(page.get_by_text("KGMET/run_000 · two.json · 2 cases")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(1, timeout=PATIENCE)
    assert person.outside() == []
