"""`EditorComparison`: effect and cost of several methods or settings on one edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kgmet.editing.config import EditConfig
from kgmet.editing.editors import Editor
from kgmet.editing.plan import EditPlan
from kgmet.fact import FactEdit
from kgmet.measure.answer import Answer
from kgmet.measure.compare import Comparison
from kgmet.measure.metrics import MetricValue, mean_value, share_value
from kgmet.measure.question import QuestionKind

__all__ = ["KINDS", "EditorComparison", "ComparisonRow", "Candidate", "CandidateResult", "apart"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One column of the comparison: a method with its settings, under a distinct label."""

    label: str
    editor: Editor
    config: EditConfig


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateResult:
    """Result of one candidate. `plan` and `comparison` are ``None`` if it failed, and `error` says why.

    A result loaded from disk has no plan either. `perplexity` is that of the short text with the edit on. `seconds` are
    wall-clock times by stage, without probing.
    """

    candidate: Candidate
    plan: EditPlan | None = None
    comparison: Comparison | None = None
    perplexity: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def answer(self) -> str:
        """The edited model's answer to the edit's prompt; empty if the candidate failed."""
        pairs = self.comparison.of(QuestionKind.REWRITE) if self.comparison is not None else ()
        return pairs[0].after.said.strip() if pairs else ""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One measure for all candidates: `better` is ``higher`` or ``lower``; a value is ``None`` if not measured."""

    key: str
    label: str
    definition: str
    unit: str
    better: str
    values: tuple[MetricValue | None, ...]

    @property
    def best(self) -> int | None:
        """The column whose interval lies apart from all the others on the better side; ``None`` if there is none."""
        return apart(self.values, better=self.better)


def apart(values: Sequence[MetricValue | None], *, better: str) -> int | None:
    """Return the place of the value whose 95 % interval lies wholly on the better side of every other's.

    ``None`` if intervals overlap, fewer than two values were measured, or one of them has no interval.
    """
    known = {place: item for place, item in enumerate(values) if item is not None and item.value is not None}
    intervals = {place: item.interval for place, item in known.items() if item.interval is not None}
    if len(known) < 2 or len(intervals) < len(known):
        return None
    is_higher = better == "higher"
    best = max(intervals, key=lambda place: intervals[place][0 if is_higher else 1] * (1 if is_higher else -1))
    low, high = intervals[best]
    others = [ends for place, ends in intervals.items() if place != best]
    is_apart = all(low > ends[1] if is_higher else high < ends[0] for ends in others)
    return best if is_apart else None


@dataclass(frozen=True, eq=False, kw_only=True)
class EditorComparison:
    """All candidates on one edit. `perplexity` is that of the short text of `n_token` tokens without the edit."""

    edit: FactEdit
    before: tuple[Answer, ...]
    perplexity: float
    n_token: int
    results: tuple[CandidateResult, ...]

    def rows(self) -> tuple[ComparisonRow, ...]:
        """Return the table, one measure per row, most important first."""
        found = [self._probability()]
        for kind, (label, definition) in KINDS.items():
            values = tuple(_share(outcome, kind) for outcome in self.results)
            if any(values):
                found.append(
                    ComparisonRow(
                        key=kind.value,
                        label=label,
                        definition=definition,
                        unit="share",
                        better="higher",
                        values=values,
                    )
                )
        return (*found, self._moved(), self._perplexity(), self._seconds())

    def _probability(self) -> ComparisonRow:
        def value(outcome: CandidateResult) -> MetricValue | None:
            pairs = outcome.comparison.of(QuestionKind.REWRITE) if outcome.comparison is not None else ()
            if not pairs or pairs[0].after.expected is None:
                return None
            return MetricValue(value=pairs[0].after.expected.probability, n=1, interval=None)

        return ComparisonRow(
            key="probability",
            label="Probability of the new object",
            definition="after the edit's own prompt",
            unit="probability",
            better="higher",
            values=tuple(value(outcome) for outcome in self.results),
        )

    def _moved(self) -> ComparisonRow:
        def value(outcome: CandidateResult) -> MetricValue | None:
            pairs = outcome.comparison.of(QuestionKind.NEIGHBOUR) if outcome.comparison is not None else ()
            moved = [
                abs(pair.after.expected.logprob - pair.before.expected.logprob)
                for pair in pairs
                if pair.before.expected is not None and pair.after.expected is not None
            ]
            return mean_value(moved) if moved else None

        return ComparisonRow(
            key="neighbours_moved",
            label="Neighbours moved",
            definition="mean change of the log-probability of neighbours' true answers, summed over their tokens",
            unit="nats",
            better="lower",
            values=tuple(value(outcome) for outcome in self.results),
        )

    def _perplexity(self) -> ComparisonRow:
        return ComparisonRow(
            key="perplexity",
            label="Perplexity of a short text",
            definition=f"{self.n_token} tokens; {self.perplexity:.3f} without the edit",
            unit="per token",
            better="lower",
            values=tuple(
                None
                if outcome.perplexity is None
                else MetricValue(value=outcome.perplexity, n=self.n_token, interval=None)
                for outcome in self.results
            ),
        )

    def _seconds(self) -> ComparisonRow:
        return ComparisonRow(
            key="seconds",
            label="Time",
            definition="search and write, wall clock on this machine, statistics left out",
            unit="s",
            better="lower",
            values=tuple(
                None
                if not outcome.seconds
                else MetricValue(
                    value=sum(value for stage, value in outcome.seconds.items() if stage != "statistics"),
                    n=1,
                    interval=None,
                )
                for outcome in self.results
            ),
        )


KINDS: Mapping[QuestionKind, tuple[str, str]] = {
    QuestionKind.REWRITE: ("Edit took", "the greedy answer to the edit's prompt names the new object, not the old one"),
    QuestionKind.PARAPHRASE: ("Paraphrases said", "the same in other words, never searched with"),
    QuestionKind.MULTI_HOP: (
        "Multi-hop questions said",
        "asked in the chat template where the model has one: the answer names the new end and not the old one",
    ),
    QuestionKind.CONSEQUENCE: ("Consequences said", "the greedy continuation names what follows, not what followed"),
    QuestionKind.INVERSE: ("Read backwards", "the greedy continuation names the mirror fact"),
    QuestionKind.NEIGHBOUR: (
        "Neighbours unchanged",
        "the same relation of other subjects: the answer is the unedited model's, or the true one",
    ),
    QuestionKind.CONTROL: (
        "Own facts unchanged",
        "other facts of the subject: the answer is the unedited model's, or the true one",
    ),
}
"""Kind of prompt → (label, definition of the count), in table order."""


def _share(outcome: CandidateResult, kind: QuestionKind) -> MetricValue | None:
    if outcome.comparison is None:
        return None
    verdicts = [pair.holds for pair in outcome.comparison.of(kind) if pair.holds is not None]
    return share_value(sum(verdicts), len(verdicts)) if verdicts else None
