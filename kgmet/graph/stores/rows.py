"""Checked and numbered table rows, shared by all readers of TSV and CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from kgmet.base.errors import GraphFileError
from kgmet.base.files import Limits, open_text_bytes

__all__ = ["GRAPH_FILE", "MAX_FIELD", "MAX_LINE", "check_text", "read_rows"]

GRAPH_FILE = Limits(n_bytes=64 << 30)

MAX_LINE = 100_000
"""Longest line, in bytes; a longer one means that the file is not a table of triples."""
MAX_FIELD = 2_000
"""Longest label, alias list or description, in characters."""

_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def check_text(text: str, *, where: str, what: str) -> str:
    """Return `text` if it is safe for pages and prompts.

    Raises:
        GraphFileError: if it is too long or holds a line break or control character.
    """
    if len(text) > MAX_FIELD:
        raise GraphFileError(
            f"{where}: the {what} has {len(text)} characters; at most {MAX_FIELD} are allowed. Shorten it."
        )
    bad = _CONTROL.search(text) if not text.isprintable() else None
    if bad:
        raise GraphFileError(
            f"{where}: the {what} {text[:60]!r} holds the control character U+{ord(bad[0]):04X} at position "
            f"{bad.start() + 1}. Remove it."
        )
    return text


def read_rows(path: Path, *, known: Collection[str], required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, column → stripped text) for each non-blank line under the header.

    Tab-separated files are read literally, including quotation marks; comma-separated ones follow RFC 4180.

    Raises:
        GraphFileError: at the first invalid line, with file and line number.
    """
    name = path.name.lower().removesuffix(".gz")
    tabs = name.endswith(".tsv")
    lines = _lines(path)
    reader = (
        csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
        if tabs
        else csv.reader(lines, delimiter=",", strict=True)
    )
    try:
        header = _header(
            next(reader, []), path=path, known=known, required=required, separator="tab" if tabs else "comma"
        )
        fine: set[str] = set()
        for values in reader:
            if not any(values):
                continue
            where = f"{path}, line {reader.line_num}"
            if len(values) != len(header):
                raise GraphFileError(
                    f"{where}: {len(values)} columns, expected {len(header)} ({', '.join(header)}). "
                    f"Found {values[:8]!r}."
                )
            row = {}
            for column, value in zip(header, values, strict=True):
                if value not in fine:
                    check_text(value, where=where, what=column)
                    fine.add(value)
                row[column] = value.strip()
            yield reader.line_num, row
    except csv.Error as error:
        raise GraphFileError(f"{path}, line {reader.line_num}: not a well-formed table ({error}).") from error


def _header(
    first: list[str], *, path: Path, known: Collection[str], required: Sequence[str], separator: str
) -> list[str]:
    header = [column.strip().lower() for column in first]
    if not header:
        raise GraphFileError(f"{path} is empty. Expected a header line.")
    unknown = [column for column in header if column not in known]
    if unknown:
        raise GraphFileError(
            f"{path}, line 1: unknown column {unknown[0]!r}. Expected a {separator}-separated header out of "
            f"{', '.join(sorted(known))}."
        )
    if len(set(header)) != len(header):
        raise GraphFileError(f"{path}, line 1: a column occurs twice in {header!r}. Keep one.")
    missing = [column for column in required if column not in header]
    if not required:
        missing = [part for part in ("subject", "relation", "object") if not {part, f"{part}_id"} & set(header)]
    if missing:
        raise GraphFileError(f"{path}, line 1: the column {missing[0]!r} is missing from {header!r}.")
    return header


def _lines(path: Path) -> Iterator[str]:
    """Yield decoded UTF-8 lines of bounded length."""
    number = 0
    try:
        with open_text_bytes(path, limits=GRAPH_FILE, error=GraphFileError) as stream:
            while raw := stream.readline(MAX_LINE + 1):
                number += 1
                if len(raw) > MAX_LINE:
                    raise GraphFileError(
                        f"{path}, line {number}: longer than {MAX_LINE} bytes. This is no table of triples."
                    )
                yield raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GraphFileError(
            f"{path}, line {number}: not UTF-8 (byte 0x{error.object[error.start]:02X} at position {error.start + 1}); "
            "it may be Latin-1 or Windows-1252. Save the file as UTF-8."
        ) from error
