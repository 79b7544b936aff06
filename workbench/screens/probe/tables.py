"""Probe results → tables for the eye (escaped HTML) and for files (CSV, JSON, Markdown). No Streamlit."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from kgmet.lm.say.score import AnswerScore
from kgmet.measure.compare import KindSummary, ProbePair, wilson_interval
from kgmet.measure.prompts import ProbeKind
from workbench.drawing.tables import chip, marked_difference
from workbench.screens.probe.actions import Chain, ProbeRun
from workbench.wording import percent, short

__all__ = ["KINDS", "chain_html", "pair_table", "probe_frame", "probe_json", "probe_markdown", "summary_frame"]

KINDS = {
    ProbeKind.REWRITE: ("The edit", "the edit's own prompt"),
    ProbeKind.PARAPHRASE: ("Other words", "the same fact, worded differently from anything that was optimised"),
    ProbeKind.CONSEQUENCE: ("Consequences", "what follows from the edit, as a sentence to continue"),
    ProbeKind.MULTI_HOP: ("Multi-hop questions", "what follows from the edit, as a question over several facts"),
    ProbeKind.LATER_HOP: ("Edited fact later", "chains that start elsewhere and reach the edited fact"),
    ProbeKind.INVERSE: ("Read backwards", "the fact from its object's side"),
    ProbeKind.NEIGHBOUR: ("Neighbours", "the same relation of other subjects: must not change"),
    ProbeKind.CONTROL: ("Other facts of the subject", "must not change"),
    ProbeKind.OWN: ("Your own", "typed by you, without an expectation of ours"),
}
"""Kind → (heading, what it asks)."""


def pair_table(pairs: Sequence[tuple[ProbePair, float]]) -> str:
    """Prompt by prompt, before and after side by side; with each pair its KL in nats."""
    rows = []
    for pair, divergence in pairs:
        prompt = pair.after.prompt
        before, after = marked_difference(pair.before.answer.strip(), pair.after.answer.strip())
        about = f"expects {prompt.expected}" if prompt.expected else "nothing expected"
        about += f", not {prompt.rejected}" if prompt.rejected else ""
        path = f"<small>{html.escape(prompt.path)}</small>" if prompt.path else ""
        rows.append(
            f"<tr><td>{html.escape(prompt.text)}<small>{html.escape(about)}</small>{path}</td>"
            f"<td>{before or '∅'}</td><td>{after or '∅'}</td>"
            f'<td class="num">{_moved(pair.before.expected, pair.after.expected)}</td>'
            f'<td class="num">{_moved(pair.before.rejected, pair.after.rejected)}</td>'
            f'<td class="num">{_ranks(pair)}</td><td class="num">{divergence:.3g}</td><td>{chip(pair.holds)}</td></tr>'
        )
    names = ("prompt", "before", "after", "p expected", "p rejected", "rank", "KL, nats", "verdict")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="kg-table-wrap"><table class="kg-table kg-probes"><tr>{head}</tr>{"".join(rows)}</table></div>'


def _moved(before: AnswerScore | None, after: AnswerScore | None) -> str:
    if before is None or after is None:
        return "–"
    return f"{percent(before.probability)}<br>→ {percent(after.probability)}"


def _ranks(pair: ProbePair) -> str:
    if pair.before.expected is None or pair.after.expected is None:
        return "–"
    return f"{pair.before.expected.rank} → {pair.after.expected.rank}"


def summary_frame(summaries: Sequence[KindSummary]) -> pd.DataFrame:
    """One row per kind: counts, and the share that holds with its 95 % interval."""
    rows = []
    for item in summaries:
        low, high = wilson_interval(item.holds, item.n)
        rows.append(
            {
                "kind": KINDS[item.kind][0],
                "n": item.n,
                "preferred before": f"{item.preferred_before}/{item.n}",
                "preferred after": f"{item.preferred_after}/{item.n}",
                "first answer before": f"{item.first_before}/{item.n}",
                "first answer after": f"{item.first_after}/{item.n}",
                "holds": 100 * item.holds / item.n,
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
        said = "not asked" if pair is None else short(pair.after.answer.strip().split("\n")[0], 40)
        score = None if pair is None or pair.after.expected is None else pair.after.expected
        does_hold = pair is not None and (pair.after.matches or (score is not None and score.is_first))
        if not does_hold and broken is None:
            broken = number
        shown = percent(None if score is None else score.probability)
        tail = "" if does_hold else f" – says “{html.escape(said)}”"
        parts.append(f'<span class="edge">–{html.escape(triple.relation.label)}→</span>')
        kind = "held" if does_hold else "broken"
        mark = "✓" if does_hold else "✗"
        parts.append(f'<span class="node {kind}">{mark} {html.escape(triple.object.label)} {shown}{tail}</span>')
    whole = [pair for pair in run.comparison.pairs if pair.after.prompt.source_id == item.id]
    holds = sum(pair.holds is True for pair in whole)
    if broken is not None:
        parts.append(f'<span class="edge">breaks at hop {broken} of {len(chain.hops)}</span>')
    if whole:
        parts.append(f'<span class="edge">asked as a whole: {holds} of {len(whole)} hold</span>')
    return f'<div class="kg-chain">{"".join(parts)}</div>', broken


def probe_frame(run: ProbeRun) -> pd.DataFrame:
    """Everything a run found, one row per prompt, as plain values for a file."""
    rows = []
    for pair, divergence in zip(run.comparison.pairs, run.divergence, strict=True):
        prompt = pair.after.prompt
        row: dict[str, object] = {
            "kind": prompt.kind.value,
            "prompt": prompt.text,
            "expected": prompt.expected,
            "rejected": prompt.rejected,
            "path": prompt.path,
            "answer before": pair.before.answer,
            "answer after": pair.after.answer,
        }
        for side, result in (("before", pair.before), ("after", pair.after)):
            for which, score in (("expected", result.expected), ("rejected", result.rejected)):
                row[f"p {which} {side}"] = None if score is None else score.probability
            row[f"rank {side}"] = None if result.expected is None else result.expected.rank
        row |= {"KL nats": divergence, "holds": pair.holds}
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
    columns = ["kind", "prompt", "answer before", "answer after", "p expected before", "p expected after", "holds"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for _, row in frame[columns].iterrows():
        cells = [f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in row]
        lines.append("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |")
    return "\n".join(lines) + "\n"
