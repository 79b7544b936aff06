"""`locate`: token positions of subject and target, from the tokenizer's character offsets.

Encoding pieces and subtracting lengths would be wrong for BOS tokens, merged blanks and subjects inside words.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from kgmet.base.errors import EmptyTextError, SubjectNotFoundError, TextError
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.encoding import ChatText, Encoded, encode_texts, shortened

__all__ = ["EditSpan", "LookupToken", "Phrase", "join_answer", "locate", "locate_all"]


@dataclass(frozen=True, kw_only=True)
class LookupToken:
    """The token whose state is edited: its unpadded `position`, from 0, and its `text`."""

    position: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A text to locate: ``prefix + template`` with the subject at ``{}``, then the target if there is one.

    A template without ``{}`` has no subject; its last token is the lookup token.
    """

    template: str
    subject: str = ""
    prefix: str = ""
    target: str | None = None

    @property
    def prompt(self) -> str:
        """Prefix and template with the subject in place."""
        return self.prefix + self.template.replace("{}", self.subject)


@dataclass(frozen=True, kw_only=True)
class EditSpan:
    """A located text. Ranges are token positions, unpadded, from 0; `n_prompt` tokens come before the target."""

    text: str
    input_ids: tuple[int, ...]
    subject: range
    lookup: LookupToken
    target: range | None

    @property
    def n_prompt(self) -> int:
        """Number of tokens before the target."""
        return len(self.input_ids) if self.target is None else self.target.start

    @property
    def target_ids(self) -> tuple[int, ...]:
        """Tokens of the target, empty without one."""
        return () if self.target is None else self.input_ids[self.target.start : self.target.stop]


def join_answer(prompt: str, answer: str) -> str:
    """Join prompt and answer with a blank, or without one in scripts that use none."""
    if not prompt or prompt[-1].isspace() or (_is_wide(prompt[-1]) and _is_wide(answer[:1])):
        return prompt + answer
    return f"{prompt} {answer}"


def locate(lm: LoadedLM, phrase: Phrase) -> EditSpan:
    """Locate one text; see `locate_all`."""
    return locate_all(lm, [phrase])[0]


def locate_all(lm: LoadedLM, phrases: Sequence[Phrase]) -> list[EditSpan]:
    """Locate subject, lookup token and target in the tokens of each text.

    Raises:
        SubjectNotFoundError: if the subject has no token of its own.
        EmptyTextError: if a target has no token of its own after the prompt.
        TextError: as `encode_texts`, or if one token spans the end of the subject and the start of the answer.
    """
    for phrase in phrases:
        if phrase.target is not None and not phrase.target.strip():
            raise EmptyTextError(f"The answer after {phrase.prompt!r} is empty. Type some text.")
    if not phrases:
        return []
    texts = [p.prompt if p.target is None else join_answer(p.prompt, p.target) for p in phrases]
    texts = [
        ChatText(
            text,
            message=phrase.template.message.replace("{}", phrase.subject),
            n_template=len(phrase.prompt),
        )
        if isinstance(phrase.template, ChatText)
        else text
        for phrase, text in zip(phrases, texts, strict=True)
    ]
    encoded = encode_texts(lm, texts)
    return [_span(*each) for each in zip(phrases, texts, encoded, strict=True)]


def _span(phrase: Phrase, text: str, encoded: Encoded) -> EditSpan:
    offsets = encoded.offsets
    n_char = len(phrase.prompt)
    own = [position for position, (start, end) in enumerate(offsets) if end > start]
    in_prompt = [position for position in own if offsets[position][0] < n_char and offsets[position][1] <= n_char]
    target = None
    if phrase.target is not None:
        positions = [position for position in own if offsets[position][1] > n_char]
        if not positions:
            raise EmptyTextError(f"The answer {phrase.target!r} has no token of its own after {phrase.prompt!r}.")
        target = range(positions[0], positions[-1] + 1)
    if "{}" in phrase.template:
        first = len(phrase.prefix) + phrase.template.index("{}")
        last = first + len(phrase.subject)
        covering = [position for position in own if offsets[position][1] > first and offsets[position][0] < last]
        if not covering:
            raise SubjectNotFoundError(
                f"Subject {phrase.subject!r} has no token of its own in {phrase.prompt!r}. Write it differently."
            )
        subject = range(covering[0], covering[-1] + 1)
    else:
        if not in_prompt:
            raise EmptyTextError(f"The prompt {phrase.prompt!r} has no token.")
        subject = range(in_prompt[-1], in_prompt[-1] + 1)
    start, end = offsets[subject.stop - 1]
    if target is not None and subject.stop > target.start:
        raise TextError(
            f"In {shortened(text)!r} the token {text[start:end]!r} holds both the end of the subject and the beginning "
            "of the answer. Put a word or a blank between them."
        )
    lookup = LookupToken(position=subject.stop - 1, text=text[start:end])
    return EditSpan(text=text, input_ids=encoded.ids, subject=subject, lookup=lookup, target=target)


def _is_wide(character: str) -> bool:
    return bool(character) and unicodedata.east_asian_width(character) in ("W", "F")
