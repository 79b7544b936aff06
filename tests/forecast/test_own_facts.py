"""A user's own facts are read whole, or refused with the line and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgmet.base.errors import ConfigError
from kgmet.forecast.facts import MOST_OWN_FACTS, read_own_facts


def test_case_and_empty_columns_of_a_spreadsheet_do_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("Prompt, Answer ,,\r\nParis is in,France,,\r\n\r\n", encoding="utf-8")
    (fact,) = read_own_facts(file)
    assert (fact.text, fact.answers) == ("Paris is in", ("France",))


def test_quoted_and_marked_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_bytes('\ufeffprompt,answer,note\r\n"Paris, France, is in",Europe,x\r\n'.encode())
    (fact,) = read_own_facts(file)
    assert (fact.text, fact.answers, fact.must_hold) == ("Paris, France, is in", ("Europe",), True)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_spreadsheet_of_another_country_is_read_too(separator: str, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text(f"prompt{separator}answer\r\nParis is in{separator}France\r\n", encoding="utf-8")
    (fact,) = read_own_facts(file)
    assert (fact.text, fact.answers) == ("Paris is in", ("France",))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"a table with the columns 'prompt' and 'answer'; its first line has none"),
        ("Paris,France\n", r"its first line has 'paris', 'france'. Give one fact a line"),
        ('[{"prompt": "a", "answer": "b"}]', "must be a table"),
        ("prompt,answer\n", "holds no fact"),
        ("prompt,answer\na,b\na\n", "line 3: prompt and answer must both hold text"),
        ("prompt,answer\na,b\n , \n", "line 3: prompt and answer must both hold text"),
        ("prompt,answer,prompt\na,b,c\n", "own.csv has two columns called 'prompt'"),
        ("prompt,answer\nParis, France, is in,Europe\n", "line 2: there are more values than columns"),
        ("prompt,answer\n" + "x" * 200_000 + ",b\n", "line 2: the table cannot be read: field larger"),
        ("prompt,answer\n" + "x" * 2000 + ",b\n", "line 2: the prompt has 2000 characters"),
        ('prompt,answer\n"a\nb",c\n', "line 3: the prompt holds a line break"),
        ("prompt,answer\na,b\x1b[2J\n", "line 2: the answer holds a line break or control character"),
        ("prompt,answer\n" + "a,b\n" * (MOST_OWN_FACTS + 1), "more than 10000 facts"),
    ],
    ids=[
        "empty",
        "no header",
        "json",
        "no row",
        "short",
        "blank",
        "twice",
        "comma",
        "huge",
        "long",
        "two lines",
        "escape",
        "many",
    ],
)
def test_what_holds_no_facts_is_refused_with_its_line(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(text.encode())
    with pytest.raises(ConfigError, match=why):
        read_own_facts(tmp_path / "own.csv")
