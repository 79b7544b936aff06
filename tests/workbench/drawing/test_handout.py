"""A result as one file: it asks for nothing, its one script is the one its policy names, and no text gets out."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

from kgmet.inspect.shift import trace_shifts
from kgmet.measure.told import Told
from tests.evaluate.card.test_render import card
from tests.inspect.looked import random_patch, text_of
from tests.tiny_models import tiny_lm
from tests.workbench.drawing.test_graph_view import HOSTILE
from tests.workbench.drawing.test_hop_line import GOOD, GREY, station
from tests.workbench.sessions import entry_for
from workbench.drawing.handout import Handout, Section, handout_html
from workbench.drawing.hop_line import HopLine, Mark
from workbench.drawing.probe_story import KindCount, ProbeStory
from workbench.screens.share.view import Shared, answer_rows, handout_of, parts

PAYLOADS = ("</script><script>alert(1)</script>", '" onmouseover="alert(1)', "</style><img src=x>", "\x00\u202e")


class Reader(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))


def read(page: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(page)
    return reader.found


def everything(text: str = "x") -> Shared:
    report = entry_for(tiny_lm()).report
    assert report is not None
    line = HopLine(start=text, stations=(station(Mark.SAYS, name=text, text=text), GREY), whole=GOOD)
    return Shared(
        report=report,
        model=text,
        told=Told(sentences=(text,), answers=report.before_answers),
        telling="the fact",
        story=ProbeStory(lines=(line,), counts=(KindCount(kind=text, n=3, before=0, after=2, told=1),)),
        trace=trace_shifts(tiny_lm(), random_patch(tiny_lm()), [text_of()])[0],
        card=card(),
        layers=[1],
        link=text,
        footer=text,
    )


def test_the_file_asks_for_nothing_and_names_its_one_script() -> None:
    page = handout_html(handout_of(everything()))
    for tag, attributes in read(page):
        assert tag not in ("link", "img", "iframe", "object", "base", "form")
        assert not {"src", "href"} & set(attributes)
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page


def test_every_part_is_a_page_of_the_talk_and_what_is_missing_is_none() -> None:
    full, report = everything(), entry_for(tiny_lm()).report
    assert report is not None
    bare = Shared(report=report, model="m")
    headings = [section.heading for section in handout_of(full).sections]
    assert headings[:2] == ["Paris 0 is in → Rome", "The answer"]
    assert "How far the edit moves the hidden states" in headings and "How it was made" in headings
    assert [name for name in headings if name.startswith("Report card")] == ["Report card, 1 of 1"]
    assert "75 %<small>30–95 · 3/1/0</small>" in handout_html(handout_of(full))
    assert len(handout_of(bare).sections) == 3
    assert list(parts(bare).values()).count(True) == 1
    assert len(answer_rows(full)) == len(report.before_answers)


def test_hostile_text_stays_text() -> None:
    harmless = [tag for tag, _ in read(handout_html(handout_of(everything())))]
    for text in (
        HOSTILE,
        "</script><script>alert(1)</script>",
        '" onmouseover="alert(1)',
        "</style><img src=x>",
        "\x00‮",
    ):
        found = read(handout_html(handout_of(everything(text))))
        assert [tag for tag, _ in found] == harmless
        assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    page = handout_html(Handout(title=HOSTILE, sections=[Section(heading=HOSTILE, body="")], footer=HOSTILE))
    assert [tag for tag, _ in read(page)].count("script") == 1
