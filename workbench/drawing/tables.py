"""Value → table: data frames ready to show, and small HTML tables in which every text is escaped. No Streamlit."""

from __future__ import annotations

import difflib
import html
from collections.abc import Sequence

import pandas as pd

from kgmet.edit.report import Answer, EditReport
from kgmet.graph.reading.retrieve import Subgraph
from kgmet.graph.triple import Triple
from workbench.wording import VERDICTS, percent

__all__ = [
    "answer_side",
    "chip",
    "consequence_table",
    "listed_triples",
    "marked_difference",
    "token_html",
    "triple_frame",
]


def chip(verdict: bool | None) -> str:
    """A verdict as a small coloured word; the word says it all, the colour only repeats it."""
    word, kind = VERDICTS[verdict]
    return f'<span class="kg-chip {kind}">{word}</span>'


def marked_difference(before: str, after: str) -> tuple[str, str]:
    """Both texts as HTML, with the words that are only in one of them marked."""
    left, right = before.split(" "), after.split(" ")
    marked: tuple[list[str], list[str]] = ([], [])
    for what, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for place, words in enumerate((left[a:b], right[c:d])):
            text = html.escape(" ".join(words))
            if text:
                marked[place].append(text if what == "equal" else f"<mark>{text}</mark>")
    return " ".join(marked[0]), " ".join(marked[1])


def answer_side(heading: str, said: str, answer: Answer, *, new: str, old: str | None, exact: bool = False) -> str:
    """One of two cards beside each other: what the model says (`said`: HTML) and the two probabilities."""
    shown = repr if exact else percent
    pairs = [(new, answer.p_new), *([(old, answer.p_old)] if old is not None else [])]
    rows = [
        f'<div class="row"><span>{html.escape(name)}</span><b>{html.escape(shown(value))}</b></div>'
        for name, value in pairs
    ]
    said = said.replace("\n", " ") or "<em>nothing</em>"
    return f'<div class="kg-side"><h4>{heading}</h4><p class="said">{said}</p>{"".join(rows)}</div>'


def consequence_table(report: EditReport) -> str:
    """The consequences of a report before and after, one row each."""
    rows = []
    for item in report.consequences:
        before, after = marked_difference(item.before.answer, item.after.answer)
        old = _moved(item.old, item.before.p_old, item.after.p_old) if item.old is not None else ""
        rows.append(
            f"<tr><td>{html.escape(item.prompt)} …<small>{html.escape(item.reason)}</small></td>"
            f"<td>{before}</td><td>{after}</td>"
            f'<td class="p">{_moved(item.new, item.before.p_new, item.after.p_new)}<small>{old}</small></td>'
            f"<td>{chip(item.holds)}</td></tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in ("asked", "before", "after", "probability", "verdict"))
    return f'<div class="kg-table-wrap"><table class="kg-table"><tr>{head}</tr>{"".join(rows)}</table></div>'


def _moved(answer: str, before: float | None, after: float | None) -> str:
    return f"{html.escape(answer)} {percent(before)} → {percent(after)}"


def listed_triples(subgraph: Subgraph) -> tuple[Triple, ...]:
    """The triples of `triple_frame`, row by row: the edited one first, those switched off last."""
    first = () if subgraph.edited is None else (subgraph.edited,)
    return (*first, *(triple for triple in subgraph.triples if triple not in first), *subgraph.switched_off)


def triple_frame(subgraph: Subgraph) -> pd.DataFrame:
    """The triples of a subgraph, with those switched off: ``on``, labels, ids, hop, source and ``state``."""
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
    """Tokens (text, role) as a strip; blanks are shown as ``·`` so that nothing is invisible."""
    spans = []
    for text, role in tokens:
        shown = html.escape(text.replace("\n", "⏎").replace(" ", "·")) or "∅"
        spans.append(f'<span class="{html.escape(role)}">{shown}</span>')
    spoken = html.escape("Tokens: " + " | ".join(text for text, _ in tokens))
    return f'<div class="kg-tokens" role="img" aria-label="{spoken}">{"".join(spans)}</div>'
