"""Data frames for display, and small HTML tables with escaped texts, without Streamlit."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from kgmet.graph.reading.retrieve import Subgraph
from kgmet.graph.triple import Triple
from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair
from workbench.drawing.plain import bdi
from workbench.wording import AS_BEFORE, STAYS, VERDICTS, percent, safe

__all__ = [
    "answer_side",
    "chip",
    "csv_text",
    "frame_html",
    "listed_triples",
    "markdown_text",
    "table_files",
    "token_html",
    "triple_frame",
]


def chip(pair: AnswerPair) -> str:
    """Return the verdict on a pair as a small coloured word; the colour only repeats the word."""
    verdict = None if pair.verdict is None else pair.verdict.value
    word, kind = (STAYS if pair.after.question.kind.should_stay else VERDICTS)[verdict]
    before = f"<small>{AS_BEFORE}</small>" if pair.was_so_before and not pair.after.question.kind.should_stay else ""
    return f'<span class="kg-chip {"none" if pair.is_faint else kind}">{word}</span>{before}'


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


def csv_text(frame: pd.DataFrame) -> str:
    """Return a table as CSV; a text that a spreadsheet would compute as a formula gets an apostrophe before it."""
    return frame.map(_no_formula).to_csv(index=False, lineterminator="\n")


def markdown_text(frame: pd.DataFrame) -> str:
    """Return a table as Markdown; what could be read as Markdown is escaped."""
    lines = ["| " + " | ".join(safe(str(name)) for name in frame) + " |", "|" + "---|" * len(frame.columns)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in frame.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def frame_html(frame: pd.DataFrame) -> str:
    """Return a table as HTML for a file that is shared: its first row names the columns, every text is escaped."""
    head = "".join(f'<th scope="col">{bdi(str(name))}</th>' for name in frame)
    rows = "".join(
        f"<tr>{''.join(f'<td>{bdi(str(value))}</td>' for value in row)}</tr>" for row in frame.itertuples(index=False)
    )
    return f'<div class="kg-table-wrap"><table class="kg-counts"><tr>{head}</tr>{rows}</table></div>'


def table_files(frame: pd.DataFrame) -> dict[str, str]:
    """Return a table as the contents of files, by their endings: csv, json (a list of rows), md.

    An index with a name, as a table that is drawn in full has it, is the first column.
    """
    whole = frame.reset_index() if frame.index.name is not None else frame
    rows = json.loads(whole.to_json(orient="records", double_precision=15))
    return {
        "csv": csv_text(whole),
        "json": json.dumps(rows, ensure_ascii=False, indent=1),
        "md": markdown_text(whole),
    }


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else safe(str(value))


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@\t\r")) else value


def listed_triples(subgraph: Subgraph) -> tuple[Triple, ...]:
    """Return the triples of `triple_frame` in row order: the edited one first, those switched off last."""
    first = () if subgraph.edited is None else (subgraph.edited,)
    return (*first, *(triple for triple in subgraph.triples if triple not in first), *subgraph.switched_off)


def triple_frame(subgraph: Subgraph, *, mark: str = "new") -> pd.DataFrame:
    """Return the triples of a subgraph, with those switched off: ``on``, labels, ids, hop, source and ``state``.

    `mark` is the state of the edge that the edit is about: ``new`` after it, ``true`` before it.
    """
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
                "state": mark if triple == edited else "" if is_on else "off",
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
