"""Answers, comparisons and told answers as plain JSON values, for the results that are kept."""

from __future__ import annotations

from typing import Any

import msgspec

from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding
from kgmet.measure.compare import AnswerPair, Comparison
from kgmet.measure.told import Told

__all__ = ["comparison_from_json", "comparison_to_json", "decoding_from_json", "told_from_json", "told_to_json"]


def comparison_to_json(comparison: Comparison) -> list[list[dict[str, Any]]]:
    """Return the pairs, each as its two answers."""
    return [[pair.before.to_json(), pair.after.to_json()] for pair in comparison.pairs]


def comparison_from_json(data: Any) -> Comparison:
    """Read what `comparison_to_json` made.

    Raises:
        ValueError: if it is something else.
    """
    pairs = []
    for before, after in data:
        pair = AnswerPair(before=Answer.from_json(before), after=Answer.from_json(after))
        if pair.before.question != pair.after.question:
            raise ValueError("two answers to different questions are paired")
        pairs.append(pair)
    return Comparison(pairs=tuple(pairs))


def told_to_json(told: Told | None) -> dict[str, Any] | None:
    """Return the told sentences and the answers."""
    if told is None:
        return None
    return {"sentences": list(told.sentences), "answers": [answer.to_json() for answer in told.answers]}


def told_from_json(data: Any) -> Told | None:
    """Read what `told_to_json` made.

    Raises:
        KeyError, ValueError: if it is something else.
    """
    if data is None:
        return None
    sentences = msgspec.convert(data["sentences"], tuple[str, ...])
    return Told(sentences=sentences, answers=tuple(Answer.from_json(answer) for answer in data["answers"]))


def decoding_from_json(data: Any) -> Decoding:
    """Read a `Decoding` from its fields.

    Raises:
        ValueError: if it is something else.
    """
    return msgspec.convert(data, Decoding)
