"""Comparisons as plain JSON values, for the results that are kept."""

from __future__ import annotations

from typing import Any

from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair, Comparison

__all__ = ["comparison_from_json", "comparison_to_json"]


def comparison_to_json(comparison: Comparison) -> list[list[dict[str, Any]]]:
    """Return the pairs, each as its two answers."""
    return [[plain(pair.before), plain(pair.after)] for pair in comparison.pairs]


def comparison_from_json(data: Any) -> Comparison:
    """Read what `comparison_to_json` made.

    Raises:
        ValueError: if it is something else.
    """
    pairs = value_from(tuple[tuple[Answer, Answer], ...], data, "These are no pairs of answers")
    if any(before.question != after.question for before, after in pairs):
        raise ValueError("two answers to different questions are paired")
    return Comparison(pairs=tuple(AnswerPair(before=before, after=after) for before, after in pairs))
