"""Data frames for display, and small HTML tables with escaped texts, without Streamlit."""

from __future__ import annotations

import difflib
import html
from collections.abc import Sequence

import pandas as pd

from kgmet.editing.report import ConsequenceReport
from kgmet.graph.reading.retrieve import Subgraph
from kgmet.graph.triple import Triple
from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair
from workbench.wording import AS_BEFORE, STAYS, VERDICTS, percent

__all__ = [
    "answer_side",
    "chip",
    "consequence_table",
    "listed_triples",
    "marked_difference",
    "token_html",
    "triple_frame",
]


def chip(pair: AnswerPair) -> str:
    """Return the verdict on a pair as a small coloured word; the colour only repeats the word."""
    verdict = None if pair.verdict is None else pair.verdict.value
    word, kind = (STAYS if pair.after.question.kind.should_stay else VERDICTS)[verdict]
    before = f"<small>{AS_BEFORE}</small>" if pair.was_so_before and not pair.after.question.kind.should_stay else ""
    return f'<span class="kg-chip {"none" if pair.is_faint else kind}">{word}</span>{before}'


def marked_difference(before: str, after: str) -> tuple[str, str]:
    """Return both texts as HTML, with words that only one of them has marked."""
    left, right = before.split(" "), after.split(" ")
    marked: tuple[list[str], list[str]] = ([], [])
    for what, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for place, words in enumerate((left[a:b], right[c:d])):
            text = html.escape(" ".join(words))
            if text:
                marked[place].append(text if what == "equal" else f"<mark>{text}</mark>")
    return " ".join(marked[0]), " ".join(marked[1])


def answer_side(heading: str, said: str, answer: Answer, *, exact: bool = False) -> str:
    """Return one of two cards side by side: the answer (`said`: HTML) and the two probabilities."""
    shown = repr if exact else percent
    names = (answer.question.expected, answer.p_expected), (answer.question.rejected, answer.p_rejected)
    rows = [
        f'<div class="row"><span>{html.escape(name)}</span><b>{html.escape(shown(value))}</b></div>'
        for name, value in names
        if name is not None
    ]
    said = said.replace("\n", " ") or "<em>nothing</em>"
    return f'<div class="kg-side"><h4>{heading}</h4><p class="said">{said}</p>{"".join(rows)}</div>'


def consequence_table(items: Sequence[ConsequenceReport]) -> str:
    """Return the consequences of an edit before and after, one per row."""
    rows = []
    for item in items:
        question, was, now = item.question, item.pair.before, item.pair.after
        before, after = marked_difference(was.said.strip(), now.said.strip())
        old = "" if question.rejected is None else _moved(question.rejected, was.p_rejected, now.p_rejected)
        new = _moved(question.expected or "", was.p_expected, now.p_expected)
        goes_on = " …" if question.is_cloze else ""
        rows.append(
            f"<tr><td>{html.escape(question.text)}{goes_on}<small>{html.escape(item.reason)}</small></td>"
            f"<td>{before or '∅'}</td><td>{after or '∅'}</td>"
            f'<td class="p">{new}<small>{old}</small></td>'
            f"<td>{chip(item.pair)}</td></tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in ("asked", "before", "after", "probability", "verdict"))
    return f'<div class="kg-table-wrap"><table class="kg-table"><tr>{head}</tr>{"".join(rows)}</table></div>'


def _moved(answer: str, before: float | None, after: float | None) -> str:
    return f"{html.escape(answer)} {percent(before)} → {percent(after)}"


def listed_triples(subgraph: Subgraph) -> tuple[Triple, ...]:
    """Return the triples of `triple_frame` in row order: the edited one first, those switched off last."""
    first = () if subgraph.edited is None else (subgraph.edited,)
    return (*first, *(triple for triple in subgraph.triples if triple not in first), *subgraph.switched_off)


def triple_frame(subgraph: Subgraph) -> pd.DataFrame:
    """Return the triples of a subgraph, with those switched off: ``on``, labels, ids, hop, source and ``state``."""
    hops = {entity.id: hop for entity, hop in zip(subgraph.entities, subgraph.hop, strict=True)}
    edited = subgraph.edited
    rows = []
    for triple in listed_triples(subgraph):
        is_on = triple in subgraph.triples
        rows.append(
            {
                "on": is_on,
                "subject": triple.subject.label,
                "relation": triple.relation.label,
                "object": triple.object.label,
                "hop": min((hops[e.id] for e in (triple.subject, triple.object) if e.id in hops), default=None),
                "state": "new" if triple == edited else "" if is_on else "off",
                "source": triple.source,
                "ids": " ".join(triple.key),
            }
        )
    return pd.DataFrame(rows, columns=["on", "subject", "relation", "object", "hop", "state", "source", "ids"])


def token_html(tokens: Sequence[tuple[str, str]]) -> str:
    """Return tokens (text, role) as a strip of HTML; blanks are shown as ``·``."""
    spans = []
    for text, role in tokens:
        shown = html.escape(text.replace("\n", "⏎").replace(" ", "·")) or "∅"
        spans.append(f'<span class="{html.escape(role)}">{shown}</span>')
    spoken = html.escape("Tokens: " + " | ".join(text for text, _ in tokens))
    return f'<div class="kg-tokens" role="img" aria-label="{spoken}">{"".join(spans)}</div>'
