"""`encode_texts`: tokenisation for every kind of tokenizer, in which user text never becomes control tokens.

A tokenizer reads ``</s>`` in a text as its control token, may append an end token to every text, and may know tokens
that the model has no row for. All of that is handled here and nowhere else.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kgmet.base.errors import TextError
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["ChatText", "Encoded", "encode_texts", "room_after", "shortened"]


class ChatText(str):
    """A filled chat template: its own control tokens are kept, those in `message` and after it are plain text.

    `n_template` is the number of characters before an appended answer.
    """

    message: str
    n_template: int

    def __new__(cls, text: str, *, message: str, n_template: int | None = None) -> ChatText:
        """Store which part of the text is user data."""
        made = super().__new__(cls, text)
        made.message = message
        made.n_template = len(text) if n_template is None else n_template
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, object]]:
        """Keep the message in copies and pickles."""
        return (str(self),), {"message": self.message, "n_template": self.n_template}


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A text's tokens with their character ranges; (n, n) for a token that the tokenizer added."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


def encode_texts(lm: LoadedLM, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[Encoded]:
    """Tokenise each text, with the tokenizer's leading special tokens and without its trailing ones.

    Args:
        lm: the model.
        texts: treated as data throughout, except the template of a `ChatText`.
        add_special_tokens: whether the tokenizer adds its leading tokens.

    Raises:
        TextError: if a text is longer than the model reads, has a token unknown to the model, or contains a control
            token that the tokenizer cannot read as plain text.
    """
    if not texts:
        return []
    tokenized = _tokenized(lm.tokenizer, texts, add_special_tokens=add_special_tokens)
    control = lm.control_tokens
    return [
        _checked(lm, text, _without_end(lm, _as_data(lm, text, encoded, control, add_special_tokens), control))
        for text, encoded in zip(texts, tokenized, strict=True)
    ]


def room_after(lm: LoadedLM, n_token: int) -> int:
    """Return how many tokens can still be generated after so many."""
    return max(0, lm.context - n_token)


def _tokenized(tokenizer: Any, texts: Sequence[str], *, add_special_tokens: bool) -> list[Encoded]:
    encoded = tokenizer(
        [str(text) for text in texts], return_offsets_mapping=True, add_special_tokens=add_special_tokens
    )
    return [
        Encoded(ids=tuple(ids), offsets=tuple((int(first), int(last)) for first, last in offsets))
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def _as_data(lm: LoadedLM, text: str, encoded: Encoded, control: frozenset[int], add_special_tokens: bool) -> Encoded:
    """Tokenise the text again, in pieces, if a control token was found in user data."""
    data = _data_of(text)
    if not _held(lm, text, encoded, data):
        return encoded
    # A tokenizer's options are shared between threads, so a copy is used.
    plain = copy.deepcopy(lm.tokenizer)
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    edges = sorted({0, len(text), *(edge for part in data for edge in part)})
    for begin, end in itertools.pairwise(edges):
        is_first = add_special_tokens and not begin
        if (begin, end) in data:
            piece = _plain(plain, text[begin:end], add_special_tokens=is_first)
        else:
            piece = _tokenized(lm.tokenizer, [text[begin:end]], add_special_tokens=is_first)[0]
        piece = _without_end(lm, piece, control)
        ids += piece.ids
        offsets += [(first + begin, last + begin) for first, last in piece.offsets]
    again = Encoded(ids=tuple(ids), offsets=tuple(offsets))
    held = _held(lm, text, again, data)
    if held:
        raise TextError(
            f"The text {shortened(text)!r} holds {text[held[0][0] : held[0][1]]!r}, which {lm.name} reads as a control "
            "token only. Write it otherwise."
        )
    return again


def _data_of(text: str) -> list[tuple[int, int]]:
    """Return the user-data parts of a text as (first, last) character positions."""
    if not isinstance(text, ChatText):
        return [(0, len(text))]
    message = text.message.strip()  # as most templates do
    begin = text.find(message)
    if begin < 0:
        raise TextError(f"The model's chat template does not hold the message {shortened(message)!r} as it is.")
    parts = [(begin, begin + len(message)), (text.n_template, len(text))]
    return [(first, last) for first, last in parts if last > first]


def _held(lm: LoadedLM, text: str, encoded: Encoded, data: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the positions of control tokens in user data; the unknown token counts only if it was typed."""
    control, unknown, name = lm.control_tokens, lm.tokenizer.unk_token_id, lm.tokenizer.unk_token
    return [
        (first, last)
        for token, (first, last) in zip(encoded.ids, encoded.offsets, strict=True)
        if last > first
        and (token in control or (token == unknown and text[first:last].strip() == name))
        and any(first < end and last > begin for begin, end in data)
    ]


def _plain(tokenizer: Any, text: str, *, add_special_tokens: bool) -> Encoded:
    encoded = tokenizer(
        text, return_offsets_mapping=True, add_special_tokens=add_special_tokens, split_special_tokens=True
    )
    offsets = tuple((int(first), int(last)) for first, last in encoded["offset_mapping"])
    return Encoded(ids=tuple(encoded["input_ids"]), offsets=offsets)


def _without_end(lm: LoadedLM, encoded: Encoded, control: frozenset[int]) -> Encoded:
    """Drop control tokens after the last token of the text, because nothing can follow an end token."""
    n = len(encoded.ids)
    has_text = any(last > first for first, last in encoded.offsets)
    begin = lm.tokenizer.bos_token_id
    while n and encoded.ids[n - 1] in control and encoded.offsets[n - 1][0] == encoded.offsets[n - 1][1]:
        if not has_text and encoded.ids[n - 1] == begin:
            break
        n -= 1
    return Encoded(ids=encoded.ids[:n], offsets=encoded.offsets[:n])


def _checked(lm: LoadedLM, text: str, encoded: Encoded) -> Encoded:
    if len(encoded.ids) > lm.context:
        raise TextError(
            f"The text {shortened(text)!r} has {len(encoded.ids):,} tokens; {lm.name} reads at most {lm.context:,} "
            "here. Shorten it."
        )
    for token, (first, last) in zip(encoded.ids, encoded.offsets, strict=True):
        if not 0 <= token < lm.n_token:
            raise TextError(
                f"The tokenizer of {lm.name} makes token {token} of {text[first:last] or shortened(text)!r}, and the "
                f"model has {lm.n_token:,} tokens. Leave it out, or use the tokenizer that belongs to the model."
            )
    return encoded


def shortened(text: str, longest: int = 60) -> str:
    """Shorten a text for a message."""
    return text if len(text) <= longest else text[: longest - 2] + " …"
