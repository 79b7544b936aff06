"""`AnswerMatrix`: the questions of a comparison by group, with every candidate's answer to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kgmet.inspect.comparison import KINDS, EditorComparison, apart
from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair
from kgmet.measure.metrics import MetricValue, share_value
from kgmet.measure.question import Question, QuestionKind

__all__ = ["GROUPS", "AnswerMatrix", "MatrixGroup", "MatrixRow", "answer_matrix"]

GROUPS: tuple[QuestionKind, ...] = (
    QuestionKind.REWRITE,
    QuestionKind.PARAPHRASE,
    QuestionKind.CONSEQUENCE,
    QuestionKind.MULTI_HOP,
    QuestionKind.INVERSE,
    QuestionKind.NEIGHBOUR,
    QuestionKind.CONTROL,
)
"""Kinds of questions in the order of the matrix: what should change, then what must stay."""


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """One question: the unedited model's answer, and each candidate's pair, ``None`` where it failed."""

    before: Answer
    pairs: tuple[AnswerPair | None, ...]

    @property
    def question(self) -> Question:
        """The question."""
        return self.before.question


@dataclass(frozen=True, kw_only=True)
class MatrixGroup:
    """Questions of one kind with the share that holds: said, or unchanged for facts that must stay.

    `before` is the share of the unedited model's answers that name the expected object. `shares` has one value per
    candidate, ``None`` if it failed. Every share has its n and Wilson interval.
    """

    kind: QuestionKind
    label: str
    definition: str
    rows: tuple[MatrixRow, ...]
    before: MetricValue
    shares: tuple[MetricValue | None, ...]

    @property
    def best(self) -> int | None:
        """The candidate whose interval lies above all the others'; ``None`` where intervals overlap."""
        return apart(self.shares, better="higher")


@dataclass(frozen=True, kw_only=True)
class AnswerMatrix:
    """All groups that were asked; `labels` names the candidates, in the order of each row's pairs."""

    labels: tuple[str, ...]
    groups: tuple[MatrixGroup, ...]

    @property
    def n_question(self) -> int:
        """Number of questions."""
        return sum(len(group.rows) for group in self.groups)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"labels": list(self.labels), "groups": [self._group(group) for group in self.groups]}

    def _group(self, group: MatrixGroup) -> dict[str, Any]:
        shares = zip(self.labels, group.shares, strict=True)
        return {
            "kind": group.kind.value,
            "label": group.label,
            "definition": group.definition,
            "before": group.before.to_json(),
            "shares": {label: None if share is None else share.to_json() for label, share in shares},
            "rows": [
                {
                    "before": row.before.to_json(),
                    "pairs": {
                        label: None if pair is None else {**pair.to_json(), "before": None}
                        for label, pair in zip(self.labels, row.pairs, strict=True)
                    },
                }
                for row in group.rows
            ],
        }


def answer_matrix(comparison: EditorComparison) -> AnswerMatrix:
    """Arrange the answers of a comparison by group of questions, question and candidate.

    A question without an expected answer is left out: it has no verdict.
    """
    asked = [(number, answer) for number, answer in enumerate(comparison.before) if answer.question.expected]
    groups = []
    for kind in GROUPS:
        rows = [_row(comparison, number, answer) for number, answer in asked if answer.question.kind is kind]
        if rows:
            label, definition = KINDS[kind]
            groups.append(
                MatrixGroup(
                    kind=kind,
                    label=label,
                    definition=definition,
                    rows=tuple(rows),
                    before=share_value(sum(row.before.says for row in rows), len(rows)),
                    shares=tuple(_share(rows, column) for column in range(len(comparison.results))),
                )
            )
    labels = tuple(outcome.candidate.label for outcome in comparison.results)
    return AnswerMatrix(labels=labels, groups=tuple(groups))


def _row(comparison: EditorComparison, number: int, before: Answer) -> MatrixRow:
    results = (outcome.comparison for outcome in comparison.results)
    pairs = tuple(None if found is None else found.pairs[number] for found in results)
    return MatrixRow(before=before, pairs=pairs)


def _share(rows: Sequence[MatrixRow], column: int) -> MetricValue | None:
    pairs = [pair for row in rows if (pair := row.pairs[column]) is not None]
    return share_value(sum(pair.holds is True for pair in pairs), len(pairs)) if pairs else None
