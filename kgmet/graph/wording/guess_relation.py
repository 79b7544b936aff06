"""Which relation a prompt speaks of, by its words and by what stands at its ends."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from kgmet.graph.relations import RelationCatalogue, RelationSpec
from kgmet.graph.wording.stems import pairs, stems

__all__ = ["SURE", "guess_relation"]

SURE = 0.25
"""A guess is taken from this score on: nine in ten at this score are right, and nearly all above 0.5."""

_LEAST = 0.1
"""Guesses below this are noise."""
_HELD, _OBJECT, _SUBJECT, _ROLE = 0.15, 0.6, 0.15, 0.2
"""How much it counts that the subject has such a fact, that the kinds of object and subject fit, and that the object is
already the object of such facts."""
_WRONG_KIND = 0.5
"""Share of a bonus that is taken off where the kind is known and is another."""
_FUNCTION = frozenset(
    {"be", "do", "have", "of", "in", "at", "on", "to", "by", "from", "for", "with", "as", "and", "it", "they", "their"}
    | {"who", "whom", "which", "what", "that", "where", "when"}
)
"""Words (as stems) that name no relation by themselves."""
_WORDLESS = 0.15
"""Overlap of a relation without a word in common; it is a guess only if all else speaks for it."""
_ENOUGH = 0.6
_REGULAR = 0.15
"""Share of the facts that end at an object from which on their relation counts in full."""
_PLACES = frozenset({"city", "state", "country", "landmark", "island"})
"""Kinds that stand for one another: who was born in a city was born in a country."""
_ASKED = {
    "person": ("who", "whom"),
    "city": ("where", "place"),
    "country": ("where", "place"),
    "year": ("when",),
}
"""Words that ask for a kind of thing."""
_PAIR = 0.3
"""Weight of two words in a row, against that of each alone."""


def guess_relation(
    catalogue: RelationCatalogue,
    template: str,
    *,
    subject_relations: Collection[str] = (),
    subject_type: str = "",
    object_types: Collection[str] = (),
    object_relations: Mapping[str, float] | None = None,
) -> tuple[tuple[RelationSpec, float], ...]:
    """Return relations that `template` may express, with scores in [0, 1], best first; those far from it are left out.

    The score is the overlap of its words with the nearest wording, name or cue of the relation, rare words counting
    more, and a bonus for each of: the subject has such a fact (`subject_relations`, ids), the object is of the right
    kind, the subject is, the object stands at the end of such facts elsewhere (`object_relations`: share of them by
    relation). A known kind of the wrong sort counts against it. A template that is one of the relation's own scores 1.
    """
    known = _words_of(catalogue)
    overlaps, literal = known.overlaps(_tokens(template)), _spelled(template)
    roles = object_relations or {}
    most = _HELD * bool(subject_relations) + _OBJECT * bool(object_types)
    most += _SUBJECT * bool(subject_type) + _ROLE * bool(roles)
    guesses: list[tuple[float, bool, RelationSpec]] = []
    for spec in catalogue:
        bonus = _HELD * (spec.id in subject_relations)
        bonus += _ROLE * min(1.0, roles.get(spec.id, 0.0) / _REGULAR) ** 0.5
        bonus += _fit(_OBJECT, spec.object_types, object_types)
        bonus += _fit(_SUBJECT, spec.subject_types, [subject_type] if subject_type else [])
        overlap, is_worded = overlaps.get(spec.id, (0.0, False))
        is_own = literal in known.own[spec.id]
        score = max(1.0 if is_own else overlap, _WORDLESS) * math.exp(bonus - most)
        if is_own or is_worded or (object_types and bonus >= _ENOUGH * most):
            guesses.append((score, is_own, spec))
    guesses.sort(key=lambda guess: (-guess[0], not guess[1], guess[2].id))
    return tuple((spec, round(score, 4)) for score, _, spec in guesses if score >= _LEAST)


def _fit(weight: float, wanted: Collection[str], kinds: Collection[str]) -> float:
    """`weight` if one of `kinds` is wanted, minus a part of it if none is, 0 if no kind is known or all are places."""
    if set(kinds) & set(wanted):
        return weight
    return 0.0 if not kinds or (_PLACES & set(kinds) and _PLACES & set(wanted)) else -weight * _WRONG_KIND


def _tokens(text: str) -> frozenset[str]:
    """Stems of the words, and each two in a row, the place of the subject counting as one.

    The pairs tell "the capital of {}" from "{} is the capital of".
    """
    row = stems(text)
    return frozenset(word for word in row if word != "{}") | frozenset(pairs(row))


def _spelled(text: str) -> str:
    return " ".join(text.casefold().split())


@dataclass(frozen=True, kw_only=True)
class _Words:
    """Words of a catalogue, prepared once: `weights` is how telling each is (inverse relation frequency)."""

    expected: Mapping[str, frozenset[str]]
    """By relation the words for its kinds of subject and object: they may stand in any sentence about it."""
    relation_of: tuple[str, ...]
    """The relation of each wording."""
    totals: tuple[float, ...]
    """The weight of all words of each wording."""
    postings: Mapping[str, tuple[int, ...]]
    """The wordings that hold a word."""
    own: Mapping[str, frozenset[str]]
    weights: Mapping[str, float]

    def overlaps(self, asked: frozenset[str]) -> dict[str, tuple[float, bool]]:
        """By relation the largest weighted Dice overlap with one of its wordings, in [0, 1], and if it means anything.

        Words that no relation uses weigh nothing, words for the kinds of the ends are missed by no wording, and an
        overlap in function words alone means nothing.
        """
        shared: dict[int, float] = defaultdict(float)
        free: dict[int, float] = defaultdict(float)
        worded: set[int] = set()
        total = 0.0
        for word in sorted(asked):
            weight = self.weights.get(word, 0.0)
            total += weight
            for number in self.postings.get(word, ()):
                shared[number] += weight
                if word in self.expected[self.relation_of[number]]:
                    free[number] += weight
                if " " not in word and word not in _FUNCTION:
                    worded.add(number)
        best: dict[str, tuple[float, bool]] = {}
        unasked = {relation: self._weight(asked & words) for relation, words in self.expected.items()}
        for number, both in shared.items():
            relation = self.relation_of[number]
            missed = unasked[relation] - free[number]
            score = round(2 * both / (total - missed + self.totals[number]), 9)
            if score > best.get(relation, (0.0, False))[0]:
                best[relation] = score, number in worded
        return best

    def _weight(self, words: Iterable[str]) -> float:
        return sum(self.weights.get(word, 0.0) for word in words)


@lru_cache(maxsize=4)
def _words_of(catalogue: RelationCatalogue) -> _Words:
    wordings = [
        (spec.id, tokens)
        for spec in catalogue
        for tokens in sorted({_tokens(text) for text in _texts(spec)}, key=sorted)
        if tokens
    ]
    used: dict[str, set[str]] = defaultdict(set)
    for relation, tokens in wordings:
        for token in tokens:
            used[token].add(relation)
    weights = {
        token: (_PAIR if " " in token else 1.0) * math.log(1 + len(catalogue) / len(relations))
        for token, relations in used.items()
    }
    postings: dict[str, list[int]] = defaultdict(list)
    for number, (_, tokens) in enumerate(wordings):
        for token in tokens:
            postings[token].append(number)
    return _Words(
        expected={spec.id: _kind_words(spec) for spec in catalogue},
        relation_of=tuple(relation for relation, _ in wordings),
        totals=tuple(sum(weights[token] for token in tokens) for _, tokens in wordings),
        postings={token: tuple(numbers) for token, numbers in postings.items()},
        own={spec.id: frozenset(_spelled(text) for text in (*spec.cloze, *spec.questions)) for spec in catalogue},
        weights=weights,
    )


def _kind_words(spec: RelationSpec) -> frozenset[str]:
    kinds = spec.subject_types | spec.object_types
    words = {word for kind in kinds for word in stems(kind.replace("_", " "))}
    asked = {word for kind in spec.object_types for word in _ASKED.get(kind, ())}
    return frozenset(words | asked)


def _texts(spec: RelationSpec) -> tuple[str, ...]:
    return (*spec.cloze, *spec.questions, spec.phrase, spec.label, *spec.names, *spec.cues)
