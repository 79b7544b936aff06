"""Name matching: folding of typed names, and an index of entities by label, alias, prefix and word.

Folding ignores case, accents, punctuation, invisible marks and a leading English article, so "eiffel tower", "The
Eiffel Tower" and "Eiffel Tower" are the same name. Marks that make another letter (Devanagari vowels, Japanese voicing,
Thai tones) stay: only the marks Unicode places around a letter as accents or vocalisation are dropped.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher, get_close_matches

import numpy as np
import numpy.typing as npt

__all__ = ["NameHit", "NameIndex", "fold", "without_article"]

Ints = npt.NDArray[np.int32]

# Letters that do not decompose into a base and an accent, although users type the base.
_LETTERS = {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t"}
_JOINING = frozenset("'’‘ʼʻ`´.")
_MEANING = frozenset("#&%@*")
_ASCII = {
    code: (None if chr(code) in _JOINING else " ")
    for code in range(128)
    if chr(code) not in _MEANING and unicodedata.category(chr(code))[0] in "PZC"
}
_ARTICLES = ("the ",)
_VALUE_PENALTY = 0.2
"""Penalty that ranks a fully typed code below the entity it is an alias of."""
_ALIKE = 0.8
"""Smallest similarity (difflib's ratio) at which a word counts as a misspelling of another."""


def without_article(text: str) -> str:
    """Return `text` without a leading English article and surrounding blanks; an article alone stays."""
    bare = text.strip()
    for article in _ARTICLES:
        if bare[: len(article)].casefold() == article and bare[len(article) :].strip():
            return bare[len(article) :].strip()
    return bare


def fold(text: str) -> str:
    """Return the normal form in which names are compared; never empty unless `text` is blank.

    Text that consists of punctuation alone is only case-folded: the band "!!!" keeps its name.
    """
    if text.isascii():
        folded = " ".join(text.lower().translate(_ASCII).split())
    else:
        folded = " ".join(_fold_unicode(text).split())
    return without_article(folded) or text.strip().casefold()


def _fold_unicode(text: str) -> str:
    letters: list[str] = []
    for character in unicodedata.normalize("NFKD", text.casefold()):
        kind = unicodedata.category(character)
        mark = unicodedata.combining(character)
        if 10 <= mark <= 35 or mark >= 200 or kind == "Cf" or "\ufe00" <= character <= "\ufe0f":
            continue
        if character in _JOINING:
            continue
        if kind[0] in "PZC" and character not in _MEANING:
            letters.append(" ")
        else:
            letters.append(_LETTERS.get(character, character))
    return unicodedata.normalize("NFC", "".join(letters))


@dataclass(frozen=True, kw_only=True)
class NameHit:
    """One search hit: the entity's number, the label or alias that matched, and a score in [0, 1]."""

    entity: int
    name: str
    score: float


class NameIndex:
    """Index of numbered entities by name.

    Ranked best first: exact label, alias, prefix of a name, words of a name, and, only if none of these matches,
    similar spellings. Within a tier, entities with more facts come first. Built from sorted arrays and bisection: about
    a hundred bytes per name, and a query visits only matching names.
    """

    def __init__(
        self,
        labels: Sequence[str],
        aliases: Iterable[tuple[int, str]],
        *,
        weight: Ints,
        is_value: npt.NDArray[np.bool_],
    ) -> None:
        """Index `labels` (one per entity) and `aliases` (entity number, text).

        `weight` (n_node) is the number of facts of each entity; `is_value` (n_node) marks values (literals): a user who
        types "USA" seldom means the code.
        """
        self._labels = labels
        self._aliases: list[tuple[int, str]] = list(aliases)
        folded = [fold(label) for label in labels]
        folded += [fold(alias) for _, alias in self._aliases]
        order = sorted(range(len(folded)), key=folded.__getitem__)
        self._folded = [folded[number] for number in order]
        self._order: Ints = np.array(order, dtype=np.int32)
        owner = np.concatenate(
            [
                np.arange(len(labels), dtype=np.int32),
                np.array([entity for entity, _ in self._aliases], dtype=np.int32),
            ]
        )
        self._owner: Ints = owner[self._order]
        self._weight = weight
        self._is_value = is_value
        self._scale = float(np.log1p(weight.max())) if len(weight) and weight.max() > 0 else 1.0
        self._words, self._starts, self._postings = _index_words(self._folded)

    def search(self, text: str, *, limit: int) -> list[NameHit]:
        """Return the best hits for `text`, at most `limit`, each entity once."""
        wanted = fold(text)
        if not wanted or limit < 1:
            return []
        best: dict[int, NameHit] = {}
        low = bisect_left(self._folded, wanted)
        high = bisect_left(self._folded, wanted + "\U0010ffff")
        same = low
        while same < high and self._folded[same] == wanted:
            same += 1
        self._take(best, range(low, same), text, wanted)
        self._take(best, self._heaviest(np.arange(same, high), 4 * limit), text, wanted)
        if len(best) < limit:
            self._take(best, self._heaviest(self._by_words(wanted), 4 * limit), text, wanted)
        if not best and (meant := self._respelled(wanted)):
            self._take(best, self._heaviest(self._by_words(meant), 4 * limit), text, wanted)
            best = {entity: replace(hit, score=_likeness(wanted, hit.name)) for entity, hit in best.items()}
        ranked = sorted(best.values(), key=lambda hit: (-hit.score, -int(self._weight[hit.entity]), hit.entity))
        return ranked[:limit]

    def _take(self, best: dict[int, NameHit], rows: Iterable[int], text: str, wanted: str) -> None:
        for row in rows:
            entity = int(self._owner[row])
            score = self._score(int(row), text, wanted)
            known = best.get(entity)
            if known is None or score > known.score:
                best[entity] = NameHit(entity=entity, name=self._name(int(row)), score=score)

    def _name(self, row: int) -> str:
        number = int(self._order[row])
        return self._labels[number] if number < len(self._labels) else self._aliases[number - len(self._labels)][1]

    def _score(self, row: int, text: str, wanted: str) -> float:
        """Return the tier plus at most 0.04 for many facts, so that popularity never changes the tier."""
        is_label = int(self._order[row]) < len(self._labels)
        folded = self._folded[row]
        coverage = len(wanted) / max(len(folded), 1)
        if folded == wanted:
            to_the_letter = without_article(self._name(row)).casefold() == without_article(text).casefold()
            tier = (0.9 if is_label else 0.8) + (0.05 if to_the_letter else 0.0)
        elif folded.startswith(wanted):
            # A whole-word extension ranks above a partial one: "Georgia" before "Georgian" for "georgia".
            tier = (0.55 if is_label else 0.5) + (0.1 if folded[len(wanted)] == " " else 0.0) + 0.1 * coverage
        else:
            tier = (0.3 if is_label else 0.25) + 0.1 * min(coverage, 1.0)
        if self._is_value[self._owner[row]]:
            tier -= _VALUE_PENALTY
        popularity = float(np.log1p(self._weight[self._owner[row]])) / self._scale
        return round(tier + 0.04 * popularity, 6)

    def _heaviest(self, rows: npt.NDArray[np.int64] | Ints, count: int) -> Iterable[int]:
        if len(rows) > count:
            weight = self._weight[self._owner[rows]]
            rows = rows[np.argsort(-weight, kind="stable")[:count]]
        return (int(row) for row in rows)

    def _by_words(self, wanted: str) -> Ints:
        """Return the rows that contain every word of `wanted`; the last word may be a prefix."""
        *whole, last = wanted.split(" ")
        found: Ints | None = None
        for word in whole:
            rows = self._rows(word, word)
            found = rows if found is None else np.intersect1d(found, rows, assume_unique=True)
            if not len(found):
                return found
        # A single letter is a prefix of too many words; it is matched as a whole word only.
        rows = self._rows(last, last + "\U0010ffff" if len(last) > 1 else last)
        return rows if found is None else np.intersect1d(found, rows)

    def _respelled(self, wanted: str) -> str:
        """Replace each unknown word by the most similar known one; empty if a word has none."""
        words = []
        for word in wanted.split(" "):
            if not len(self._rows(word, word)):
                # Misspelt first letters are rare; without this rule every word would have to be compared.
                low, high = bisect_left(self._words, word[0]), bisect_left(self._words, word[0] + "\U0010ffff")
                near = [known for known in self._words[low:high] if abs(len(known) - len(word)) <= 2]
                word = next(iter(get_close_matches(word, near, n=1, cutoff=_ALIKE)), "")
            if not word:
                return ""
            words.append(word)
        return " ".join(words)

    def _rows(self, first: str, last: str) -> Ints:
        low = bisect_left(self._words, first)
        high = bisect_left(self._words, last) if last != first else low + 1
        if low >= len(self._words) or (last == first and self._words[low] != first) or high <= low:
            return np.empty(0, dtype=np.int32)
        rows = self._postings[self._starts[low] : self._starts[high]]
        return rows if high == low + 1 else np.unique(rows)


def _likeness(folded: str, name: str) -> float:
    return round(0.2 * SequenceMatcher(None, folded, fold(name)).ratio(), 6)


def _index_words(folded: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64], Ints]:
    """Return the sorted words, the start of each word's rows, and the rows (sorted within a word)."""
    numbers: dict[str, int] = {}
    words_of: list[int] = []
    rows: list[int] = []
    for row, name in enumerate(folded):
        for word in set(name.split(" ")):
            words_of.append(numbers.setdefault(word, len(numbers)))
            rows.append(row)
    words = sorted(numbers)
    rank = np.empty(len(words), dtype=np.int32)
    rank[[numbers[word] for word in words]] = np.arange(len(words), dtype=np.int32)
    ranked = rank[np.array(words_of, dtype=np.int64)] if words_of else np.empty(0, dtype=np.int32)
    order = np.argsort(ranked, kind="stable")
    starts = np.searchsorted(ranked[order], np.arange(len(words) + 1))
    return words, starts, np.array(rows, dtype=np.int32)[order]
