"""A chain as a line of stations: marks and grey by what is said, the same in HTML and SVG, and no text gets out."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from kgmet.measure.compare import AnswerPair
from kgmet.measure.question import Question, QuestionKind
from tests.workbench.drawing.test_graph_view import HOSTILE
from tests.workbench.sessions import answer_to
from workbench.drawing.hop_line import HopLine, Mark, State, Station, hop_line_html, hop_line_sentence, mark_of
from workbench.drawing.hop_svg import hop_line_svg
from workbench.drawing.plain import bdi, readable
from workbench.drawing.text_room import text_width, wrapped

QUESTION = Question(kind=QuestionKind.OWN, text="It is in", expected="Rome", rejected="Paris")
SVG = "{http://www.w3.org/2000/svg}"


def station(mark: Mark, *, is_known: bool = True, name: str = "Rome", text: str = "x") -> Station:
    return Station(
        name=name, relation=text, asked=text, before=text, after=text, mark_before=mark, mark_after=mark,
        is_known=is_known,
    )  # fmt: skip


GOOD, BAD = station(Mark.SAYS), station(Mark.NEITHER)
GREY = station(Mark.NEITHER, is_known=False)


@pytest.mark.parametrize(
    ("said", "mark"),
    [("Rome, Italy", Mark.SAYS), ("Paris", Mark.OLD), ("Rome, not Paris", Mark.NEITHER), ("", Mark.NEITHER)],
)
def test_a_mark_says_which_end_is_named(said: str, mark: Mark) -> None:
    before, after = answer_to(QUESTION, said, new=0.5, old=0.5), answer_to(QUESTION, "Rome", new=0.5, old=0.5)
    assert mark_of(AnswerPair(before=before, after=after)) == (mark, Mark.SAYS)


def test_grey_is_only_where_the_answer_is_wrong_and_was_before() -> None:
    assert (GOOD.state, BAD.state, GREY.state) == (State.HELD, State.BROKEN, State.UNKNOWN)
    assert station(Mark.SAYS, is_known=False).state is State.HELD


@pytest.mark.parametrize(
    ("stations", "whole", "breaks", "said"),
    [
        ((GOOD, GOOD), GOOD, None, "says every fact of the chain. The question over all of them is answered."),
        ((GOOD, BAD), GOOD, 2, "breaks at hop 2 of 2 (x: Rome). The question over all of them is answered."),
        ((GOOD, GREY), None, 2, "breaks at hop 2 of 2 (x: Rome), which the unedited model does not say either."),
        ((GOOD,), GREY, None, "is not answered, and was not before the edit either."),
        ((BAD, GREY), BAD, 1, "The question over all of them is not answered."),
    ],
)
def test_the_line_says_where_it_breaks(
    stations: tuple[Station, ...], whole: Station | None, breaks: int | None, said: str
) -> None:
    line = HopLine(start="tower", stations=stations, whole=whole)
    assert line.breaks_at == breaks
    assert hop_line_sentence(line).endswith(said)


def test_both_drawings_show_every_station_and_its_state() -> None:
    line = HopLine(start="tower", stations=(GOOD, GREY), whole=BAD)
    page = hop_line_html(line)
    assert [page.count(f'class="stop {state}') for state in ("start", "held", "unknown", "broken")] == [1, 1, 1, 1]
    root = ET.fromstring(hop_line_svg(line, title="tower → Rome"))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert texts.count("Rome") == 3 and texts.count("before") == 3 and "tower → Rome" in texts
    assert len(list(root.iter(f"{SVG}circle"))) == 3


@pytest.mark.parametrize("hostile", [HOSTILE, "\x00\x1b\ud800\ufffe", "‮evil‬", "]]><script>alert(1)</script>", "BOTTOM"])
def test_hostile_names_stay_text_in_both(hostile: str) -> None:
    line = HopLine(start=hostile, stations=(station(Mark.SAYS, name=hostile, text=hostile),), whole=BAD)
    for theme in ("light", "dark"):
        root = ET.fromstring(hop_line_svg(line, title=hostile, theme=theme))
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
            *("svg", "title", "desc", "rect", "path", "circle", "text")
        }
        assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]
    page = hop_line_html(line)
    assert "<script" not in page and "<img" not in page
    assert page.count("<bdi>") == page.count("</bdi>")


def test_a_reading_direction_ends_with_the_name_and_controls_are_shown() -> None:
    assert bdi("a‮b<") == "<bdi>a‮b&lt;</bdi>"
    assert readable("a\x07\ud800b\n\ufdd0") == "a��b\n�"


@pytest.mark.parametrize("text", ["one two three four five six", "W" * 60, "東京" * 30, "a" * 20 + " b", ""])
def test_lines_are_as_wide_as_asked_and_nothing_is_lost(text: str) -> None:
    lines = wrapped(text, width=100, size=14)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(text_width(line, 14) <= 100 for line in lines)


def test_the_picture_grows_with_what_is_said() -> None:
    few = HopLine(start="a", stations=(GOOD,))
    many = HopLine(start="a", stations=(station(Mark.SAYS, text="word " * 40),))
    heights = [float(ET.fromstring(hop_line_svg(line, title="t")).attrib["height"]) for line in (few, many)]
    assert heights[1] > heights[0] + 100
