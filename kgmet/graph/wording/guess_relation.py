"""Which relation a prompt speaks of, by its words and by what stands at its ends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from kgmet.graph.names import fold
from kgmet.graph.relations import RelationCatalogue, RelationSpec

__all__ = ["guess_relation"]

_STEM = 5
"""Letters by which words are compared: founded, founder and founding are one; country and continent are two."""
_LEAST = 0.1
"""Guesses below this are noise."""
_HELD, _OBJECT, _SUBJECT = 0.5, 0.3, 0.15
"""How much it counts that the subject has such a fact, and that the kinds of object and subject fit."""


def guess_relation(
    catalogue: RelationCatalogue,
    template: str,
    *,
    subject_relations: Collection[str] = (),
    subject_type: str = "",
    object_types: Collection[str] = (),
) -> tuple[tuple[RelationSpec, float], ...]:
    """Relations that `template` may express, with scores in [0, 1], best first; those far from it are left out.

    The score is the overlap of its words with the nearest wording of the relation, rare words counting more, and a
    bonus for each of: the subject has such a fact (`subject_relations`, ids), the object is of the right kind, the
    subject is. A known kind of the wrong sort counts against it. A template that is one of the relation's own scores 1.
    """
    known = _words_of(catalogue)
    asked, literal = _stems(template), _spelled(template)
    most = 1.0 + _HELD * bool(subject_relations) + _OBJECT * bool(object_types) + _SUBJECT * bool(subject_type)
    guesses: list[tuple[float, RelationSpec]] = []
    for spec in catalogue:
        overlap = max(_overlap(asked, wording, known.weights) for wording in known.wordings[spec.id])
        bonus = _HELD * (spec.id in subject_relations)
        bonus += _fit(_OBJECT, spec.object_types, object_types)
        bonus += _fit(_SUBJECT, spec.subject_types, [subject_type] if subject_type else [])
        # Without a word in common a relation is only a guess if all else speaks for it.
        score = (overlap + max(bonus, -overlap)) / most if overlap or bonus >= _HELD + _OBJECT else 0.0
        if literal in known.own[spec.id]:
            score = 1.0 + bonus
        if score >= _LEAST:
            guesses.append((score, spec))
    guesses.sort(key=lambda guess: (-guess[0], guess[1].id))
    return tuple((spec, round(min(score, 1.0), 4)) for score, spec in guesses)


def _fit(weight: float, wanted: Collection[str], kinds: Collection[str]) -> float:
    """`weight` if one of `kinds` is wanted, minus half of it if none is, 0 if no kind is known."""
    if not kinds:
        return 0.0
    return weight if set(kinds) & set(wanted) else -weight / 2


def _stems(text: str) -> frozenset[str]:
    """Stems of the words, and the word before the subject as a word of its own.

    That one tells "the capital of {}" from "{} is the capital of".
    """
    before, _, after = text.partition("{}")
    words = fold(before).split()
    marked = [f"{words[-1]} {{}}"] if words else ["{}"]
    return frozenset(word[:_STEM] for word in (*words, *fold(after).split())) | frozenset(marked)


def _spelled(text: str) -> str:
    return " ".join(text.casefold().split())


def _overlap(asked: frozenset[str], wording: frozenset[str], weights: Mapping[str, float]) -> float:
    """Weighted Dice overlap of two sets of words, in [0, 1].

    Words that no relation uses weigh nothing, and the place of the subject alone is no overlap.
    """

    def total(words: frozenset[str]) -> float:
        return sum(weights.get(word, 0.0) for word in words)

    both = asked & wording
    if not any("{}" not in word for word in both):
        return 0.0
    return 2 * total(both) / ((total(asked) + total(wording)) or 1.0)


@dataclass(frozen=True, kw_only=True)
class _Words:
    """Words of a catalogue, prepared once: `weights` is how telling each is (inverse relation frequency)."""

    wordings: Mapping[str, tuple[frozenset[str], ...]]
    own: Mapping[str, frozenset[str]]
    weights: Mapping[str, float]


@lru_cache(maxsize=4)
def _words_of(catalogue: RelationCatalogue) -> _Words:
    wordings = {
        spec.id: tuple({_stems(text) for text in (*spec.cloze, *spec.questions, spec.phrase, spec.label)})
        for spec in catalogue
    }
    used = Counter(word for sets in wordings.values() for word in frozenset().union(*sets))
    return _Words(
        wordings=wordings,
        own={spec.id: frozenset(_spelled(text) for text in (*spec.cloze, *spec.questions)) for spec in catalogue},
        weights={word: math.log(1 + len(wordings) / count) for word, count in used.items()},
    )
