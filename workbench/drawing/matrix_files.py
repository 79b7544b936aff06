"""A comparison's answers for files: one row an answer (CSV), the table (Markdown), everything (JSON). No Streamlit."""

from __future__ import annotations

import json

import pandas as pd

from kgmet.inspect.comparison import EditorComparison
from kgmet.inspect.matrix import AnswerMatrix, MatrixGroup, MatrixRow, answer_matrix
from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair
from kgmet.measure.verdict import Verdict
from workbench.drawing.matrix import SIGNS, UNEDITED, share_text
from workbench.wording import AS_BEFORE, safe, short

__all__ = ["matrix_frame", "matrix_json", "matrix_markdown"]


def matrix_frame(matrix: AnswerMatrix) -> pd.DataFrame:
    """Return one row per question and column: answer, verdict, probabilities, rank."""
    rows = []
    for group in matrix.groups:
        for row in group.rows:
            rows.append(_values(group, row.before, UNEDITED, row.before.verdict))
            for label, pair in zip(matrix.labels, row.pairs, strict=True):
                if pair is not None:
                    values = _values(group, pair.after, label, pair.verdict)
                    rows.append({**values, "as before": pair.was_so_before})
    return pd.DataFrame(rows)


def matrix_json(comparison: EditorComparison) -> str:
    """Return the edit, the matrix with its shares and intervals, and the other measures as JSON."""
    rows = comparison.rows()
    labels = [outcome.candidate.label for outcome in comparison.results]
    data = {
        "edit": comparison.edit.to_json(),
        **answer_matrix(comparison).to_json(),
        "measures": [
            {
                "key": row.key,
                "label": row.label,
                "definition": row.definition,
                "unit": row.unit,
                "better": row.better,
                "values": {
                    label: None if value is None else value.to_json()
                    for label, value in zip(labels, row.values, strict=True)
                },
            }
            for row in rows
        ],
        "errors": {outcome.candidate.label: outcome.error for outcome in comparison.results if outcome.error},
    }
    return json.dumps(data, ensure_ascii=False, indent=1)


def matrix_markdown(matrix: AnswerMatrix) -> str:
    """Return the matrix as a Markdown table, a bold row of counts before each group; texts are escaped."""
    lines = [
        "| " + " | ".join(safe(name) for name in ("question", UNEDITED, *matrix.labels)) + " |",
        "|" + "---|" * (2 + len(matrix.labels)),
    ]
    for group in matrix.groups:
        counts = [
            "{} ({})".format(*share_text(share)) if share else "failed" for share in (group.before, *group.shares)
        ]
        lines.append("| " + " | ".join(f"**{safe(text)}**" for text in (group.label, *counts)) + " |")
        lines += [_line(row) for row in group.rows]
    return "\n".join(lines) + "\n"


def _values(group: MatrixGroup, answer: Answer, column: str, verdict: Verdict | None) -> dict[str, object]:
    question = answer.question
    return {
        "group": group.kind.value,
        "question": question.text,
        "form": answer.form.value,
        "expected": question.expected,
        "rejected": question.rejected,
        "path": question.path,
        "editor": column,
        "answer": answer.said,
        "verdict": None if verdict is None else verdict.value,
        "as before": None,
        "p expected": answer.p_expected,
        "rank": None if answer.expected is None else answer.expected.rank,
        "p rejected": answer.p_rejected,
    }


def _line(row: MatrixRow) -> str:
    cells = [safe(row.question.text), _cell(row.before, row.before.verdict)]
    cells += ["" if pair is None else _pair(pair) for pair in row.pairs]
    return "| " + " | ".join(cells) + " |"


def _pair(pair: AnswerPair) -> str:
    is_before = pair.was_so_before and not pair.after.question.kind.should_stay
    return _cell(pair.after, pair.verdict) + (f" ({AS_BEFORE})" if is_before else "")


def _cell(answer: Answer, verdict: Verdict | None) -> str:
    sign = "" if verdict is None else f"{SIGNS[verdict]} "
    return sign + (safe(short(answer.text, 120)) or "∅")
