"""`Question`: a text for the model, its form, and the expected answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kgmet.base.errors import EmptyTextError
from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.graph.reading.probe_prompts import GeneratedPrompt

__all__ = ["Form", "Question", "QuestionKind"]


_ADVICE = "Ask again with this version."


class Form(Enum):
    """Form of a question. Text, probabilities, rank and verdict always refer to the same form."""

    CLOZE = "cloze"
    """A text to continue, unchanged."""
    CHAT = "chat"
    """A user message in the model's chat template; ``Q: … A:`` if the tokenizer has none."""
    QUESTION_AND_ANSWER = "question-and-answer"
    """``Q: … A:``."""


class QuestionKind(Enum):
    """Purpose of a question."""

    REWRITE = "rewrite"
    """The edit's own prompt."""
    PARAPHRASE = "paraphrase"
    """A paraphrase of the fact."""
    CONSEQUENCE = "consequence"
    """A consequence of the edit, as a cloze."""
    MULTI_HOP = "multi_hop"
    """A consequence of the edit, as a question over 2 to 4 hops that names the edit's subject."""
    LATER_HOP = "later_hop"
    """A chain with the edited fact as a later hop; the edit's subject stays implicit."""
    INVERSE = "inverse"
    """The inverse fact."""
    NEIGHBOUR = "neighbour"
    """The same relation of another subject, which must not change."""
    CONTROL = "control"
    """Another fact of the subject, which must not change."""
    OWN = "own"
    """Typed by the user, without an expected answer."""

    @property
    def should_stay(self) -> bool:
        """Whether the edit must not change the answer."""
        return self in (QuestionKind.NEIGHBOUR, QuestionKind.CONTROL)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question; after the edit the model should say `expected` and not `rejected`.

    For a fact that must stay, `expected` is the true object and `rejected` the edit's new one. `aliases` and
    `rejected_aliases` are other names of the two. `path` lists in words the facts behind the expectation.
    """

    kind: QuestionKind
    text: str
    form: Form = Form.CLOZE
    expected: str | None = None
    rejected: str | None = None
    aliases: tuple[str, ...] = ()
    rejected_aliases: tuple[str, ...] = ()
    hops: int = 1
    path: str = ""
    source_id: str = ""

    def __post_init__(self) -> None:
        """Refuse a blank text."""
        if not self.text.strip():
            raise EmptyTextError("The question is empty. Type a text for the model to continue or to answer.")

    @property
    def is_cloze(self) -> bool:
        """Whether the text is continued, not answered."""
        return self.form is Form.CLOZE

    @property
    def expected_names(self) -> tuple[str, ...]:
        """All names of the expected answer; empty if nothing is expected."""
        return () if self.expected is None else (self.expected, *self.aliases)

    @property
    def rejected_names(self) -> tuple[str, ...]:
        """All names of the rejected answer that are not names of the expected one."""
        expected = {name.casefold() for name in self.expected_names}
        found = () if self.rejected is None else (self.rejected, *self.rejected_aliases)
        return tuple(name for name in found if name.casefold() not in expected)

    @classmethod
    def typed(
        cls, text: str, *, expected: str | None = None, rejected: str | None = None, form: Form | None = None
    ) -> Question:
        """Make a question from typed text: asked in chat if it ends in a question mark, else continued."""
        form = form or (Form.CHAT if text.rstrip().endswith(("?", "？")) else Form.CLOZE)
        return cls(kind=QuestionKind.OWN, text=text, form=form, expected=expected, rejected=rejected)

    @classmethod
    def from_generated(cls, made: GeneratedPrompt) -> Question:
        """Make a question from a generated probe."""
        return cls(
            kind=QuestionKind(made.kind),
            text=made.text,
            form=Form.CHAT if made.form == "question" else Form.CLOZE,
            expected=made.expected,
            rejected=made.rejected,
            aliases=made.aliases,
            rejected_aliases=made.rejected_aliases,
            hops=made.hops,
            path=" · ".join(str(triple) for triple in made.path),
            source_id=made.source_id,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dict(plain(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Question:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if the mapping is not a question.
        """
        return value_from(cls, data, "This is not a saved question", advice=_ADVICE, only_known=True)
