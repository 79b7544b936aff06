"""Every form of the card says the same, and no text in it is anything but text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from kgmet.evaluate.card.html import card_html
from kgmet.evaluate.card.render import card_latex, card_markdown, card_text, cell_text
from kgmet.evaluate.card.value import COLUMNS, ROWS, Cell, Example, ReportCard, Row

HOSTILE = "<script>alert('x')</script> | **bold** \\input{secret} & 100 % $x$ [a](http://b)"
SAID = Cell(value=0.75, n=4, interval=(0.3006, 0.9544), said=3, preferred=1, no=0)
ENTROPY = Cell(value=512.34, n=3, interval=(500.0, 520.0))


def card() -> ReportCard:
    """One card with a row of each unit, whose texts come from a stranger."""
    example = Example(
        edit=HOSTILE,
        prompt=HOSTILE,
        expected=HOSTILE,
        rejected="",
        answers={"unedited": HOSTILE, "after": ""},
        verdicts={"unedited": "no", "after": "prefers"},
        probabilities={"unedited": 0.5, "after": 0.25},
    )
    cells = {column.key: SAID for column in COLUMNS}
    rows = (
        Row(key="efficacy", cells=cells, worst=(example,), n_asked=4),
        Row(key="later_hops", cells=cells, n_asked=9),
        Row(key="fluency", cells={column.key: ENTROPY for column in COLUMNS}, n_asked=3),
        Row(key="perplexity", cells={column.key: Cell(note=HOSTILE) for column in COLUMNS}),
    )
    return ReportCard(
        model=HOSTILE, edited=HOSTILE, edits=(HOSTILE,), facts=((HOSTILE, "b"),), rows=rows, notes=(HOSTILE,), seconds=2
    )


class Tags(HTMLParser):
    """Collects the tags of a page, their addresses, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "action", "onclick")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_cells_in_words() -> None:
    share, entropy = card().rows[0], card().rows[2]
    assert cell_text(share, SAID) == "75 % (30–95) · 3/1/0"
    assert cell_text(entropy, ENTROPY) == "512 (500–520)"
    assert cell_text(share, Cell()) == "–"


def test_the_page_holds_texts_as_texts_and_nothing_from_outside() -> None:
    page = Tags()
    page.feed(card_html(card()))
    assert "script" not in page.tags
    assert page.addresses == []
    assert HOSTILE in page.text
    assert "default-src 'none'" in card_html(card())
    assert "75 % (30–95) · 3/1/0" in page.text
    assert "4 of 9" in page.text
    assert ROWS["efficacy"].definition in page.text


def test_markdown_keeps_its_columns_and_no_sign_of_a_strangers_text_means_anything() -> None:
    text = card_markdown(card())
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(card().rows)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(COLUMNS) + 3}
    assert "<script>" not in text
    assert "**bold**" not in text
    assert "\\[a\\](http://b)" in text


def test_latex_escapes_what_latex_reads_as_a_command() -> None:
    text = card_latex(card())
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + len(card().rows)
    assert all(len(re.findall(r"(?<!\\)&", line)) == len(COLUMNS) + 1 for line in lines)
    assert r"75 \% (30--95)" in text
    assert "\\input" not in text
    assert r"\textbackslash{}input\{secret\}" in text


def test_the_terminal_gets_every_row_and_what_is_counted() -> None:
    text = card_text(card())
    for row in card().rows:
        assert row.spec.label in text
    assert "4 of 9" in text
    assert "answers said / preferred / no: " in text
    assert "answers *said / preferred / no*: " in card_markdown(card())
