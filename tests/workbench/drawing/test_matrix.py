"""The matrix of answers as a table and as files: the texts are a model's, so nothing of them is markup."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pandas as pd

from kgmet.inspect.comparison import EditorComparison
from kgmet.inspect.matrix import answer_matrix
from tests.inspect.compared import by_hand
from workbench.drawing.matrix import matrix_html
from workbench.drawing.matrix_files import matrix_frame, matrix_json, matrix_markdown


def hostile() -> EditorComparison:
    made = by_hand()
    (first, *others), evil = made.results, "<script>x</script> | **b** \u202e"
    assert first.comparison is not None
    pairs = [replace(pair, after=replace(pair.after, said=evil)) for pair in first.comparison.pairs]
    return replace(made, results=(replace(first, comparison=replace(first.comparison, pairs=tuple(pairs))), *others))


def test_every_answer_stands_in_its_column_with_sign_and_colour() -> None:
    text = matrix_html(answer_matrix(by_hand()))
    assert text.count('<tr class="question">') == 3 and text.count("<tbody>") == 2
    assert text.count('class="says"') == 5 and text.count('class="no"') == 4
    assert text.count("as before</small>") == 2
    assert "failed" in text and "2 of 2" in text and "★" not in text


def test_no_text_of_a_model_is_markup() -> None:
    matrix = answer_matrix(hostile())
    assert "<script>" not in matrix_html(matrix) and "&lt;script&gt;" in matrix_html(matrix)
    rows = matrix_markdown(matrix).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "**b**" not in matrix_markdown(matrix)


def test_files_hold_every_answer_and_every_share() -> None:
    made = by_hand()
    frame = matrix_frame(answer_matrix(made))
    assert len(frame) == 3 * 3, "three questions, each unedited and of the two editors that did not fail"
    again = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert again["verdict"].tolist() == frame["verdict"].tolist()
    assert set(again["editor"]) == {"unedited", "KGMET", "AlphaEdit"}
    data = json.loads(matrix_json(made))
    assert data["groups"][0]["shares"]["KGMET"]["n"] == 2 and data["errors"] == {"MEMIT": "no such layer"}
