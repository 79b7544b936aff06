"""`EditVerdict`: whether an edit took, in three steps, with reasons for a failure where known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.measure.answer import Answer
from kgmet.measure.verdict import names_only

__all__ = ["EditVerdict", "Outcome", "Reason", "judge_edit"]


class Outcome(Enum):
    """Outcome of an edit, by the greedy answer to its own prompt."""

    TOOK = "took"
    """The greedy answer names the new object."""
    LIKELIER = "likelier, but not what it says"
    """The new object is likelier per token than the old one (or than before, without one), but is not said."""
    NOT = "did not take"
    """The new object is neither said nor preferred."""


class Reason(Enum):
    """Reason why an edit did not take, or why its success proves little. The value is the displayed sentence."""

    FIRST_TOKEN = (
        "The subject is the first token of the prompt, and this tokenizer puts no token before it. "
        "Its state is that of every text's beginning, so an edit of it can spoil other answers. "
        "Write some words before the subject."
    )
    QUESTION = "The prompt is a question. Write it as a sentence that the object completes."
    NEVER_KNEW = "The unedited model does not answer with the old object, so there was no fact to replace."
    STEPS_USED = "The search used all its steps before the new object was likely enough. Allow more steps."
    LENGTH_LIMIT = "The search stopped at its length limit. Allow a longer shift, or edit a lower layer."
    EMPTY = "The model ends its text at once after this prompt."
    BOTH_NAMED = "The answer names the old object too."
    SAID_BEFORE = "The unedited model already says the new object."

    @classmethod
    def _missing_(cls, value: object) -> Reason | None:
        """Find a reason by its name, by which files hold it: sentences may be reworded."""
        return cls.__members__.get(str(value))

    @property
    def brief(self) -> str:
        """The reason in a few words, for a headline."""
        return _BRIEF[self]


_BRIEF = {
    Reason.FIRST_TOKEN: "the subject is the first token of the text",
    Reason.QUESTION: "the prompt is a question",
    Reason.NEVER_KNEW: "the model never knew the old fact",
    Reason.STEPS_USED: "the search ran out of steps",
    Reason.LENGTH_LIMIT: "the shift reached its length limit",
    Reason.EMPTY: "the model ends its text at once",
    Reason.BOTH_NAMED: "the answer names both objects",
    Reason.SAID_BEFORE: "the model said so before",
}


@dataclass(frozen=True, kw_only=True)
class EditVerdict:
    """Outcome of one edit, with reasons.

    `says` is the model's present continuation. `reasons` are listed most important first.
    """

    outcome: Outcome
    prompt: str
    new: str
    says: str
    reasons: tuple[Reason, ...] = ()

    @property
    def headline(self) -> str:
        """Summary in plain text; of an edit that did not take, with the reason found."""
        said = f"“{self.says}”" if self.says else "nothing"
        if self.outcome is Outcome.TOOK:
            return f"The edit took: “{self.prompt}” now goes on with {said}."
        if self.outcome is Outcome.LIKELIER:
            what = f"{self.new} is likelier now, but not what the model says: “{self.prompt}” goes on with {said}."
        else:
            what = f"The edit did not take: “{self.prompt}” goes on with {said}, not with {self.new}."
        return f"{what} {self.why}".rstrip()

    @property
    def why(self) -> str:
        """The first reason for a failure as a sentence; empty if the edit took or no reason was found."""
        if self.outcome is Outcome.TOOK or not self.reasons:
            return ""
        return f"Reason found: {self.reasons[0].brief}."

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, including the headline."""
        return {**plain(self), "reasons": [reason.name for reason in self.reasons], "headline": self.headline}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EditVerdict:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if the mapping is not a verdict.
        """
        return value_from(cls, data, "This is not a saved verdict", advice="Make the edit again.")


def judge_edit(before: Answer, after: Answer, *, search: Sequence[Reason] = ()) -> EditVerdict:
    """Judge an edit by the answers to its own prompt before and after.

    Args:
        before: the unedited model's answer; the question expects the new object and rejects the old one.
        after: the answer to the same question with the edit.
        search: reasons from the search itself (`Reason.FIRST_TOKEN`, `STEPS_USED`, `LENGTH_LIMIT`).
    """
    outcome = _outcome(before, after)
    question = after.question
    reasons: list[Reason] = []
    if outcome is Outcome.TOOK:
        reasons += [Reason.SAID_BEFORE] if before.says else []
        reasons += [Reason.FIRST_TOKEN] if Reason.FIRST_TOKEN in search else []
    else:
        found = {
            Reason.EMPTY: not after.text,
            Reason.BOTH_NAMED: _names_both(after),
            Reason.FIRST_TOKEN: Reason.FIRST_TOKEN in search,
            Reason.QUESTION: question.text.rstrip().endswith("?"),
            Reason.LENGTH_LIMIT: Reason.LENGTH_LIMIT in search,
            Reason.STEPS_USED: Reason.STEPS_USED in search,
            Reason.NEVER_KNEW: question.rejected is not None and not before.says_rejected,
        }
        reasons += [reason for reason, is_so in found.items() if is_so]
    return EditVerdict(
        outcome=outcome,
        prompt=question.text,
        new=question.expected or "",
        says=" ".join(after.said.split()),
        reasons=tuple(reasons),
    )


def _outcome(before: Answer, after: Answer) -> Outcome:
    if after.says:
        return Outcome.TOOK
    if after.expected is None or before.expected is None:
        return Outcome.NOT
    is_likelier = after.expected.mean_logprob > before.expected.mean_logprob if after.prefers is None else after.prefers
    return Outcome.LIKELIER if is_likelier else Outcome.NOT


def _names_both(answer: Answer) -> bool:
    names = answer.question.expected_names, answer.question.rejected_names
    return all(names_only(answer.text, wanted) for wanted in names)
