"""The form by keyboard, and results of other inputs that can still be read."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.running import PATIENCE, Visit, Watched

EIFFEL = "edit?subject=The Eiffel Tower&template={} is located in the city of&new_object=Rome"
FOCUSED = """() => { const at = document.activeElement;
  return `${at.innerText || ''} ${at.getAttribute('aria-label') || ''}`.trim(); }"""
CONTRASTS = """selector => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const over = (top, alpha, under) => top.slice(0, 3).map((v, n) => v * alpha + under[n] * (1 - alpha));
  const ground = node => {
    let colour = parts(getComputedStyle(document.querySelector('[data-testid="stApp"]')).backgroundColor);
    const chain = [];
    for (let at = node; at; at = at.parentElement) chain.unshift(at);
    for (const at of chain) {
      const own = parts(getComputedStyle(at).backgroundColor);
      colour = over(own, own.length > 3 ? own[3] : 1, colour);
    }
    return colour;
  };
  const shade = node => {
    let product = 1;
    for (let at = node; at; at = at.parentElement) product *= Number(getComputedStyle(at).opacity);
    return product;
  };
  const found = [];
  const walker = document.createTreeWalker(document.querySelector(selector), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    const style = getComputedStyle(node), isOff = node.closest('button:disabled, svg, [aria-hidden="true"]');
    if (!text || isOff || style.visibility === 'hidden' || !node.getClientRects().length) continue;
    if (style.fontFamily.includes('Material') || node.closest('[data-testid="stIconMaterial"]')) continue;
    const own = parts(style.color), under = ground(node);
    const [a, b] = [light(over(own, (own.length > 3 ? own[3] : 1) * shade(node), under)), light(under)];
    found.push([text.slice(0, 40), (Math.max(a, b) + .05) / (Math.min(a, b) + .05)]);
  }
  return found;
}"""
"""Text and contrast of each piece of text: its colour, thinned by every opacity above it, on its ground."""


def tabs_until(page: Page, name: str, *, most: int) -> int:
    """Press Tab until an element of this name has the focus; return how often."""
    seen: list[str] = []
    while len(seen) < most:
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
        if name in seen[-1]:
            return len(seen)
    raise AssertionError(f"{name} has no focus after {most} times Tab, which led to {seen}")


@pytest.mark.parametrize("width", [1280, 390])
def test_apply_is_at_most_15_tabs_from_the_top(tiny_visit: Visit, width: int) -> None:
    page = tiny_visit(EIFFEL, viewport={"width": width, "height": 800}).page
    page.get_by_text("What the graph says").wait_for(timeout=PATIENCE)
    expect(page.get_by_role("button", name="Apply the edit")).to_be_enabled()
    pressed = tabs_until(page, "Skip to the page", most=1)
    expect(page.get_by_role("link", name="Skip to the page")).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert pressed + tabs_until(page, "Apply the edit", most=14) <= 15
    expect(page.get_by_role("link", name="Skip to the page")).not_to_be_in_viewport()
    if width == 1280:
        every_button_is_read_to_its_end(page)


def every_button_is_read_to_its_end(page: Page) -> None:
    """No label of the bar is cut off, whatever the window's width."""
    for width in (1280, 1180, 1020, 900, 700):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function(
            """() => [...document.querySelectorAll('.st-key-apply-buttons button p')]
            .every(label => label.scrollWidth <= label.clientWidth + 1)"""
        )


def test_a_result_has_wide_answers_and_one_of_other_inputs_is_named_and_readable(tiny_visit: Visit) -> None:
    person = tiny_visit(viewport={"width": 1280, "height": 800})
    page = person.page
    page.get_by_role("button", name="Got it").click()
    person.type_fact("The Eiffel Tower", "{} is located in the city of", "Rome")
    person.apply()
    answers_are_the_widest_columns(person)
    page.get_by_role("textbox", name="New object").fill("Oslo")
    page.keyboard.press("Enter")
    person.settle()
    expect(page.get_by_role("heading", name="Result of the newest edit, not of the fact above")).to_be_visible()
    names_are_read_as_they_are_seen(page)
    schemes: tuple[Literal["dark", "light"], ...] = ("dark", "light")
    for scheme in schemes:
        another_theme_is_followed(page, scheme)
        found = page.evaluate(CONTRASTS, ".st-key-stale-result")
        assert len(found) > 10
        assert [(text, round(contrast, 2)) for text, contrast in found if contrast < 4.5] == []
    the_result_is_right_under_the_form_on_a_phone(page)


def names_are_read_as_they_are_seen(page: Page) -> None:
    """Labels are Markdown; their names for screen readers have no asterisks, colours or escaped signs."""
    expect(
        page.get_by_role("checkbox", name=re.compile(r"^country: \S+ → \S+ Eiffel Tower → Oslo → ")).first
    ).to_be_visible()
    page.wait_for_function(
        r"""() => [...document.querySelectorAll('[aria-label]')]
        .every(part => !/\\[-.()]|\*\*|:gray|:material/.test(part.getAttribute('aria-label')))"""
    )


def another_theme_is_followed(page: Page, scheme: Literal["light", "dark"]) -> None:
    """The picture has the ground of the theme, without a reload."""
    ground = {"light": "#ffffff", "dark": "#11181f"}[scheme]
    story = page.locator(".kg-story svg rect").first
    expect(story).not_to_have_attribute("fill", ground)
    page.emulate_media(color_scheme=scheme)
    expect(story).to_have_attribute("fill", ground, timeout=PATIENCE)


def the_result_is_right_under_the_form_on_a_phone(page: Page) -> None:
    """What the model answers now comes after it."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(
        """() => { const at = name => document.querySelector(name).getBoundingClientRect();
        const bar = at('.st-key-apply-bar'), result = at('.st-key-edit-now'), tokens = at('.kg-tokens');
        return bar.bottom <= result.top && result.top - bar.bottom < 120 && result.bottom <= tokens.top; }"""
    )


def answers_are_the_widest_columns(person: Watched) -> None:
    """With the told model's there are five columns; the question and the verdict make room."""
    page = person.page
    page.get_by_role("button", name="Tell it instead").click()
    page.get_by_role("button", name="Ask", exact=True).click()
    table = page.locator(".kg-answers.with-told").first
    table.wait_for(timeout=PATIENCE)
    person.settle()
    widths = table.evaluate(
        "table => [...table.querySelectorAll('th')].map(one => [one.innerText, one.getBoundingClientRect().width])"
    )
    assert [name for name, _ in widths] == ["asked", "before", "after", "told", "verdict"]
    answers, others = [width for _, width in widths[1:4]], [widths[0][1], widths[4][1]]
    assert min(answers) > max(others) and max(answers) - min(answers) < 1
    assert min(answers) > 180
    person.fits()


def test_nothing_lies_over_the_text_that_is_being_typed(tiny_visit: Visit) -> None:
    person = tiny_visit()
    field = person.page.get_by_role("textbox", name="Template, with")
    field.click()
    field.press_sequentially("The headquarters of {} is in the city of")
    expect(field).to_have_value("The headquarters of {} is in the city of")
    notes = person.page.locator('[data-testid="InputInstructions"]')
    expect(notes).not_to_have_count(0)
    for note in notes.all():
        expect(note).to_be_hidden()
