"""`parse_facts`: read many facts from one text: JSON, CSV, TSV, or one sentence per line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kgmet.base.csv_table import CsvRow, CsvTable, separator_of
from kgmet.base.errors import FileError, KgmetError, RequestError
from kgmet.base.files import parse_json
from kgmet.fact import FactEdit

__all__ = ["COLUMNS", "ParsedFacts", "parse_facts"]

COLUMNS = ("subject", "template", "new_object", "old_object")
"""Columns of a table, named as in `FactEdit`; the last may be left out."""
_OTHER_NAMES = {
    "template": ("prompt", "rewrite_prompt"),
    "new_object": ("new", "target_new", "target"),
    "old_object": ("old", "target_true", "ground_truth"),
}
"""What the columns are called in public data sets, and up to version 0.2."""
_MOST = 1000
_LONGEST = 2_000_000


@dataclass(frozen=True, kw_only=True)
class ParsedFacts:
    """The facts that were read, and one sentence for each rejected row."""

    facts: tuple[FactEdit, ...]
    refused: tuple[str, ...]


def parse_facts(text: str, *, read_sentence: Callable[[str], FactEdit] | None = None) -> ParsedFacts:
    """Read many facts; an invalid row is reported with its number and does not stop the others.

    Args:
        text: a JSON list of objects, a table with a header (comma, semicolon or tab), or one sentence per line.
        read_sentence: reads one sentence.

    Raises:
        RequestError: if nothing can be made of the text as a whole, or it is too long.
    """
    text = text.removeprefix("\ufeff").strip()
    if not text:
        raise RequestError("There is nothing to read. Give a table with the columns subject, template, new_object.")
    if len(text) > _LONGEST:
        raise RequestError(f"The text has {len(text)} characters; at most {_LONGEST} are read.")
    rows = _json_rows(text) if text[0] in "[{" else _table_rows(text)
    if rows is None:
        if read_sentence is None:
            raise RequestError("The first line has no columns subject, template and new_object.")
        return _parsed([line.strip() for line in text.splitlines() if line.strip()], read_sentence)
    return _parsed(rows, _fact_of)


def _parsed(rows: list[Any], read: Callable[[Any], FactEdit]) -> ParsedFacts:
    if len(rows) > _MOST:
        raise RequestError(f"There are {len(rows)} rows; at most {_MOST} facts are edited in one go.")
    facts, refused = [], []
    for number, row in enumerate(rows, start=1):
        try:
            facts.append(read(row))
        except KgmetError as error:
            refused.append(f"Row {number}: {error}")
    return ParsedFacts(facts=tuple(facts), refused=tuple(refused))


def _json_rows(text: str) -> list[Any]:
    try:
        data = parse_json(text, where="The text")
    except FileError as error:
        raise RequestError(f"{error} Give a JSON list of objects.") from error
    rows = data if isinstance(data, list) else [data]
    # A CounterFact record keeps its fact under this key.
    return [row.get("requested_rewrite", row) if isinstance(row, Mapping) else row for row in rows]


def _table_rows(text: str) -> list[Any] | None:
    """Return the rows below a header with the columns; ``None`` if the first line is no such header."""
    table = CsvTable(text=text, where="The table", separator=separator_of(text), error=RequestError)
    if not all({*table.columns} & {*_names(column)} for column in COLUMNS[:3]):
        return None
    return list(table.rows())


def _fact_of(row: Any) -> FactEdit:
    if isinstance(row, CsvRow):
        if row.problem:
            raise RequestError(row.problem)
        row = row.values
    if not isinstance(row, Mapping):
        raise RequestError(f"expected an object with subject, template and new_object, got {str(row)[:80]!r}.")
    found = {column: _text(row, _names(column)) for column in COLUMNS}
    missing = [column for column in COLUMNS[:3] if not found[column]]
    if missing:
        raise RequestError(f"{' and '.join(missing)} missing.")
    return FactEdit.from_prompt(
        found["template"],
        subject=found["subject"],
        new_object=found["new_object"],
        old_object=found["old_object"] or None,
    )


def _names(column: str) -> tuple[str, ...]:
    return (column, *_OTHER_NAMES.get(column, ()))


def _text(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    value = next((row[name] for name in names if row.get(name) not in (None, "")), "")
    if isinstance(value, Mapping):
        value = value.get("str", "")
    return value.strip() if isinstance(value, str) else ""
