"""A result as one file: it asks for nothing, its one script is the one its policy names, and no text gets out."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import torch

from kgmet.base.progress import Silent
from kgmet.editing.foresee import Foreseen
from kgmet.forecast.check import CheckedForecast
from kgmet.inspect.causal_trace import TraceConfig
from kgmet.inspect.overlap import measure_drift
from kgmet.inspect.shift import trace_shifts
from kgmet.inspect.spectrum import inspect_writes
from kgmet.measure.told import Told
from tests.evaluate.card.test_render import card
from tests.inspect.looked import moment_of, random_patch, text_of, written_patch
from tests.tiny_models import tiny_lm
from tests.workbench.drawing.test_forecasts import ITEMS
from tests.workbench.drawing.test_graph_view import HOSTILE
from tests.workbench.drawing.test_hop_line import GOOD, GREY, station
from tests.workbench.sessions import entry_for, patch_for
from workbench.drawing.handout import Handout, Section, handout_html
from workbench.drawing.hop_line import HopLine, Mark
from workbench.drawing.probe_story import KindCount, ProbeStory
from workbench.drawing.protection import Protection
from workbench.drawing.traced import Map, Reading, Side, TracedMap
from workbench.screens.share.view import Shared, answer_rows, handout_of, parts
from workbench.screens.trace import actions as trace_actions
from workbench.screens.trace.view import typed

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


@functools.cache
def measured() -> tuple[Protection, Reading, TracedMap]:
    """What Orthogonality and Trace measure of a made-up patch of the tiny model."""
    lm, patch = tiny_lm(), written_patch(tiny_lm())
    writes = tuple(inspect_writes(lm, patch, {1: moment_of(lm, 1)}))
    drift = measure_drift(lm, patch, [text_of()])
    sides = trace_actions.Sides(lm=lm, before=(), after=(patch,))
    choice = typed("The tower is in the city of", "The tower", "Rome", "Paris", "")
    reading = trace_actions.reading_of(sides, choice)(Silent())
    made = trace_actions.map_of(sides, choice, Side.EDITED, Map.STATE, TraceConfig(), step=2)(Silent())
    return Protection(writes=writes, drift=drift, overlap=None), reading, made


def everything(text: str = "x") -> Shared:
    report = entry_for(tiny_lm()).report
    assert report is not None
    protection, reading, made = measured()
    choice = replace(made.choice, label=text)
    fact = replace(ITEMS[0], fact=replace(ITEMS[0].fact, prompt=replace(ITEMS[0].fact.prompt, text=text), answer=text))
    moves = (fact, *ITEMS[1:])
    logprobs = torch.tensor([item.fact.logprob for item in moves], dtype=torch.float64)
    line = HopLine(start=text, stations=(station(Mark.SAYS, name=text, text=text), GREY), whole=GOOD)
    return Shared(
        report=report,
        model=text,
        told=Told(sentences=(text,), answers=report.before_answers),
        telling="the fact",
        story=ProbeStory(lines=(line,), counts=(KindCount(kind=text, n=3, before=0, after=2, told=1),)),
        trace=trace_shifts(tiny_lm(), random_patch(tiny_lm()), [text_of()])[0],
        protection=protection,
        reading=replace(reading, choice=choice),
        maps=[replace(made, choice=choice)],
        forecast=Foreseen(patch=patch_for(tiny_lm()), forecasts=moves, p_new=((0.01, 0.99),)),
        checked=CheckedForecast(forecasts=moves, before=logprobs, after=logprobs - 1),
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
    assert {"Which other facts move most", "What the write protects", Map.STATE.value} <= set(headings)
    assert "Where the chain ends, and which parts say it" in headings
    assert [what for what, is_there in parts(full).items() if not is_there] == ["the graph"]
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


def test_what_else_moves_is_said_before_forecast_and_measured() -> None:
    (section,) = [one for one in handout_of(everything("a fact")).sections if one.heading.startswith("Which other")]
    body = section.body.replace("\u00a0", " ")
    assert "Of 3 known facts that the edit should not change, 1 are forecast to lose more than 0.5 nats." in body
    assert "<bdi>a fact … a fact</bdi></td><td><bdi>80.0 %</bdi></td><td><bdi>12.0 %</bdi></td>" in body
    assert "<bdi>29.4 %</bdi>" in body and "Rank correlation (Spearman)" in body, "0.8 / e is 0.294"
    alone = replace(everything(), checked=None)
    (section,) = [one for one in handout_of(alone).sections if one.heading.startswith("Which other")]
    assert "measured" not in section.body and "Rank correlation" not in section.body


def test_the_map_marks_the_row_that_is_nearest_to_an_edited_layer() -> None:
    """Every second layer was tried: 1 and 3. The edited layer 2 has no row of its own."""
    for layers, marks in (([1], 1), ([2], 1), ([1, 3], 2), ([], 0)):
        shared = replace(everything(), trace=None, layers=layers)
        (section,) = [one for one in handout_of(shared).sections if one.heading == Map.STATE.value]
        assert section.body.count('fill="#d55e00"') == marks


def test_the_file_follows_the_reader_and_the_preview_the_page() -> None:
    handout = handout_of(everything())
    assert "(prefers-color-scheme: dark)" in handout_html(handout)
    light, dark = handout_html(handout, theme="light"), handout_html(handout, theme="dark")
    assert "prefers-color-scheme" not in light + dark
    assert "@media not all { :root" in light and "@media all { :root" in dark
    assert "--kg-figure: var(--kg-ground)" in dark and "--kg-figure: var(--kg-ground)" not in light
    shades = [re.findall(r'<rect [^>]*fill="(rgb[^"]*)"', handout_html(handout_of(one))) for one in
              (everything(), replace(everything(), is_dark=True))]  # fmt: skip
    assert shades[0] and len(shades[0]) == len(shades[1]) and shades[0] != shades[1]
