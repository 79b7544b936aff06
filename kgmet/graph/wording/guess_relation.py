"""The relation a prompt expresses, guessed from its words and its entities."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from kgmet.base.text import caseless
from kgmet.graph.relations import RelationCatalogue, RelationSpec
from kgmet.graph.wording.stems import pairs, stems

__all__ = ["SURE", "guess_relation", "names_no_relation"]

Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]

SURE = 0.35
"""Smallest score of an accepted guess: nine in ten with a score above 0.6 are right, of the others half."""

_LEAST = 0.1
"""Guesses below this score are dropped as noise."""
_HELD, _OBJECT, _SUBJECT, _ROLE = 0.15, 0.3, 0.15, 0.1
"""Bonuses: the subject has such a fact, the types of object and subject fit, the object already ends such facts."""
_STATED = 0.3
"""Bonus: the graph states the relation between the subject and its old object."""
_WRONG_KIND = 1.0
"""What is subtracted, relative to the bonus, if the type is known and wrong."""
_FUNCTION = frozenset(
    {"be", "do", "have", "of", "in", "at", "on", "to", "by", "from", "for", "with", "as", "and", "it", "they", "their"}
    | {"who", "whom", "which", "what", "that", "where", "when"}
)
"""Stems that name no relation by themselves."""
_BEFORE_OBJECT = frozenset({"of", "in", "at", "on", "to", "by", "from", "for", "with", "as", "aft", "befor"})
_END = "$"
"""What stands for the object after a text that breaks off."""
_SLOTS = frozenset({"{}", _END})
_SENTENCE_END = re.compile(r"(?<=[.!?])[)\"']*\s+|\n")
_WORDLESS = 0.15
"""Overlap of a relation without a common word; it is a guess only if all other evidence supports it."""
_ENOUGH = 0.6
_REGULAR = 0.6
"""Share of an object's facts at which their relation gets the full bonus."""
_PLACES = frozenset({"city", "state", "country", "landmark", "island"})
"""Interchangeable types: a person born in a city was born in a country."""
_ASKED = {
    "person": ("who", "whom"),
    "city": ("where", "place"),
    "country": ("where", "place"),
    "year": ("when",),
}
"""Words that ask for a type of object."""
_ASKS = re.compile(r"\b(?:which|what)\s+(?P<what>\w+(?:\s+\w+)?)", re.IGNORECASE)
_OTHER_WORDS = {
    "film": "movie",
    "book": "novel, play",
    "mountain": "peak, summit",
    "painting": "picture, canvas",
    "sculpture": "statue",
    "food": "dish",
    "landmark": "building, monument, museum",
    "company": "firm",
    "software": "program, app",
    "game": "video game, computer game",
    "series": "tv series, television series, show, tv show",
    "team": "club, football club",
    "composition": "opera, symphony",
    "person": "actor, singer, player, footballer, politician, writer, scientist, soldier, painter",
    "ship": "vessel",
    "animal": "species",
}
"""What else names a type before a subject."""
_PAIR = 0.3
"""Weight of a word pair, relative to a single word."""
_VOCABULARY = 0.4
"""Weight of a relation's whole vocabulary where its nearest wording leaves doubt."""
_FOREIGN = 0.3
"""Weight of the words that none of a relation's wordings has, but those of other relations have."""
_NEAR_PLACE = 0.7
"""Share of a bonus for a place of another kind than the relation's own."""
_USUAL = 0.2
"""What the share of a relation among an object's facts adds to `_WORDLESS`."""
_OWNED = re.compile(
    r"\{\}(?:['’]s?|,?\s+whose)\s+(?P<what>\w+(?:\s+(?!(?:is|are|was|were|has|had)\b)\w+)*)", re.IGNORECASE
)
"""The subject's possessive and the words up to a verb or a punctuation mark: "{}'s native language"."""


