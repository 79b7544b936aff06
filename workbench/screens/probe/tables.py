"""Probe results as display tables (escaped HTML) and files (CSV, JSON, Markdown), without Streamlit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import pandas as pd

from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair, Comparison, KindSummary
from kgmet.measure.metrics import wilson_interval
from kgmet.measure.question import Form, QuestionKind
from kgmet.measure.verdict import Verdict, judged_text
from workbench.drawing.answer_files import answer_markdown, answer_values
from workbench.drawing.answers import AnswerRow
from workbench.drawing.hop_line import HopLine, Station, mark_of
from workbench.drawing.probe_story import KindCount, ProbeStory
from workbench.screens.probe.values import Chain, ProbeRun
from workbench.wording import short

__all__ = [
    *("KINDS", "answer_rows", "hop_line", "probe_frame", "probe_json", "probe_markdown", "probe_story"),
    "summary_frame",
]

KINDS = {
    QuestionKind.MULTI_HOP: (
        "Multi-hop questions",
        "A consequence of the edit, as a question over several facts, asked in the chat template (without one: Q, A)",
    ),
    QuestionKind.REWRITE: ("The edit", "The edit's own prompt"),
    QuestionKind.PARAPHRASE: ("Other words", "The same fact, worded differently from anything that was optimised"),
    QuestionKind.CONSEQUENCE: ("Consequences", "A consequence of the edit, as a text to continue"),
    QuestionKind.LATER_HOP: ("Edited fact later", "Chains that start elsewhere and reach the edited fact"),
    QuestionKind.INVERSE: ("Read backwards", "The inverse fact"),
    QuestionKind.NEIGHBOUR: ("Neighbours", "The same relation of other subjects: must not change"),
    QuestionKind.CONTROL: ("Other facts of the subject", "Must not change"),
    QuestionKind.OWN: ("Your own", "Typed by you, without an expected answer"),
}
"""Kind → (heading, description)."""


def answer_rows(run: ProbeRun, kind: QuestionKind) -> list[AnswerRow]:
    """Return the prompts of one kind with their answers and the divergence of the next token's probabilities."""
    pairs = run.comparison.pairs
    told: Sequence[Answer | None] = [None] * len(pairs) if run.told is None else run.told.answers
    return [
        AnswerRow(pair=pair, told=answer, about=pair.after.question.path, note=f"KL {divergence:.3g} nats")
        for pair, answer, divergence in zip(pairs, told, run.divergence, strict=True)
        if pair.after.question.kind is kind
    ]


def hop_line(run: ProbeRun, chain: Chain) -> HopLine | None:
    """Return one chain as a line of stations; ``None`` if a hop was not asked."""
    stations = []
    for triple, question in chain.hops:
        pair = run.hop(question)
        if pair is None:
            return None
        is_edited = question.kind is QuestionKind.REWRITE
        stations.append(_station(pair, relation=triple.relation.label, is_known=is_edited or pair.before.says))
    whole = None if chain.whole is None else run.hop(chain.whole)
    knew = whole is not None and (whole.before.says or whole.before.says_rejected)
    return HopLine(
        start=chain.hops[0][0].subject.label,
        stations=tuple(stations),
        whole=None if whole is None else _station(whole, relation="", is_known=knew),
    )


def probe_story(run: ProbeRun) -> ProbeStory:
    """Return what of the run is told on."""
    told = {} if run.told_comparison is None else {item.kind: item for item in run.told_comparison.summaries()}
    counts = [
        KindCount(
            kind=KINDS[item.kind][0],
            n=item.n,
            before=None if item.kind.should_stay else item.says_before,
            after=item.says_after,
            told=told[item.kind].says_after if told else None,
        )
        for item in _in_order(run.comparison)
    ]
    lines = (hop_line(run, chain) for chain in run.chains)
    return ProbeStory(lines=tuple(line for line in lines if line is not None), counts=tuple(counts))


