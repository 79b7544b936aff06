"""Questions with their answers as plain values for files: CSV, JSON, Markdown. No Streamlit."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kgmet.measure.answer import Answer
from kgmet.measure.verdict import Verdict
from workbench.drawing.answers import AnswerRow
from workbench.drawing.tables import markdown_text, table_files

__all__ = ["answer_markdown", "answer_table_files", "answer_values"]

_SHORT = ("kind", "prompt", "answer before", "answer after", "answer told", "p expected before", "p expected after")
_VERDICTS = ("verdict after", "verdict told")


def answer_values(row: AnswerRow) -> dict[str, object]:
    """Return one row of a file."""
    pair, prompt = row.pair, row.pair.after.question
    values: dict[str, object] = {
        "kind": prompt.kind.value,
        "prompt": prompt.text,
        "expected": prompt.expected,
        "rejected": prompt.rejected,
        "path": prompt.path,
        "answer before": pair.before.said,
        "answer after": pair.after.said,
    }
    values |= _scores("before", pair.before) | _scores("after", pair.after)
    values |= {
        "form": pair.after.form.value,
        "verdict before": _verdict(pair.before.verdict),
        "verdict after": _verdict(pair.verdict),
    }
    told = row.told_pair
    if told is not None:
        values |= {
            "answer told": told.after.said,
            **_scores("told", told.after),
            "verdict told": _verdict(told.verdict),
        }
    return values


def _scores(side: str, answer: Answer) -> dict[str, object]:
    return {
        f"p expected {side}": answer.p_expected,
        f"p rejected {side}": answer.p_rejected,
        f"rank {side}": None if answer.expected is None else answer.expected.rank,
    }


def _verdict(verdict: Verdict | None) -> str | None:
    return None if verdict is None else verdict.value


def answer_markdown(frame: pd.DataFrame) -> str:
    """Return the columns that people read as a Markdown table; what could be read as Markdown is escaped."""
    return markdown_text(frame[[name for name in (*_SHORT, *_VERDICTS) if name in frame]])


def answer_table_files(rows: Sequence[AnswerRow]) -> dict[str, str]:
    """Return a table of questions as the contents of files, by their endings."""
    frame = pd.DataFrame([answer_values(row) for row in rows])
    return {**table_files(frame), "md": answer_markdown(frame)}
