"""Probe results → tables for the eye (escaped HTML) and for files (CSV, JSON, Markdown). No Streamlit."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from kgmet.lm.say.score import AnswerScore
from kgmet.measure.compare import AnswerPair, KindSummary
from kgmet.measure.metrics import wilson_interval
from kgmet.measure.question import QuestionKind
from workbench.drawing.tables import chip, marked_difference
from workbench.screens.probe.values import Chain, ProbeRun
from workbench.wording import percent, short

__all__ = ["KINDS", "chain_html", "pair_table", "probe_frame", "probe_json", "probe_markdown", "summary_frame"]

KINDS = {
    QuestionKind.MULTI_HOP: (
        "Multi-hop questions",
        "what follows from the edit, as a question over several facts, asked in the chat template (without one: Q, A)",
    ),
    QuestionKind.REWRITE: ("The edit", "the edit's own prompt"),
    QuestionKind.PARAPHRASE: ("Other words", "the same fact, worded differently from anything that was optimised"),
    QuestionKind.CONSEQUENCE: ("Consequences", "what follows from the edit, as a sentence to continue"),
    QuestionKind.LATER_HOP: ("Edited fact later", "chains that start elsewhere and reach the edited fact"),
    QuestionKind.INVERSE: ("Read backwards", "the fact from its object's side"),
    QuestionKind.NEIGHBOUR: ("Neighbours", "the same relation of other subjects: must not change"),
    QuestionKind.CONTROL: ("Other facts of the subject", "must not change"),
    QuestionKind.OWN: ("Your own", "typed by you, without an expectation of ours"),
}
"""Kind → (heading, what it asks)."""


def pair_table(pairs: Sequence[tuple[AnswerPair, float]]) -> str:
    """Prompt by prompt, before and after side by side; with each pair its KL in nats."""
    rows = []
    for pair, divergence in pairs:
        prompt = pair.after.question
        before, after = marked_difference(pair.before.said.strip(), pair.after.said.strip())
        about = f"expects {prompt.expected}" if prompt.expected else "nothing expected"
        about += f", not {prompt.rejected}" if prompt.rejected else ""
        path = f"<small>{html.escape(prompt.path)}</small>" if prompt.path else ""
        rows.append(
            f"<tr><td>{html.escape(prompt.text)}<small>{html.escape(about)}</small>{path}</td>"
            f"<td>{before or '∅'}</td><td>{after or '∅'}</td>"
            f'<td class="num">{_moved(pair.before.expected, pair.after.expected)}</td>'
            f'<td class="num">{_moved(pair.before.rejected, pair.after.rejected)}</td>'
            f'<td class="num">{_ranks(pair)}</td><td class="num">{divergence:.3g}</td><td>{chip(pair)}</td></tr>'
        )
    names = ("prompt", "before", "after", "p expected", "p rejected", "rank", "KL, nats", "verdict")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="kg-table-wrap"><table class="kg-table kg-probes"><tr>{head}</tr>{"".join(rows)}</table></div>'


def _moved(before: AnswerScore | None, after: AnswerScore | None) -> str:
    if before is None or after is None:
        return "–"
    return f"{percent(before.probability)}<br>→ {percent(after.probability)}"


def _ranks(pair: AnswerPair) -> str:
    if pair.before.expected is None or pair.after.expected is None:
        return "–"
    return f"{pair.before.expected.rank} → {pair.after.expected.rank}"


def summary_frame(summaries: Sequence[KindSummary]) -> pd.DataFrame:
    """One row per kind: how many are said and how many only preferred, and the share said with its 95 % interval."""
    rows = []
    for item in sorted(summaries, key=lambda one: list(KINDS).index(one.kind)):
        low, high = wilson_interval(item.says_after, item.n)
        rows.append(
            {
                "kind": KINDS[item.kind][0],
                "n": item.n,
                "says before": f"{item.says_before}/{item.n}",
                "says after": f"{item.says_after}/{item.n}",
                "only prefers before": f"{item.prefers_before}/{item.n}",
                "only prefers after": f"{item.prefers_after}/{item.n}",
                "said or unchanged": 100 * item.says_after / item.n,
                "95 % interval": f"{100 * low:.0f}–{100 * high:.0f} %",
            }
        )
    return pd.DataFrame(rows)


def chain_html(run: ProbeRun, chain: Chain) -> tuple[str, int | None]:
    """One chain with every hop's answer after the edit, and the position (from 1) where it breaks, if it does."""
    item = chain.consequence
    parts = [f'<span class="node held">{html.escape(chain.hops[0][0].subject.label)}</span>']
    broken: int | None = None
    for number, (triple, prompt) in enumerate(chain.hops, start=1):
        pair = run.hop(prompt)
        said = "not asked" if pair is None else short(pair.after.said.strip().split("\n")[0], 40)
        score = None if pair is None or pair.after.expected is None else pair.after.expected
        does_hold = pair is not None and pair.after.says
        if not does_hold and broken is None:
            broken = number
        shown = percent(None if score is None else score.probability)
        tail = "" if does_hold else f" – says “{html.escape(said)}”"
        parts.append(f'<span class="edge">–{html.escape(triple.relation.label)}→</span>')
        kind = "held" if does_hold else "broken"
        mark = "✓" if does_hold else "✗"
        parts.append(f'<span class="node {kind}">{mark} {html.escape(triple.object.label)} {shown}{tail}</span>')
    whole = [pair for pair in run.comparison.pairs if pair.after.question.source_id == item.id]
    said_now, said_before = sum(pair.after.says for pair in whole), sum(pair.before.says for pair in whole)
    if broken is not None:
        parts.append(f'<span class="edge">breaks at hop {broken} of {len(chain.hops)}</span>')
    if whole:
        parts.append(
            f'<span class="edge">asked as a whole: says {said_now} of {len(whole)}, {said_before} before</span>'
        )
    return f'<div class="kg-chain">{"".join(parts)}</div>', broken


