"""The rules for *says* and *prefers*, and `Verdict`, their three-step scale."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from kgmet.base.text import caseless
from kgmet.lm.say.score import AnswerScore
from kgmet.measure.question import Form

__all__ = ["FAINT_RANK", "Verdict", "clause", "first_clause", "judged_text", "names_only", "prefers"]

FAINT_RANK = 100
"""Rank of the first token beyond which a preferred answer counts as faint."""

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s|$)|[。！？]|\n")
_CLAUSE_END = re.compile(r"[,;:](?=\s|$)|\s[–—-]\s|\(|[、，；]")
_ABBREVIATION = re.compile(r"(?:^|[\s.(])(?:[^\W\d_]|St|Mt|Dr|Mr|Mrs|Ms|Jr|Sr|Ft)$")


class Verdict(Enum):
    """Verdict on an answer, in three steps."""

    SAYS = "says"
    """The greedy answer names the expected object and not the rejected one."""
    PREFERS = "prefers"
    """The expected object is not said, but is likelier per token than the rejected one."""
    NO = "no"
    """Neither said nor preferred."""

    @property
    def words(self) -> str:
        """The verdict in words."""
        return {"says": "says it", "prefers": "prefers it, does not say it", "no": "no"}[self.value]


def prefers(expected: AnswerScore, rejected: AnswerScore) -> bool:
    """Return whether the expected answer is likelier per token than the rejected one, as in CounterFact's code."""
    return expected.mean_logprob > rejected.mean_logprob


def names_only(text: str, expected: Iterable[str], rejected: Iterable[str] = ()) -> bool:
    """Return whether `text` names one of `expected` and none of `rejected`.

    Names match as whole words, ignoring case, except that short names in capitals match exactly (``US`` is not *us*).
    Where two names overlap, the longer one counts: ``New Mexico`` does not mention ``Mexico``.
    """
    wanted, others = {_keyed(name) for name in expected}, {_keyed(name) for name in rejected}
    names = sorted({name for name in wanted | others if name}, key=len, reverse=True)
    if not names:
        return False
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)")
    in_capitals = {name for name in names if name.isupper()}
    said = _WORD.sub(lambda word: word[0] if word[0] in in_capitals else word[0].casefold(), " ".join(text.split()))
    found = set(pattern.findall(said))
    return bool(found & wanted) and not found & (others - wanted)


def judged_text(text: str, form: Form, names: Iterable[str] = ()) -> str:
    """Return the part of a greedy text that is the answer.

    A cloze is answered by the rest of its sentence, ``Q: … A:`` by one line, a chat message by the whole reply. A full
    stop inside one of `names` does not end a sentence.
    """
    text = text.strip()
    if form is Form.CHAT:
        return text
    if form is Form.QUESTION_AND_ANSWER:
        return text.partition("\n")[0].strip()
    inside = [(m.start(), m.end()) for name in names for m in re.finditer(re.escape(name), text, re.IGNORECASE)]
    for end in _SENTENCE_END.finditer(text):
        before = text[: end.start()]
        is_abbreviation = end.group().startswith(".") and _ABBREVIATION.search(before) is not None
        around = [stop for start, stop in inside if start <= end.start() < stop]
        if all(stop == end.start() + 1 for stop in around) and (end.end() == len(text) or not is_abbreviation):
            return text[: max([end.start(), *around])].strip()
    return text


def clause(text: str) -> str:
    """Return the words that complete a cloze: up to the first comma, bracket or end of sentence."""
    return _CLAUSE_END.split(judged_text(text, Form.CLOZE), maxsplit=1)[0].strip()


def first_clause(text: str) -> str:
    """Return the folded `clause`, for comparison."""
    return caseless(clause(text))


def _keyed(name: str) -> str:
    """Return the form of a name used in comparisons: folded, except short names in capitals."""
    name = " ".join(name.split())
    return name if len(name) <= 4 and name.isalpha() and name.isupper() else name.casefold()
