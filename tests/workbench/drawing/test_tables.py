"""Tables and words show exactly what they are given, whatever it is."""

from __future__ import annotations

import ast
import csv
import io
import json
import re

import pandas as pd
import pytest

from kgmet.editing.config import EditConfig
from kgmet.lm.say.score import NextToken
from kgmet.measure.compare import AnswerPair
from kgmet.measure.question import Form, Question, QuestionKind
from tests.tiny_models import tiny_lm
from tests.workbench.drawing.test_graph_view import HOSTILE, small
from tests.workbench.sessions import answer_to, entry_for
from workbench import wording
from workbench.drawing import tables
from workbench.drawing.answers import AnswerRow, answer_table, marked_names, told_card
from workbench.drawing.curves import answer_bars, search_curve
from workbench.screens.edit.settings import changed_settings
from workbench.screens.ledger.scripting import edit_script
from workbench.screens.probe.panels import own_prompts


def tags(text: str) -> set[str]:
    return set(re.findall(r"<\s*/?\s*([a-zA-Z]+)", text))


def test_html_tables_escape_every_label() -> None:
    question = Question(kind=QuestionKind.REWRITE, text=HOSTILE, expected=HOSTILE, rejected=HOSTILE + "!")
    answer = answer_to(question, HOSTILE, new=0.5, old=0.25)
    row = AnswerRow(pair=AnswerPair(before=answer, after=answer), told=answer, about=HOSTILE, note=HOSTILE)
    made = [
        tables.answer_side("before", marked_names(answer), answer),
        answer_table([row]),
        told_card(answer, telling=HOSTILE),
        tables.token_html([(HOSTILE, "edited")]),
        answer_bars([NextToken(text=HOSTILE, probability=0.5)], marked={HOSTILE: "new"}),
    ]
    allowed = {"table", "tr", "th", "td", "div", "span", "b", "code", "p", "em", "mark", "h", "small"}
    allowed |= {"thead", "tbody", "bdi"}
    for text in made:
        assert tags(text) <= allowed, tags(text) - allowed
        assert "<img" not in text and "<script" not in text


@pytest.mark.parametrize(
    "text", [HOSTILE, "**bold** _it_ `code` [l](x) $x$ :red[r] :material/star:", "# head", "1. one"]
)
def test_safe_text_holds_no_live_markdown(text: str) -> None:
    made = wording.safe(text)
    assert re.sub(r"\\(.)", r"\1", made).replace(wording.WORD_JOINER, "") == " ".join(text.split())
    assert not re.search(r"(?<!\\)[*_`\[\]<>$#:!|~]", made)


@pytest.mark.parametrize(
    "text", ["see http://a.example", "HTTPS://a.example/x", "www.a.example", "mail me@a.example now"]
)
def test_an_address_in_safe_text_is_no_link(text: str) -> None:
    """Markdown links bare addresses by these patterns after it has taken escapes away."""
    shown = re.sub(r"\\(.)", r"\1", wording.safe(text))
    assert not re.search(r"(https?://|www(?=\.))[-.\w]*|[-.\w+]+@[-\w]+(\.[-\w]+)+", shown, re.IGNORECASE)
    assert shown.replace(wording.WORD_JOINER, "") == text


def test_small_probabilities_are_not_rounded_to_nothing() -> None:
    assert wording.percent(0.996) == "99.6\u00a0%"
    assert wording.percent(2.34e-5) == "0.0023\u00a0%"
    assert wording.percent(2.34e-6) == "2.3·10⁻⁴\u00a0%"
    assert wording.percent(0.001) == "0.10\u00a0%"
    assert wording.percent(0.0037) == "0.37\u00a0%"
    assert wording.percent(None) == wording.NOT_MEASURED
    assert wording.percent(0.0) == "0\u00a0%"


def test_the_triple_table_lists_what_is_on_and_what_is_off() -> None:
    from kgmet.graph.reading.retrieve import without

    subgraph = without(small(), [("s", "kind", "tower")])
    frame = tables.triple_frame(subgraph)
    rows = {(row.subject, row.object): (row.on, row.state) for row in frame.itertuples()}
    assert rows == {("s", "tokyo"): (True, "new"), ("tokyo", "japan"): (True, ""), ("s", "tower"): (False, "off")}
    assert list(tables.triple_frame(subgraph, mark="true")["state"]) == ["true", "", "off"]


def test_switching_the_edited_triple_off_does_nothing() -> None:
    from workbench.screens.graph.triples import switches

    subgraph = small()
    frame = tables.triple_frame(subgraph)
    frame["on"] = False
    assert switches(frame, subgraph) == (("s", "kind", "tower"), ("tokyo", "country", "japan"))


def test_the_curve_draws_terms_that_occur_and_no_others() -> None:
    steps = [{"total": 3.0, "rewrite": 2.0, "kept": 0.0, "edit": "a"}, {"total": 2.0, "rewrite": 1.0, "kept": 0.0}]
    figure = search_curve(steps)
    assert {trace.name for trace in figure.data} == {"everything", "the new answer"}
    assert list(figure.data[0].y) == [3.0, 2.0]


def test_only_settings_that_differ_are_kept() -> None:
    own = EditConfig()
    same = {"write": {"layers": list(own.write.layers), "ridge": own.write.ridge}}
    assert changed_settings(own, same) == {}
    assert changed_settings(own, {"write": {"layers": [1]}, "target": {"max_steps": 3}}) == {
        "write": {"layers": [1]},
        "target": {"max_steps": 3},
    }


def test_typed_prompts_take_answers_after_bars() -> None:
    first, second = own_prompts("Where is it?\n\n  The city is | Rome | Paris \n")
    assert (first.text, first.expected, first.form) == ("Where is it?", None, Form.CHAT)
    assert (second.text, second.expected, second.rejected, second.kind) == (
        "The city is",
        "Rome",
        "Paris",
        QuestionKind.OWN,
    )


def test_the_script_holds_names_as_data_only() -> None:
    entry = entry_for(tiny_lm(), seed=1)
    hostile = '"""\'\'\'); import os; os.system("true") #' + HOSTILE
    patch = entry.patch
    object.__setattr__(patch, "config", {"note": hostile})
    text = edit_script([entry], f"some/{hostile}")
    tree = ast.parse(text)
    assert not any(isinstance(node, ast.Import) and node.names[0].name == "os" for node in ast.walk(tree))
    loads = next(
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "loads"
    )
    steps = json.loads(ast.literal_eval(loads.args[0]))
    assert steps[0]["config"]["note"] == hostile
    assert steps[0]["edits"][0]["subject"] == "Paris 1"


def test_a_spreadsheet_computes_nothing_in_a_csv_file() -> None:
    frame = pd.DataFrame({"=name": ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "", "a=1"], "n": [-1, 0, 1, 2, 3, 4, 5]})
    rows = list(csv.reader(io.StringIO(tables.csv_text(frame))))
    assert [row[0] for row in rows[1:]] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "", "a=1"]
    assert [row[1] for row in rows[1:]] == ["-1", "0", "1", "2", "3", "4", "5"], "numbers stay numbers"