def probe_frame(run: ProbeRun) -> pd.DataFrame:
    """Everything a run found, one row per prompt, as plain values for a file."""
    rows = []
    for pair, divergence in zip(run.comparison.pairs, run.divergence, strict=True):
        prompt = pair.after.question
        row: dict[str, object] = {
            "kind": prompt.kind.value,
            "prompt": prompt.text,
            "expected": prompt.expected,
            "rejected": prompt.rejected,
            "path": prompt.path,
            "answer before": pair.before.said,
            "answer after": pair.after.said,
        }
        for side, result in (("before", pair.before), ("after", pair.after)):
            for which, score in (("expected", result.expected), ("rejected", result.rejected)):
                row[f"p {which} {side}"] = None if score is None else score.probability
            row[f"rank {side}"] = None if result.expected is None else result.expected.rank
        row |= {
            "KL nats": divergence,
            "form": pair.after.form.value,
            "verdict before": None if pair.before.verdict is None else pair.before.verdict.value,
            "verdict after": None if pair.verdict is None else pair.verdict.value,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def probe_json(run: ProbeRun) -> str:
    """The comparison as JSON, with KL and decoding."""
    pairs = zip(run.comparison.to_json(), run.divergence, strict=True)
    data = {
        "entry": run.entry_id,
        "decoding": asdict(run.decoding),
        "pairs": [{**pair, "kl_nats": divergence} for pair, divergence in pairs],
    }
    return json.dumps(data, ensure_ascii=False, indent=1)


def probe_markdown(run: ProbeRun) -> str:
    """The same as a Markdown table; what could be read as Markdown is escaped."""
    frame = probe_frame(run)
    columns = [
        "kind",
        "prompt",
        "answer before",
        "answer after",
        "p expected before",
        "p expected after",
        "verdict after",
    ]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for _, row in frame[columns].iterrows():
        cells = [f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in row]
        lines.append("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |")
    return "\n".join(lines) + "\n"
