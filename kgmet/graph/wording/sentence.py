"""`read_sentence`: parse a fact written as one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kgmet.base.errors import RequestError
from kgmet.fact import FactEdit
from kgmet.graph.names import fold, without_article
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.wording.guess_relation import guess_relation

__all__ = ["EXAMPLE", "read_sentence"]

EXAMPLE = "The Eiffel Tower is in Rome, not in Paris."
"""An example sentence."""
_LONGEST = 400
_MOST_SUBJECT, _MOST_MIDDLE, _MOST_OBJECT = 10, 12, 8
"""Most words of the subject, the middle part and the object."""
_OLD = re.compile(r"\s*,?\s+(?:and\s+)?(?:(?:is\s+)?not|instead\s+of|rather\s+than|no\s+longer)\s+(?P<old>.+)$", re.I)
_VERBS = frozenset({"is", "are", "was", "were", "has", "have", "had", "does", "did"})
"""Words that begin the middle part; no subject ends in one."""
_KNOWN, _CAPITAL = 1.0, 0.3
"""Bonuses for an end that is an entity of the graph, or begins with a capital letter or digit."""


@dataclass(frozen=True)
class _Split:
    lead: str
    subject: str
    middle: str
    new_object: str

    @property
    def template(self) -> str:
        return f"{self.lead} {{}} {self.middle}".strip()


def read_sentence(text: str, *, catalogue: RelationCatalogue, store: TripleStore | None = None) -> FactEdit:
    """Split a sentence into subject, prompt and new object; the old object may follow after "not" or "instead of".

    The best split has ends that are known to the graph or are names, and a middle part nearest to a catalogue wording.

    Raises:
        RequestError: if no fact can be read from the sentence.
    """
    sentence = " ".join(text.split()).strip()
    if len(sentence) > _LONGEST:
        raise RequestError(f"The sentence has {len(sentence)} characters; at most {_LONGEST} are read.")
    sentence = sentence.rstrip(".!")
    found = _OLD.search(sentence)
    main = sentence[: found.start()] if found else sentence
    splits = list(_splits(main))
    if not splits:
        raise RequestError(f"No fact can be read from {text.strip()!r}. Write it like this: {EXAMPLE}")
    known: dict[str, bool] = {}

    def is_known(name: str) -> bool:
        if name not in known:
            whole = without_article(fold(name))
            matches = () if store is None else store.search(name, limit=5)
            known[name] = any(without_article(fold(match.matched)) == whole for match in matches)
        return known[name]

    def fit(split: _Split) -> tuple[float, int]:
        guesses = guess_relation(catalogue, split.template)
        score = guesses[0][1] if guesses else 0.0
        for name in (split.subject, split.new_object):
            bare = name.removeprefix("the ").removeprefix("The ")
            score += _KNOWN * is_known(name) + _CAPITAL * (bare[:1].isupper() or bare[:1].isdigit())
        # A capital letter in the middle part belongs to a name: "The Eiffel" – "Tower is located in".
        score -= _CAPITAL * sum(word[:1].isupper() for word in split.middle.split())
        # Ties go to the longest names: "New York City" rather than "City".
        return score, len(split.subject) + len(split.new_object)

    best = max(splits, key=fit)
    old = None if found is None else _old_object(found["old"], best.middle)
    return FactEdit(subject=best.subject, template=best.template, new_object=best.new_object, old_object=old or None)


def _splits(sentence: str) -> Iterator[_Split]:
    """Yield every split of the sentence: optional lead ending in "of", subject, middle part, new object."""
    words = sentence.split()
    if "{" in sentence:
        return
    leads = [0, *(number + 1 for number, word in enumerate(words[:_MOST_MIDDLE]) if word.casefold() == "of")]
    for lead in leads:
        for end in range(lead + 1, min(len(words) - 1, lead + _MOST_SUBJECT + 1)):
            if words[end - 1].casefold() in _VERBS:
                continue
            for start in range(max(end + 1, len(words) - _MOST_OBJECT), len(words)):
                if start - end <= _MOST_MIDDLE:
                    yield _Split(
                        *(" ".join(words[i:j]) for i, j in ((0, lead), (lead, end), (end, start), (start, None)))
                    )


def _old_object(phrase: str, middle: str) -> str:
    """Drop the words that the old object shares with the end of the middle part: "in Paris" → "Paris"."""
    words, between = phrase.strip(" ,.").split(), [word.casefold() for word in middle.split()]
    for length in range(min(len(words) - 1, len(between)), 0, -1):
        if [word.casefold() for word in words[:length]] == between[-length:]:
            return " ".join(words[length:])
    return " ".join(words)