def guess_relation(
    catalogue: RelationCatalogue,
    template: str,
    *,
    subject_relations: Collection[str] = (),
    stated: Collection[str] = (),
    subject_types: Collection[str] = (),
    object_types: Collection[str] = (),
    object_relations: Mapping[str, float] | None = None,
) -> tuple[tuple[RelationSpec, float], ...]:
    """Guess the relations that `template` may express, with scores in [0, 1], best first.

    The score is the overlap of its words with the nearest wording, name or cue of the relation (rare words count more).
    Where that leaves doubt, the words of all its wordings count too. A bonus is added for each of: the subject has such
    a fact (`subject_relations`, ids); object and subject have the right types; the object ends such facts elsewhere
    (`object_relations`: their share by relation); the graph states exactly this fact with the old object (`stated`,
    ids). A known wrong type counts against it. One of the relation's own templates scores 1.
    """
    known = _words_of(catalogue)
    template = _own_sentence(template)
    tokens, literal = _tokens(template), caseless(template)
    overlaps, near, foreign = known.overlaps(tokens), known.likeness(tokens), known.foreign(tokens)
    roles = object_relations or {}
    if not any(literal in own for own in known.own.values()):
        subject_types = subject_types or known.kinds_before_subject(template)
        object_types = object_types or known.kinds_asked(template)
    most = _HELD * bool(subject_relations) + _OBJECT * bool(object_types) + _STATED * bool(stated)
    most += _SUBJECT * bool(subject_types) + _ROLE * bool(roles)
    guesses: list[tuple[float, bool, RelationSpec]] = []
    for spec in catalogue:
        bonus = _HELD * (spec.id in subject_relations) + _STATED * (spec.id in stated)
        bonus += _ROLE * min(1.0, roles.get(spec.id, 0.0) / _REGULAR) ** 0.5
        bonus += _fit(_OBJECT, spec.object_types, object_types)
        bonus += _fit(_SUBJECT, spec.subject_types, subject_types)
        overlap, is_worded = overlaps.get(spec.id, (0.0, False))
        overlap += _VOCABULARY * (1 - overlap) * near.get(spec.id, 0.0)
        wordless = _WORDLESS + _USUAL * roles.get(spec.id, 0.0)
        is_own = literal in known.own[spec.id]
        overlap *= 1 - _FOREIGN * foreign(spec.id)
        score = max(1.0 if is_own else overlap, wordless) * math.exp(bonus - most)
        if is_own or is_worded or (object_types and bonus >= _ENOUGH * most):
            guesses.append((score, is_own, spec))
    guesses.sort(key=lambda guess: (-guess[0], not guess[1], guess[2].id))
    return tuple((spec, round(score, 4)) for score, _, spec in guesses if score >= _LEAST)


def names_no_relation(template: str, *, besides: str = "") -> bool:
    """Return whether a template has no word that could name a relation: "{} is in"; words of `besides` do not count."""
    return all(word == "{}" or word in _FUNCTION for word in stems(template) if word not in stems(besides))


def _fit(weight: float, wanted: Collection[str], kinds: Collection[str]) -> float:
    """Return `weight` if one of `kinds` fits, part of it for another kind of place, a penalty if none fits.

    Without a known kind it is 0.
    """
    if not kinds:
        return 0.0
    if set(kinds) & set(wanted):
        return weight
    return weight * (_NEAR_PLACE if _PLACES & set(kinds) and _PLACES & set(wanted) else -_WRONG_KIND)


def _own_sentence(template: str) -> str:
    """Return the template without the sentences that stand before the subject's."""
    lead, slot, rest = template.partition("{}")
    return _SENTENCE_END.split(lead)[-1] + slot + rest


