"""A link to a result, from one person's browser to another's, over a restart of the server."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.running import EIFFEL, PATIENCE, Visit
from tests.soak.served import Served


def test_a_link_opens_the_result_in_another_browser(tiny_visit: Visit, tiny_server: Served) -> None:
    maker = tiny_visit()
    maker.page.get_by_role("button", name="Got it").click()
    maker.type_fact(*EIFFEL)
    maker.apply()
    own, url = maker.session_id, tiny_server.url
    said = maker.page.locator(".kg-sides").first.inner_text()
    maker.page.locator('.st-key-result-actions [data-testid="stPopover"] button', has_text="Link").filter(
        visible=True
    ).first.click()
    maker.page.get_by_role("button", name="Make a link to this result").click()
    code = maker.page.locator("code", has_text="result=").first
    expect(code).to_be_visible(timeout=PATIENCE)
    address = code.inner_text().strip()
    assert re.fullmatch(rf"{re.escape(url)}/edit\?result=[A-Za-z0-9_-]{{43}}", address)
    assert own not in address
    tiny_server.kill()
    tiny_server.start()

    visitor = tiny_visit(address.removeprefix(f"{url}/"))
    page = visitor.page
    expect(page.get_by_text("A result that was shared with you")).to_be_visible()
    opening = page.get_by_role("button", name="Open it")
    expect(opening).to_be_enabled(timeout=PATIENCE)
    everything = page.content()
    assert own not in everything and own not in visitor.session_id
    opening.click()
    expect(page.locator(".kg-sides").first).to_have_text(said, use_inner_text=True, timeout=PATIENCE)
    visitor.settle()
    assert "result=" not in page.url
    expect(page.get_by_role("textbox", name="Subject", exact=True)).to_have_value("The Eiffel Tower")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("bit for bit the same")).to_be_visible(timeout=PATIENCE)
    assert visitor.outside() == []

    again = tiny_visit("share", session_id=own)
    again.page.get_by_role("button", name="Withdraw").first.click()
    again.settle()
    late = tiny_visit(address.removeprefix(f"{url}/"))
    expect(late.page.get_by_text("This link leads to no result")).to_be_visible()
    expect(late.page.get_by_role("button", name="Open it")).to_have_count(0)
