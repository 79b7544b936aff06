"""`CsvTable`: rows of text under a header, checked so that no value lands in another column."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kgmet.base.errors import FileError, KgmetError

if TYPE_CHECKING:
    import _csv

__all__ = ["CsvRow", "CsvTable", "separator_of"]

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


def separator_of(text: str) -> str:
    """Return what separates the columns of a table's first line: a comma, or the semicolon or tab it has more of."""
    return max(_SEPARATORS, key=text.partition("\n")[0].count)


@dataclass(frozen=True, kw_only=True)
class CsvRow:
    """One row: its last line in the text, its values by column, and what is wrong with it, if anything.

    A value that the row lacks is empty.
    """

    line: int
    values: dict[str, str]
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class CsvTable:
    """A text of comma-separated values, read row by row; names of columns ignore case and blanks around them.

    Empty lines, blank values beyond the last column and columns without a name are passed over.
    """

    text: str
    where: str
    """What error messages call the text."""
    separator: str = ","
    error: type[KgmetError] = FileError

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns; none if the first line is empty or no row of values."""
        try:
            return tuple(name.strip().casefold() for name in next(self._reader(), ()))
        except csv.Error:
            return ()

    def rows(self) -> Iterator[CsvRow]:
        """Yield the rows under the header.

        Raises:
            KgmetError: `error`, if two columns have one name or the text is no table.
        """
        columns = self.columns
        twice = [name for name, n in Counter(columns).items() if name and n > 1]
        if twice:
            raise self.error(f"{self.where} has two columns called {twice[0][:40]!r}. Leave one out.")
        reader = self._reader()
        try:
            next(reader, None)
            for values in reader:
                if values:
                    yield self._row(columns, values, reader.line_num)
        except csv.Error as error:
            raise self.error(f"{self.where}, line {reader.line_num}: the table cannot be read: {error}.") from error

    def _reader(self) -> _csv.Reader:
        return csv.reader(io.StringIO(self.text, newline=""), delimiter=self.separator)

    def _row(self, columns: tuple[str, ...], values: list[str], line: int) -> CsvRow:
        beyond = any(value.strip() for value in values[len(columns) :])
        padded = [*values, *[""] * (len(columns) - len(values))]
        return CsvRow(
            line=line,
            values={name: value for name, value in zip(columns, padded, strict=False) if name},
            problem=(
                "there are more values than columns. Put quotation marks around a text with a "
                f"{_SEPARATORS.get(self.separator, 'separator')}."
                if beyond
                else ""
            ),
        )
