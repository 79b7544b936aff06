"""`ShiftProblem`: the prompts that define the objective of one edit's shift."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kgmet.fact import FactEdit
from kgmet.lm.run.spans import Phrase

__all__ = ["SearchPrompt", "ShiftProblem", "Term"]


class Term(Enum):
    """The loss term a prompt belongs to."""

    REWRITE = "rewrite"
    """The new object must follow: the edit's prompt in its contexts, and paraphrases."""
    CONSEQUENCE = "consequence"
    """A consequence of the new fact must follow."""
    KEPT = "kept"
    """A fact of the subject that must not change: the next-token distribution is preserved."""
    ANCHOR = "anchor"
    """"{} is a": the kind of the subject must not change; the next-token distribution is preserved."""


@dataclass(frozen=True, kw_only=True)
class SearchPrompt:
    """One prompt with its loss term. `answer` is required for REWRITE and CONSEQUENCE and unused otherwise.

    `subject` is the subject's name in this sentence ("the Eiffel Tower"), where that differs from the edit's text.
    """

    term: Term
    template: str
    answer: str | None = None
    prefix: str = ""
    subject: str | None = None

    @property
    def wants_answer(self) -> bool:
        """Whether an answer must become likely; otherwise a distribution must stay."""
        return self.term in (Term.REWRITE, Term.CONSEQUENCE)

    def phrase(self, subject: str) -> Phrase:
        """Return the phrase to locate in the tokens."""
        target = self.answer if self.wants_answer else None
        return Phrase(template=self.template, subject=self.subject or subject, prefix=self.prefix, target=target)


@dataclass(frozen=True, kw_only=True)
class ShiftProblem:
    """One edit and its prompts; the first prompt is the bare rewriting prompt."""

    edit: FactEdit
    prompts: tuple[SearchPrompt, ...]

    def of(self, term: Term) -> tuple[SearchPrompt, ...]:
        """Return the prompts of one term."""
        return tuple(prompt for prompt in self.prompts if prompt.term is term)
