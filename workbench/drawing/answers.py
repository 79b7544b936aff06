"""Tables of questions with their answers before, after and told, side by side, without Streamlit.

Names that count for the verdict are marked: those of the expected answer, and those of the rejected one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair
from kgmet.measure.verdict import names_only
from workbench.drawing.plain import bdi, shown
from workbench.drawing.tables import chip
from workbench.wording import percent

__all__ = ["AnswerRow", "answer_table", "marked_names", "told_card"]


@dataclass(frozen=True, kw_only=True)
class AnswerRow:
    """One question with the answers before and after, the told model's answer, and remarks."""

    pair: AnswerPair
    told: Answer | None = None
    about: str = ""
    note: str = ""

    @property
    def told_pair(self) -> AnswerPair | None:
        """The told answer, judged against the answer before."""
        return None if self.told is None else AnswerPair(before=self.pair.before, after=self.told)


def marked_names(answer: Answer, longest: int = 400) -> str:
    """Return an answer as HTML, with the names of the expected and of the rejected answer marked."""
    said = " ".join(answer.said.split())
    if not said:
        return "<em>∅</em>"
    said = said if len(said) <= longest else said[: longest - 1] + "…"
    names = (*answer.question.expected_names, *answer.question.rejected_names)
    words = "|".join(re.escape(name) for name in sorted(filter(str.strip, names), key=len, reverse=True))
    parts = re.split(rf"(?<!\w)({words})(?!\w)", said, flags=re.IGNORECASE) if words else [said]
    marked = (_marked(part, answer) if number % 2 else shown(part) for number, part in enumerate(parts))
    return f"<bdi>{''.join(marked)}</bdi>"


def _marked(part: str, answer: Answer) -> str:
    """Mark a part of a text by the verdict's rule: a name of the expected answer, of the rejected, or neither."""
    for names, kind in ((answer.question.expected_names, "new"), (answer.question.rejected_names, "old")):
        if names_only(part, names):
            return f'<mark class="{kind}">{shown(part)}</mark>'
    return shown(part)


def answer_table(rows: Sequence[AnswerRow]) -> str:
    """Return one row per question. On a narrow screen the cells of a row are stacked, each with its name."""
    is_told = any(row.told is not None for row in rows)
    names = ["asked", "before", "after", *(["told"] if is_told else []), "verdict"]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(_row(row, is_told=is_told) for row in rows)
    kind = "kg-answers with-told" if is_told else "kg-answers"
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(row: AnswerRow, *, is_told: bool) -> str:
    question, pair = row.pair.after.question, row.pair
    goes_on = " …" if question.is_cloze else ""
    about = f"<small>{bdi(row.about)}</small>" if row.about else ""
    note = f"<small>{shown(row.note)}</small>" if row.note else ""
    cells = [
        ("asked", f"{bdi(question.text)}{goes_on}<small>{_wanted(pair.after)}</small>{about}"),
        ("before", _said(pair.before)),
        ("after", _said(pair.after)),
    ]
    verdict = chip(pair)
    if is_told:
        cells.append(("told", "–" if row.told is None else _said(row.told)))
        if row.told_pair is not None:
            verdict += f"<small>told:</small>{chip(row.told_pair)}"
    cells.append(("verdict", verdict + note))
    inside = "".join(f'<td class="{name}" data-name="{name}"><div>{text}</div></td>' for name, text in cells)
    return f"<tr>{inside}</tr>"


def _wanted(answer: Answer) -> str:
    question = answer.question
    if question.expected is None:
        return "nothing expected"
    rejected = f", not {bdi(question.rejected)}" if question.rejected else ""
    return f"expects {bdi(question.expected)}{rejected}"


def _said(answer: Answer) -> str:
    scores = [
        f"{bdi(name)} {percent(score.probability)}, rank {score.rank:,}"
        for name, score in (
            (answer.question.expected, answer.expected),
            (answer.question.rejected, answer.rejected),
        )
        if name is not None and score is not None
    ]
    return marked_names(answer) + "".join(f"<small>{line}</small>" for line in scores)


def told_card(answer: Answer, *, telling: str) -> str:
    """Return the told answer as a card below those of before and after."""
    rows = [
        f'<div class="row"><span>{bdi(name)}</span><b>{percent(value)}</b></div>'
        for name, value in (
            (answer.question.expected, answer.p_expected),
            (answer.question.rejected, answer.p_rejected),
        )
        if name is not None
    ]
    return (
        f'<div class="kg-side kg-told"><h4>not edited, told {shown(telling)}</h4>'
        f'<p class="said">{marked_names(answer)}</p>{"".join(rows)}</div>'
    )
