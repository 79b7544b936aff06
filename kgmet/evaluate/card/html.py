"""A report card as one self-contained HTML file with escaped texts."""

from __future__ import annotations

from html import escape

from kgmet.evaluate.card.render import SCALE, about_edit, cell_text, example_lines, intro_lines, n_text
from kgmet.evaluate.card.value import Example, ReportCard, Row

__all__ = ["card_html"]

_STYLE = """
:root { color-scheme: light dark; --line: #d5d9de; --faint: #5b6470; }
@media (prefers-color-scheme: dark) { :root { --line: #3a414a; --faint: #a3acb8; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
p { margin: .3rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { padding: .4rem .6rem 0; text-align: left; vertical-align: top; }
th[scope=row] { font-weight: 600; }
tr.more td { border-bottom: 1px solid var(--line); padding: 0 .6rem .3rem; }
tr.more summary { color: var(--faint); font-size: .8rem; }
td { font-variant-numeric: tabular-nums; }
td small, p small { color: var(--faint); }
details { margin: .15rem 0; }
summary { cursor: pointer; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
"""


def card_html(card: ReportCard) -> str:
    """Return the page: the table, with the meaning and the worst answers of each row folded below it."""
    head = "".join(f"<th scope='col' title='{_text(c.definition)}'>{_text(c.label)}</th>" for c in card.columns)
    body = "".join(_row(row, card) for row in card.shown)
    intro = "".join(f"<p>{_text(line)}</p>" for line in intro_lines(card))
    columns = "".join(f"<li><b>{_text(c.label)}</b>: {_text(c.definition)}.</li>" for c in card.columns)
    told = "".join(f"<li>{_text(' '.join(facts))}</li>" for facts in card.facts)
    texts = f"<p>Divergence and perplexity are measured on {_text(card.texts)}.</p>" if card.texts else ""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Report card: {_text('; '.join(card.edits)[:200])}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Report card</h1>{intro}"
        f"<div class='wide'><table><thead><tr><th scope='col'>Row</th>{head}<th scope='col'>n</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
        f"<p>{_text(SCALE)}</p>"
        f"{texts}<ul>{columns}</ul><details><summary>What is said before the prompts in context</summary>"
        f"<ol>{told}</ol></details></body></html>\n"
    )


def _row(row: Row, card: ReportCard) -> str:
    columns = card.columns
    cells = "".join(
        f"<td>{_text(cell_text(row, row.cells[c.key]))}{_small(row.cells[c.key].note)}</td>" for c in columns
    )
    condition = f"<p>Counted are only {_text(row.spec.condition)}.</p>" if row.spec.condition else ""
    worst = "".join(_example(example, card) for example in row.worst)
    listed = f"<ul>{worst}</ul>" if worst else ""
    n_worst = f", {len(row.worst)} worst answers" if len(row.worst) > 1 else ", the worst answer" if row.worst else ""
    return (
        f"<tr><th scope='row'>{_text(row.spec.label)}</th>{cells}<td>{_text(n_text(row))}</td></tr>"
        f"<tr class='more'><td colspan='{len(columns) + 2}'><details><summary>Definition{n_worst}</summary>"
        f"<p>{_text(row.spec.definition)}</p>{condition}{listed}</details></td></tr>"
    )


def _example(example: Example, card: ReportCard) -> str:
    answers = "".join(f"<li>{_text(line)}</li>" for line in example_lines(example, card.columns))
    about = _small(about_edit(example, card))
    return f"<li>{_text(example.prompt)} → <b>{_text(example.wanted)}</b>{about}<ul>{answers}</ul></li>"


def _small(note: str) -> str:
    return f"<br><small>{_text(note)}</small>" if note else ""


def _text(text: str) -> str:
    return escape(text, quote=True)
