"""`ShiftProblem`: what a shift of one edit's hidden state is to achieve, prompt by prompt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kgmet.fact import FactEdit
from kgmet.lm.run.spans import Phrase

__all__ = ["SearchPrompt", "ShiftProblem", "Term"]


class Term(Enum):
    """Which part of the objective a prompt belongs to."""

    REWRITE = "rewrite"
    """The new object must follow: the edit's own prompt in its contexts, and other wordings of the same relation."""
    CONSEQUENCE = "consequence"
    """What follows from the new fact must follow."""
    KEPT = "kept"
    """A fact of the subject that must not change: the distribution of the next token is held."""
    ANCHOR = "anchor"
    """"{} is a": what the subject is must not change; the distribution of the next token is held."""


@dataclass(frozen=True, kw_only=True)
class SearchPrompt:
    """One prompt with what it is for. `answer` is needed for REWRITE and CONSEQUENCE and unused otherwise.

    `subject` is how the subject reads in this sentence ("the Eiffel Tower"), where that differs from the edit's text.
    """

    term: Term
    template: str
    answer: str | None = None
    prefix: str = ""
    subject: str | None = None

    @property
    def wants_answer(self) -> bool:
        """Whether an answer is to become likely, rather than a distribution to stay."""
        return self.term in (Term.REWRITE, Term.CONSEQUENCE)

    def phrase(self, subject: str) -> Phrase:
        """To be located in the tokens."""
        target = self.answer if self.wants_answer else None
        return Phrase(template=self.template, subject=self.subject or subject, prefix=self.prefix, target=target)


@dataclass(frozen=True, kw_only=True)
class ShiftProblem:
    """One edit and its prompts; the first prompt is the bare rewriting prompt."""

    edit: FactEdit
    prompts: tuple[SearchPrompt, ...]

    def of(self, term: Term) -> tuple[SearchPrompt, ...]:
        """The prompts of one term."""
        return tuple(prompt for prompt in self.prompts if prompt.term is term)
