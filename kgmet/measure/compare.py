"""`compare_answers`: answers before and after an edit, compared per question and per kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kgmet.measure.answer import Answer
from kgmet.measure.question import QuestionKind
from kgmet.measure.verdict import Verdict, first_clause

__all__ = ["AnswerPair", "Comparison", "KindSummary", "compare_answers", "is_unchanged"]


def is_unchanged(before: str, after: str) -> bool:
    """Return whether two greedy texts complete a cloze with the same words; empty ones never do."""
    said = first_clause(after)
    return bool(said) and said == first_clause(before)


@dataclass(frozen=True, kw_only=True)
class AnswerPair:
    """One question's answers with the patch off and on."""

    before: Answer
    after: Answer

    @property
    def verdict(self) -> Verdict | None:
        """The verdict after the edit; ``None`` if nothing is expected.

        For a fact that should change it is the answer's own verdict. For one that must stay it is *says* if the answer
        equals the unedited model's or names the true object, and *prefers* if the true object is only likelier than the
        edit's new one.
        """
        verdict = self.after.verdict
        if verdict is None or not self.after.question.kind.should_stay:
            return verdict
        return Verdict.SAYS if is_unchanged(self.before.text, self.after.text) else verdict

    @property
    def holds(self) -> bool | None:
        """Whether the edited model *says* what it should; ``None`` if nothing is expected."""
        return None if self.verdict is None else self.verdict is Verdict.SAYS

    @property
    def was_so_before(self) -> bool:
        """Whether the unedited model already says what is expected after the edit."""
        return self.holds is True and self.before.says

    @property
    def is_faint(self) -> bool:
        """Whether the expected answer is only preferred, from a rank beyond 100."""
        return self.verdict is Verdict.PREFERS and self.after.is_faint

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "verdict": None if self.verdict is None else self.verdict.value,
            "holds": self.holds,
            "was_so_before": self.was_so_before,
            "is_faint": self.is_faint,
        }


@dataclass(frozen=True, kw_only=True)
class KindSummary:
    """Counts for one kind of question: how many of `n` are said and only preferred, before and after.

    For a kind that must stay, `says_after` counts unchanged answers. `was_so_before` counts those of `says_after` that
    the unedited model says too.
    """

    kind: QuestionKind
    n: int
    says_before: int
    says_after: int
    prefers_before: int
    prefers_after: int
    was_so_before: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All answer pairs, in order."""

    pairs: tuple[AnswerPair, ...]

    def of(self, kind: QuestionKind) -> tuple[AnswerPair, ...]:
        """Return the pairs of one kind."""
        return tuple(pair for pair in self.pairs if pair.after.question.kind is kind)

    def summaries(self) -> tuple[KindSummary, ...]:
        """Return one summary per kind that occurs with an expectation, in the order of `QuestionKind`."""
        found = []
        for kind in QuestionKind:
            pairs = [pair for pair in self.of(kind) if pair.verdict is not None]
            if pairs:
                found.append(
                    KindSummary(
                        kind=kind,
                        n=len(pairs),
                        says_before=sum(pair.before.verdict is Verdict.SAYS for pair in pairs),
                        says_after=sum(pair.verdict is Verdict.SAYS for pair in pairs),
                        prefers_before=sum(pair.before.verdict is Verdict.PREFERS for pair in pairs),
                        prefers_after=sum(pair.verdict is Verdict.PREFERS for pair in pairs),
                        was_so_before=sum(pair.was_so_before for pair in pairs),
                    )
                )
        return tuple(found)

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain JSON values."""
        return [pair.to_json() for pair in self.pairs]


def compare_answers(before: Sequence[Answer], after: Sequence[Answer]) -> Comparison:
    """Pair answers by question.

    Raises:
        ValueError: if the two do not answer the same questions in the same order.
    """
    if [answer.question for answer in before] != [answer.question for answer in after]:
        raise ValueError("before and after must answer the same questions in the same order")
    return Comparison(pairs=tuple(AnswerPair(before=b, after=a) for b, a in zip(before, after, strict=True)))
