"""A table of text is read by its columns; a row with a value too many says so."""

from __future__ import annotations

import pytest

from kgmet.base.csv_table import CsvTable
from kgmet.base.errors import RequestError


def table(text: str, separator: str = ",") -> CsvTable:
    return CsvTable(text=text, where="The list", separator=separator, error=RequestError)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_values_stand_under_their_columns(separator: str) -> None:
    lines = [["Subject ", '"Place"', "", ""], ["a", '"b,;\tc"', "", " "], [], ["d"]]
    rows = list(table("\r\n".join(separator.join(line) for line in lines), separator).rows())
    assert [(row.line, row.values, row.problem) for row in rows] == [
        (2, {"subject": "a", "place": "b,;\tc"}, ""),
        (4, {"subject": "d", "place": ""}, ""),
    ]


@pytest.mark.parametrize(("separator", "named"), [(",", "comma"), (";", "semicolon"), ("\t", "tab")])
def test_a_row_with_too_many_values_says_so_and_the_next_is_read(separator: str, named: str) -> None:
    first, second = table(f"x{separator}y\na{separator}b{separator}c\nd{separator}e\n", separator).rows()
    assert first.problem == (f"there are more values than columns. Put quotation marks around a text with a {named}.")
    assert (second.values, second.problem) == ({"x": "d", "y": "e"}, "")


def test_two_columns_of_one_name_and_what_is_no_table_are_refused() -> None:
    with pytest.raises(RequestError, match=r"The list has two columns called 'x'\. Leave one out"):
        list(table("x,y, X\n1,2,3\n").rows())
    with pytest.raises(RequestError, match="The list, line 2: the table cannot be read: field larger"):
        list(table("x,y\n" + "a" * 200_000 + ",b\n").rows())
    assert table("").columns == table("a" * 200_000).columns == ()
