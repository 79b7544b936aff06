"""The one rule for *says* and the one rule for *prefers*, on texts and scores, and `Verdict`, their scale."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from kgmet.lm.say.score import AnswerScore
from kgmet.measure.question import Form

__all__ = ["FAINT_RANK", "Verdict", "clause", "first_clause", "judged_text", "names_only", "prefers"]

FAINT_RANK = 100
"""An expected answer whose first token ranks below this is at best faintly preferred."""

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s|$)|[。！？]|\n")
_CLAUSE_END = re.compile(r"[,;:](?=\s|$)|\s[–—-]\s|\(|[、，；]")
_ABBREVIATION = re.compile(r"(?:^|[\s.(])(?:[^\W\d_]|St|Mt|Dr|Mr|Mrs|Ms|Jr|Sr|Ft)$")


class Verdict(Enum):
    """How far an answer goes, in three steps."""

    SAYS = "says"
    """The greedy answer names the expected end, and not the rejected one."""
    PREFERS = "prefers"
    """It does not, but the expected end is likelier per token than the rejected one."""
    NO = "no"
    """Neither."""

    @property
    def words(self) -> str:
        """The step in words."""
        return {"says": "says it", "prefers": "prefers it, does not say it", "no": "no"}[self.value]


def prefers(expected: AnswerScore, rejected: AnswerScore) -> bool:
    """Whether the expected answer is likelier per token than the rejected one, as CounterFact's own code compares."""
    return expected.mean_logprob > rejected.mean_logprob


def names_only(text: str, expected: Iterable[str], rejected: Iterable[str] = ()) -> bool:
    """Return whether `text` names one of `expected` and none of `rejected`.

    Names count as whole words, whatever their case; short ones in capitals only so, because ``US`` is not *us*. Where
    two names overlap, the longer one counts: ``New Mexico`` is no mention of ``Mexico``.
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

    A cloze is answered by the rest of its sentence, ``Q: … A:`` by one line, a chat message by all that is said. An end
    of a sentence inside one of `names` is none.
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
    """Return the words up to the first comma, bracket or end of a sentence: what fills a cloze's blank."""
    return _CLAUSE_END.split(judged_text(text, Form.CLOZE), maxsplit=1)[0].strip()


def first_clause(text: str) -> str:
    """Return the same folded, for comparing."""
    return _folded(clause(text))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _keyed(name: str) -> str:
    """Return a name as it is compared: folded, but for short names in capitals."""
    name = " ".join(name.split())
    return name if len(name) <= 4 and name.isalpha() and name.isupper() else name.casefold()