def _tokens(text: str) -> frozenset[str]:
    """Return the stems of the words and of adjacent pairs; the subject's slot counts as a word, and so does the end.

    The pairs tell "the capital of {}" from "{} is the capital of"; "{}'s capital" reads as "capital of {}". A text
    that breaks off at a preposition goes on with the object: "{} is the mother of", but not "mother of {}".
    """
    row = stems(_OWNED.sub(r"\g<what> of {}", text))
    if row and row[-1] in _BEFORE_OBJECT and not text.endswith("?"):
        row = (*row, _END)
    ends = (f"{row[i]} of {row[i + 2]}" for i in range(len(row) - 2) if row[i + 1] == "of" and row[i + 2] in _SLOTS)
    return frozenset(word for word in row if word not in _SLOTS) | frozenset(pairs(row)) | frozenset(ends)


@dataclass(frozen=True, kw_only=True)
class _Words:
    """Words of a catalogue, prepared once, with `weights` by inverse relation frequency."""

    relations: tuple[str, ...]
    expecting: Mapping[str, Ints]
    """By word, the numbers of the relations that name a type of their entities by it, so that any sentence may."""
    relation_of: Ints
    """The number of each wording's relation; wordings of a relation stand together."""
    starts: Ints
    """The number of each relation's first wording."""
    totals: Floats
    """Total word weight of each wording."""
    postings: Mapping[str, Ints]
    """The wordings that contain a word."""
    own: Mapping[str, frozenset[str]]
    weights: Mapping[str, float]
    usual: Mapping[str, tuple[tuple[str, float], ...]]
    """By word, the relations whose wordings use it, with how usual it is in them: the words of a relation are a vector
    of length 1, the mean of its wordings."""

    at_home: Mapping[str, frozenset[str]]
    """By word, the relations that have it in a wording, or name a type of their entities by it."""
    kinds: Mapping[str, str]
    """By its stem, or stems joined by a blank, the type of entity that a word names."""

    def kinds_before_subject(self, template: str) -> frozenset[str]:
        """Return the type that the words before the subject name: "the novel {}"."""
        row = stems(template)
        return self._kind_at(row[: row.index("{}")] if "{}" in row else ())

    def kinds_asked(self, template: str) -> frozenset[str]:
        """Return the type that a question asks for: "which city"."""
        found = _ASKS.search(template) if template.rstrip().endswith("?") else None
        row = stems(found["what"]) if found else ()
        return self._kind_at(row[:2]) or self._kind_at(row[:1])

    def _kind_at(self, row: Sequence[str]) -> frozenset[str]:
        """Return the type that the last one or two words name."""
        names = (" ".join(row[-length:]) for length in (2, 1) if len(row) >= length)
        return frozenset({kind for name in names if (kind := self.kinds.get(name))})

    def foreign(self, asked: frozenset[str]) -> Callable[[str], float]:
        """Return, for a relation, the share of the asked words' weight that its whole vocabulary lacks."""
        words = [word for word in sorted(asked) if " " not in word and word in self.weights]
        total = self._weight(words) or 1.0
        known: dict[str, float] = defaultdict(float)
        for word in words:
            for relation in self.at_home[word]:
                known[relation] += self.weights[word]
        return lambda relation: 1 - known.get(relation, 0.0) / total

    def likeness(self, asked: frozenset[str]) -> dict[str, float]:
        """Return the cosine between the words asked and those of each relation, in [0, 1]."""
        length = math.sqrt(sum(self.weights.get(word, 0.0) ** 2 for word in asked)) or 1.0
        found: dict[str, float] = defaultdict(float)
        for word in sorted(asked):
            for relation, share in self.usual.get(word, ()):
                found[relation] += self.weights[word] * share / length
        return found

    def overlaps(self, asked: frozenset[str]) -> dict[str, tuple[float, bool]]:
        """Return, by relation, the largest weighted Dice overlap with a wording, in [0, 1], and if it is meaningful.

        Words that no relation uses have weight 0, words for the types of the entities may be missing from a wording,
        and an overlap in function words alone is not meaningful.
        """
        count = len(self.totals)
        shared, free, worded = np.zeros(count), np.zeros(count), np.zeros(count, dtype=bool)
        unasked = np.zeros(len(self.relations))
        total = 0.0
        for word in sorted(asked & self.postings.keys()):
            weight, numbers = self.weights[word], self.postings[word]
            total += weight
            shared[numbers] += weight
            if word in self.expecting:
                unasked[self.expecting[word]] += weight
                free[numbers[np.isin(self.relation_of[numbers], self.expecting[word])]] += weight
            if " " not in word and word not in _FUNCTION:
                worded[numbers] = True
        missed = unasked[self.relation_of] - free
        scores = np.round(2 * shared / (total - missed + self.totals), 9)
        best = np.maximum.reduceat(scores, self.starts)
        is_worded = np.logical_or.reduceat(worded & (scores == best[self.relation_of]), self.starts)
        return {
            relation: (float(score), bool(flag))
            for relation, score, flag in zip(self.relations, best, is_worded, strict=True)
            if score > 0
        }

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
    relations = tuple(spec.id for spec in catalogue)
    at_home = {word: set(users) for word, users in used.items()}
    expecting: dict[str, list[int]] = defaultdict(list)
    for number, spec in enumerate(catalogue):
        for word in _kind_words(spec) & used.keys():
            at_home[word].add(spec.id)
            expecting[word].append(number)
    relation_of = np.array([relations.index(relation) for relation, _ in wordings], dtype=np.intp)
    return _Words(
        relations=relations,
        expecting={word: np.array(numbers, dtype=np.intp) for word, numbers in expecting.items()},
        relation_of=relation_of,
        starts=np.searchsorted(relation_of, np.arange(len(relations))),
        totals=np.array([sum(weights[token] for token in sorted(tokens)) for _, tokens in wordings]),
        postings={token: np.array(numbers, dtype=np.intp) for token, numbers in postings.items()},
        own={spec.id: frozenset(caseless(text) for text in (*spec.cloze, *spec.questions)) for spec in catalogue},
        weights=weights,
        usual=_usual(wordings, weights),
        at_home={word: frozenset(relations) for word, relations in at_home.items()},
        kinds=_kinds(catalogue),
    )