def _station(pair: AnswerPair, *, relation: str, is_known: bool) -> Station:
    before, after = mark_of(pair)
    return Station(
        name=pair.after.question.expected or "",
        relation=relation,
        asked=pair.after.question.text + (" …" if pair.after.question.is_cloze else ""),
        before=_brief(pair.before),
        after=_brief(pair.after),
        mark_before=before,
        mark_after=after,
        is_known=is_known,
    )


def _brief(answer: Answer) -> str:
    """Return the first sentence if its verdict equals the whole answer's; else as much as fits."""
    text, question = " ".join(answer.text.split()), answer.question
    sentence = judged_text(text, Form.CLOZE, (*question.expected_names, *question.rejected_names))
    alone = replace(answer, said=sentence)
    if (alone.says, alone.says_rejected) == (answer.says, answer.says_rejected):
        return short(sentence, 160)
    return short(text, 240)


def summary_frame(run: ProbeRun) -> pd.DataFrame:
    """Return one row per kind: numbers said and only preferred, and the share said with its 95 % interval.

    For a kind that must stay the share is of unchanged answers; the other counts are of the true object.
    """
    rows = []
    for item in _in_order(run.comparison):
        pairs = run.comparison.of(item.kind)
        told = () if run.told_comparison is None else run.told_comparison.of(item.kind)
        low, high = wilson_interval(item.says_after, item.n)
        rows.append(
            {
                "kind": KINDS[item.kind][0],
                "n": item.n,
                "says before": _count(Verdict.SAYS, [pair.before for pair in pairs]),
                "says after": _count(Verdict.SAYS, [pair.after for pair in pairs]),
                **({"says if told": _count(Verdict.SAYS, [pair.after for pair in told])} if told else {}),
                "prefers before": _count(Verdict.PREFERS, [pair.before for pair in pairs]),
                "prefers after": _count(Verdict.PREFERS, [pair.after for pair in pairs]),
                "said or unchanged": 100 * item.says_after / item.n,
                "95 % interval": f"{100 * low:.0f}–{100 * high:.0f} %",
            }
        )
    return pd.DataFrame(rows)


def _in_order(comparison: Comparison) -> list[KindSummary]:
    return sorted(comparison.summaries(), key=lambda one: list(KINDS).index(one.kind))


def _count(verdict: Verdict, answers: Sequence[Answer]) -> str:
    """Count the answers with a verdict among those with an expectation: ``3/10``."""
    judged = [answer.verdict for answer in answers if answer.verdict is not None]
    return f"{judged.count(verdict)}/{len(judged)}"


def probe_frame(run: ProbeRun) -> pd.DataFrame:
    """Return all results of a run as plain values: one row per prompt, then one per hop of a chain."""
    told: Sequence[Answer | None] = [None] * len(run.comparison.pairs) if run.told is None else run.told.answers
    rows = [
        {**answer_values(AnswerRow(pair=pair, told=answer)), "KL nats": divergence}
        for pair, answer, divergence in zip(run.comparison.pairs, told, run.divergence, strict=True)
    ]
    rows += [{**answer_values(AnswerRow(pair=pair)), "kind": "hop"} for pair in run.hops.pairs]
    return pd.DataFrame(rows)


def probe_json(run: ProbeRun) -> str:
    """Return the comparison as JSON, with KL, decoding, told sentences and answers, and the chains hop by hop."""
    pairs = zip(run.comparison.to_json(), run.divergence, strict=True)
    told = None if run.told is None else [answer.to_json() for answer in run.told.answers]
    data = {
        "entry": run.entry_id,
        "decoding": asdict(run.decoding),
        "pairs": [{**pair, "kl_nats": divergence} for pair, divergence in pairs],
        "told": None if run.told is None else {"sentences": list(run.told.sentences), "answers": told},
        "hops": run.hops.to_json(),
    }
    return json.dumps(data, ensure_ascii=False, indent=1)


def probe_markdown(run: ProbeRun) -> str:
    """Return the results as a Markdown table with escaped texts."""
    return answer_markdown(probe_frame(run))
