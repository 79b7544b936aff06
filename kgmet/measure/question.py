"""`Question`: a text for the model, the form in which it is asked, and the answer that is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any

import msgspec

from kgmet.base.errors import BrokenArtifactError, EmptyTextError
from kgmet.graph.reading.probe_prompts import GeneratedPrompt

__all__ = ["Form", "Question", "QuestionKind"]


class Form(Enum):
    """How a question reaches the model. Text, probabilities, rank and verdict are always of the same form."""

    CLOZE = "cloze"
    """A text to continue, as it stands."""
    CHAT = "chat"
    """A message of a user, in the model's chat template; ``Q: … A:`` where the tokenizer has none."""
    QUESTION_AND_ANSWER = "question-and-answer"
    """``Q: … A:``."""


class QuestionKind(Enum):
    """What a question is for."""

    REWRITE = "rewrite"
    """The edit's own prompt."""
    PARAPHRASE = "paraphrase"
    """The same fact in other words."""
    CONSEQUENCE = "consequence"
    """What follows from the edit, as a cloze."""
    MULTI_HOP = "multi_hop"
    """What follows from the edit, as a question over 2 to 4 hops that names the edit's subject."""
    LATER_HOP = "later_hop"
    """A chain in which the edited fact comes later, and the edit's subject stays implicit."""
    INVERSE = "inverse"
    """The fact read backwards."""
    NEIGHBOUR = "neighbour"
    """The same relation of another subject: must not change."""
    CONTROL = "control"
    """Another fact of the subject: must not change."""
    OWN = "own"
    """Typed by a person, without an expectation of ours."""

    @property
    def should_stay(self) -> bool:
        """Whether the edit must leave the answer as it was."""
        return self in (QuestionKind.NEIGHBOUR, QuestionKind.CONTROL)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question: after the edit the model should say `expected` and not `rejected`.

    For a fact that must stay, `expected` is the true object and `rejected` the edit's new one. `aliases` and
    `rejected_aliases` are other names of the two. `path` says in words which facts the expectation rests on.
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
        """All names of the expected answer; empty where nothing is expected."""
        return () if self.expected is None else (self.expected, *self.aliases)

    @property
    def rejected_names(self) -> tuple[str, ...]:
        """All names of the rejected answer that are no name of the expected one."""
        expected = {name.casefold() for name in self.expected_names}
        found = () if self.rejected is None else (self.rejected, *self.rejected_aliases)
        return tuple(name for name in found if name.casefold() not in expected)

    @classmethod
    def typed(
        cls, text: str, *, expected: str | None = None, rejected: str | None = None, form: Form | None = None
    ) -> Question:
        """Make a question of what a person typed: asked in chat if it ends in a question mark, else continued."""
        form = form or (Form.CHAT if text.rstrip().endswith(("?", "？")) else Form.CLOZE)
        return cls(kind=QuestionKind.OWN, text=text, form=form, expected=expected, rejected=rejected)

    @classmethod
    def from_generated(cls, made: GeneratedPrompt) -> Question:
        """Return a question that was made from the graph."""
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
        row = {**asdict(self), "kind": self.kind.value, "form": self.form.value}
        return row | {"aliases": list(self.aliases), "rejected_aliases": list(self.rejected_aliases)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Question:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if the mapping is no question.
        """
        try:
            unknown = sorted(set(data) - {f.name for f in fields(cls)})
            if unknown:
                raise BrokenArtifactError(f"A question has no field {unknown[0]!r}. Ask again with this version.")
            return msgspec.convert(data, cls)
        except (ValueError, TypeError) as error:
            if isinstance(error, BrokenArtifactError):
                raise
            raise BrokenArtifactError(f"This is no question: {error}") from error
