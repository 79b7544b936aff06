"""A report card as lines of text, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from kgmet.base.words import percent
from kgmet.evaluate.card.value import Cell, Column, Example, ReportCard, Row
from kgmet.evaluate.tables.latex import escape_latex

__all__ = [
    *("SCALE", "about_edit", "card_latex", "card_markdown", "card_text"),
    *("cell_text", "example_lines", "intro_lines", "n_text"),
]

_DASH = "–"
_MOST_LISTED = 10
_STEPS = {"says": "right", "prefers": "preferred", "no": "no"}
_COUNTED = "said / preferred / no"
SCALE = (
    f"Shares in % with 95 % intervals (Wilson), then the number of answers {_COUNTED}: the greedy answer names what is "
    "right and not what is wrong; it is only likelier per token; neither."
)
"""What the cells mean."""


def cell_text(row: Row, cell: Cell, *, counts: bool = True) -> str:
    """Return one cell: ``75 % (30–95) · 3/1/0``, ``612 (590–640)``, or a dash where nothing was measured.

    Without `counts` it ends after the interval.
    """
    if cell.value is None:
        return _DASH
    is_share = row.spec.unit.startswith("share")
    scale = 100.0 if is_share else 1.0
    text = f"{_number(scale * cell.value, is_share)}{' %' if is_share else ''}"
    if cell.interval is not None:
        low, high = (_number(scale * end, is_share) for end in cell.interval)
        text += f" ({low}–{high})"
    if counts and cell.said is not None:
        text += f" · {cell.said}/{cell.preferred}/{cell.no}"
    return text


def n_text(row: Row) -> str:
    """Return the number of prompts, texts or tokens of a row, and with a condition the total."""
    n = max((cell.n for cell in row.cells.values()), default=0)
    return f"{n} of {row.n_asked}" if row.spec.condition else str(n)


def intro_lines(card: ReportCard) -> list[str]:
    """Return what was judged, and the sentences before the prompts in the in-context columns."""
    lines = [f"Model: {card.model}. Edited by: {card.edited}. Scored in {card.seconds:.1f} s."]
    lines += [f"Fact: {edit}." for edit in card.edits[:_MOST_LISTED]]
    if len(card.edits) > _MOST_LISTED:
        lines.append(f"And {len(card.edits) - _MOST_LISTED} more facts.")
    return [*lines, *card.notes]


def card_text(card: ReportCard) -> str:
    """Return the card for a terminal."""
    table = _table(card)
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    notes = [f"  {row.spec.label}: {note}" for row in card.shown if (note := _notes(row, card.columns))]
    return "\n".join([*intro_lines(card), "", *lines, "", SCALE, *notes, *_about_texts(card)])


def card_markdown(card: ReportCard) -> str:
    """Return the card as Markdown: the table, what its rows and columns mean, and the worst answers."""
    header, *body = _table(card)
    rule = ["---", *["---:"] * (len(header) - 1)]
    table = ["| " + " | ".join(_cell_escaped(cell) for cell in line) + " |" for line in (header, rule, *body)]
    meanings = [f"- **{row.spec.label}**: {_escaped(_meaning(row, card.columns))}" for row in card.shown]
    columns = [f"- *{column.label}*: {column.definition}." for column in card.columns]
    told = [
        f"{number}. {_escaped(' '.join(facts))}" for number, facts in enumerate(card.facts, start=1) if len(facts) > 1
    ]
    parts = [
        "# Report card",
        "\n\n".join(_escaped(line) for line in intro_lines(card)),
        "\n".join(table),
        "\n".join([SCALE.replace(_COUNTED, f"*{_COUNTED}*"), *(_escaped(line) for line in _about_texts(card))]),
        "\n".join(columns),
        *(["What the graph retrieves, with the fact first:", "\n".join(told)] if told else []),
        "\n".join(meanings),
    ]
    for row in card.shown:
        if row.worst:
            parts += [f"## {row.spec.label}: worst answers", "\n".join(_listed(example, card) for example in row.worst)]
    return "\n\n".join(parts) + "\n"


def card_latex(card: ReportCard) -> str:
    """Return the table as a LaTeX tabular (booktabs)."""
    header, *body = _table(card)
    lines = [" & ".join(escape_latex(cell) for cell in line) + r" \\" for line in (header, *body)]
    rows = "\n".join(lines[1:])
    return (
        f"% {escape_latex(' '.join(intro_lines(card)))}\n\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n\\toprule\n"
        f"{lines[0]}\n\\midrule\n{rows}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def example_lines(example: Example, columns: Sequence[Column]) -> list[str]:
    """Return what each of the columns answers to one prompt."""
    return [
        f"{column.label}: {example.answers[column.key] or '(nothing)'} ({_STEPS[example.verdicts[column.key]]}, "
        f"{percent(example.probabilities.get(column.key, 0.0))})"
        for column in columns
        if column.key in example.answers
    ]


def about_edit(example: Example, card: ReportCard) -> str:
    """Return the edit that an example belongs to, if the card is of several edits."""
    return example.edit if len(card.edits) > 1 else ""


def _table(card: ReportCard) -> list[list[str]]:
    header = ["", *(column.label for column in card.columns), "n"]
    return [
        header,
        *(
            [row.spec.label, *(cell_text(row, row.cells[column.key]) for column in card.columns), n_text(row)]
            for row in card.shown
        ),
    ]


def _meaning(row: Row, columns: Sequence[Column]) -> str:
    parts = [row.spec.definition]
    parts += [f"Counted are only {row.spec.condition}."] if row.spec.condition else []
    parts += [f"Here: {note}."] if (note := _notes(row, columns)) else []
    return " ".join(parts)


def _notes(row: Row, columns: Sequence[Column]) -> str:
    return "; ".join(
        f"{_named(column)}: {row.cells[column.key].note}" for column in columns if row.cells[column.key].note
    )


def _named(column: Column) -> str:
    """Return the label inside a sentence; names of editors keep their capitals."""
    return column.label if ":" in column.key else column.label.lower()


def _about_texts(card: ReportCard) -> list[str]:
    return [f"Divergence and perplexity are measured on {card.texts}."] if card.texts else []


def _listed(example: Example, card: ReportCard) -> str:
    prompt = _escaped(" ".join(example.prompt.split()))
    head = f"- {prompt} → {_escaped(example.wanted)}"
    if about := about_edit(example, card):
        head += f" ({_escaped(about)})"
    return "\n".join([head, *(f"    - {_escaped(line)}" for line in example_lines(example, card.columns))])


def _number(value: float, is_share: bool) -> str:
    if is_share:
        return f"{value:.0f}"
    if abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def _escaped(text: str) -> str:
    """Escape a text so that nothing in it has a meaning in Markdown or HTML."""
    for sign in "\\`*_{}[]<>#|~":
        text = text.replace(sign, f"&#{ord(sign)};" if sign in "<>" else f"\\{sign}")
    return text


def _cell_escaped(text: str) -> str:
    return text.replace("|", "\\|")