def _kinds(catalogue: RelationCatalogue) -> dict[str, str]:
    """Return the types of the catalogue's entities by their names and by other words for them, as stems."""
    types = sorted({kind for spec in catalogue for kind in spec.subject_types | spec.object_types})
    named = [(kind.replace("_", " "), kind) for kind in types]
    named += [(word, kind) for kind, words in _OTHER_WORDS.items() if kind in types for word in words.split(", ")]
    return {" ".join(stems(word)): kind for word, kind in named}


def _usual(
    wordings: Iterable[tuple[str, frozenset[str]]], weights: Mapping[str, float]
) -> dict[str, tuple[tuple[str, float], ...]]:
    """Return, by word, the relations that use it, with its part of their mean wording's vector."""
    means: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for relation, tokens in wordings:
        length = math.sqrt(sum(weights[token] ** 2 for token in tokens))
        for token in sorted(tokens):
            means[relation][token] += weights[token] / length
    usual: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for relation, mean in means.items():
        length = math.sqrt(sum(value**2 for value in mean.values()))
        for token, value in mean.items():
            usual[token].append((relation, value / length))
    return {token: tuple(found) for token, found in usual.items()}


def _kind_words(spec: RelationSpec) -> frozenset[str]:
    kinds = spec.subject_types | spec.object_types
    words = {word for kind in kinds for word in stems(kind.replace("_", " "))}
    asked = {word for kind in spec.object_types for word in _ASKED.get(kind, ())}
    return frozenset(words | asked)


def _texts(spec: RelationSpec) -> tuple[str, ...]:
    return (*spec.cloze, *spec.questions, spec.phrase, spec.label, *spec.names, *spec.cues)
