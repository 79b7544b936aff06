"""`Counts` by column: how many prompts of a kind prefer the expected answer and how many give it first, and one score.

Four columns say what an edit is worth: it holds (efficacy), in other words (paraphrase), leaves other subjects alone
(neighbour), and carries what follows from it (consequence).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kgmet.base.values import value_from
from kgmet.measure.compare import AnswerPair
from kgmet.measure.metrics import harmonic_mean, wilson_interval
from kgmet.measure.question import QuestionKind

__all__ = ["COLUMNS", "Columns", "Counts", "column_of", "count_pairs", "score_of", "summed"]

COLUMNS = ("efficacy", "paraphrase", "neighbour", "consequence")
"""The kinds of prompt that an edit is judged by, in the order of the tables."""
_COLUMN = {
    QuestionKind.REWRITE: "efficacy",
    QuestionKind.PARAPHRASE: "paraphrase",
    QuestionKind.NEIGHBOUR: "neighbour",
    QuestionKind.CONSEQUENCE: "consequence",
}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of `n` prompts, how many prefer the expected answer, and how many give it as the first answer."""

    n: int
    preferred: int
    first: int

    def __post_init__(self) -> None:
        """Check that these are counts."""
        if not 0 <= max(self.preferred, self.first) <= self.n or min(self.preferred, self.first) < 0:
            raise ValueError(f"of {self.n} prompts {self.preferred} cannot be preferred and {self.first} first")

    def __add__(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(n=self.n + other.n, preferred=self.preferred + other.preferred, first=self.first + other.first)

    def __str__(self) -> str:
        """Return ``90 / 70 % (n 20, preferred 70–97 %)``."""
        if not self.n:
            return "not measured"
        low, high = wilson_interval(self.preferred, self.n)
        shares = f"{100 * self.preferred / self.n:.0f} / {100 * self.first / self.n:.0f} %"
        return f"{shares} (n {self.n}, preferred {100 * low:.0f}–{100 * high:.0f} %)"

    def to_json(self) -> dict[str, int]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Counts:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if these are no counts.
        """
        return value_from(cls, data, "These are no counts of prompts")


Columns = Mapping[str, Counts]
"""Counts by column; what was not measured is left out."""


def column_of(kind: QuestionKind) -> str | None:
    """Return the column a kind of question belongs to."""
    return _COLUMN.get(kind)


def count_pairs(pairs: Iterable[AnswerPair]) -> dict[str, Counts]:
    """Return counts by column of questions asked before and after.

    *Preferred*: the expected answer is likelier per token than the rejected one. *First*: the model says it; of a
    neighbour also where it says what it said before. Questions without both answers are left out.
    """
    found: dict[str, Counts] = {}
    for pair in pairs:
        column, prefers = column_of(pair.after.question.kind), pair.after.prefers
        if column is not None and prefers is not None:
            one = Counts(n=1, preferred=int(prefers), first=int(pair.holds is True))
            found[column] = found[column] + one if column in found else one
    return found


def summed(columns: Iterable[Columns]) -> dict[str, Counts]:
    """Return the counts of several edits together, in the order of `COLUMNS`."""
    rows = list(columns)
    return {
        kind: sum((row[kind] for row in rows if kind in row), Counts(n=0, preferred=0, first=0))
        for kind in COLUMNS
        if any(kind in row for row in rows)
    }


def score_of(columns: Columns) -> float:
    """Return the harmonic mean, over four columns, of the mean of preferred and first share; 0 if one is missing."""
    if any(kind not in columns or not columns[kind].n for kind in COLUMNS):
        return 0.0
    found = [columns[kind] for kind in COLUMNS]
    return harmonic_mean([(counts.preferred + counts.first) / (2 * counts.n) for counts in found])
