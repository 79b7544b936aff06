"""`Answer`: a model's answer to one question, and the likelihood of the expected and the rejected answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.lm.say.score import AnswerScore, NextToken
from kgmet.measure.question import Form, Question
from kgmet.measure.verdict import FAINT_RANK, Verdict, judged_text, names_only, prefers

__all__ = ["Answer", "probability_text"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A model's answer to one question.

    `said` is the generated text and `form` the form of the question. `expected` and `rejected` are the scores of those
    answers in this form, ``None`` if there is none. `top` are the likeliest next tokens.
    """

    question: Question
    said: str
    form: Form
    expected: AnswerScore | None = None
    rejected: AnswerScore | None = None
    top: tuple[NextToken, ...] = ()

    @property
    def text(self) -> str:
        """The part of the generated text that counts as the answer."""
        return judged_text(self.said, self.form, (*self.question.expected_names, *self.question.rejected_names))

    @property
    def says(self) -> bool:
        """Whether the answer names the expected object and not the rejected one. An empty answer never does."""
        return names_only(self.text, self.question.expected_names, self.question.rejected_names)

    @property
    def says_rejected(self) -> bool:
        """Whether the answer names the rejected object and not the expected one."""
        return names_only(self.text, self.question.rejected_names, self.question.expected_names)

    @property
    def prefers(self) -> bool | None:
        """Whether the expected answer is likelier per token than the rejected one; ``None`` without both."""
        return None if self.expected is None or self.rejected is None else prefers(self.expected, self.rejected)

    @property
    def verdict(self) -> Verdict | None:
        """The verdict; ``None`` if nothing is expected."""
        if self.question.expected is None:
            return None
        return Verdict.SAYS if self.says else Verdict.PREFERS if self.prefers else Verdict.NO

    @property
    def is_faint(self) -> bool:
        """Whether the expected answer is only preferred and its first token ranks low."""
        return self.verdict is Verdict.PREFERS and self.expected is not None and self.expected.rank > FAINT_RANK

    @property
    def p_expected(self) -> float | None:
        """Probability of the whole expected answer, in [0, 1]."""
        return None if self.expected is None else self.expected.probability

    @property
    def p_rejected(self) -> float | None:
        """Probability of the whole rejected answer, in [0, 1]."""
        return None if self.rejected is None else self.rejected.probability

    def __str__(self) -> str:
        """Return the answer, followed by probabilities and verdict in brackets if an answer is expected."""
        parts = []
        if self.expected is not None:
            parts.append(f"expected {probability_text(self.expected.probability)}, rank {self.expected.rank}")
        if self.rejected is not None:
            parts.append(f"rejected {probability_text(self.rejected.probability)}")
        if self.verdict is not None:
            parts.append(self.verdict.words + (", faintly" if self.is_faint else ""))
        return f"{self.said.strip()!r}" + (f"   ({'; '.join(parts)})" if parts else "")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, with the verdict, probabilities and log-probabilities per token written out."""
        return {
            **plain(self),
            "verdict": None if self.verdict is None else self.verdict.value,
            "is_faint": self.is_faint,
            "expected": _score_to_json(self.expected),
            "rejected": _score_to_json(self.rejected),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Answer:
        """Read what `to_json` made; verdicts are computed again.

        Raises:
            BrokenArtifactError: if the mapping is not an answer.
        """
        return value_from(cls, data, "This is not a saved answer", advice="Ask again with this version.")


def probability_text(value: float) -> str:
    """Format a probability: 0.7312, or 7.3e-10 if four decimals would be 0."""
    return f"{value:.4f}" if value >= 0.001 or value == 0 else f"{value:.1e}"


def _score_to_json(score: AnswerScore | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return asdict(score) | {"probability": score.probability, "logprob_per_token": score.mean_logprob}
