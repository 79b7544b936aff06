"""Run summaries as Markdown and LaTeX, and paired tests between runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kgmet.evaluate.datasets.cases import AskKind
from kgmet.evaluate.tables.graph_share import graph_line
from kgmet.evaluate.tables.latex import escape_latex
from kgmet.evaluate.tables.summary import RunSummary
from kgmet.measure.metrics import METRICS, bootstrap

__all__ = ["PairedTest", "compare_runs", "graph_lines", "latex_table", "markdown_table", "mcnemar", "unfinished_lines"]

_KINDS = ("efficacy", "paraphrase", "neighborhood", "consequences", "portability", "locality", "hop")
_CHAT = "multi-hop, asked in chat"
_GRAPH = "graph"
_VALUES = ("score", "fluency", "consistency", "perplexity")
_COMPARED = (AskKind.EFFICACY, AskKind.PARAPHRASE, AskKind.NEIGHBORHOOD, AskKind.CONSEQUENCES)


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Comparison of two runs on the prompts both asked.

    `difference` is share(second) − share(first) with a bootstrap interval over cases. `only_first` and `only_second`
    count prompts that only one of them got right; `p` is McNemar's exact two-sided p-value.
    """

    first: str
    second: str
    metric: str
    n: int
    difference: float
    interval: tuple[float, float]
    only_first: int
    only_second: int
    p: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def markdown_table(summaries: Sequence[RunSummary]) -> str:
    """Return a Markdown table with one line per run and state, and a legend of its columns."""
    header, lines = _cells(summaries)
    rule = ["---", "---", *["---:"] * (len(header) - 2)]
    body = "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))
    notes = "\n".join(
        f"- **{METRICS[key].label}**: {METRICS[key].definition} ({METRICS[key].source})." for key in METRICS
    )
    return (
        f"{body}\n\nShares in % as *preferred / first answer / said freely*, with 95 % intervals of the first; "
        f"n counts prompts. Of neighbourhood and locality the third number is, after the edit, the share unchanged. "
        f"*{_CHAT}*: said, with its 95 % interval. *{_GRAPH}*: share of the cases in which the graph took part.\n\n"
        f"{notes}\n"
    )


def graph_lines(summaries: Sequence[RunSummary]) -> list[str]:
    """Return a sentence for each run of an editor that uses a graph: in how many cases it took part, and a warning."""
    return [
        graph_line(f"{summary.editor}/{summary.name}", summary.metrics["graph"])
        for summary in summaries
        if "graph" in summary.metrics
    ]


def unfinished_lines(summaries: Sequence[RunSummary]) -> list[str]:
    """Return a sentence for each run that was not finished, with what continues it."""
    return [
        f"{summary.editor}/{summary.name} was not finished: {summary.n_cases} of {summary.n_wanted} cases are scored. "
        f"evaluate with the same options, --alg_name {summary.editor} and --continue_from_run {summary.name} goes on."
        for summary in summaries
        if not summary.is_finished
    ]


def latex_table(summaries: Sequence[RunSummary]) -> str:
    """Return the same numbers as a LaTeX tabular (booktabs), without intervals."""
    header, lines = _cells(summaries, intervals=False)
    rows = "\n".join(" & ".join(escape_latex(cell) for cell in line) + r" \\" for line in lines)
    return (
        f"\\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}\n\\toprule\n"
        f"{' & '.join(escape_latex(cell) for cell in header)} \\\\\n\\midrule\n{rows}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def compare_runs(first: RunSummary, second: RunSummary) -> list[PairedTest]:
    """Run paired tests on the prompts that both runs asked, one for each common kind."""
    tests = []
    for kind in _COMPARED:
        one, other = _preferred(first, kind), _preferred(second, kind)
        shared = [key for key in one if key in other]
        if shared:
            tests.append(_paired(first, second, kind, [(key[0], one[key], other[key]) for key in shared]))
    return tests


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of the exact two-sided McNemar test (McNemar 1947)."""
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, float(2 * tail / 2**n))


def _paired(
    first: RunSummary, second: RunSummary, kind: AskKind, pairs: Sequence[tuple[str, bool, bool]]
) -> PairedTest:
    only_first = sum(a and not b for _, a, b in pairs)
    only_second = sum(b and not a for _, a, b in pairs)
    by_case: dict[str, list[int]] = {}
    for case_id, a, b in pairs:
        entry = by_case.setdefault(case_id, [0, 0])
        entry[0] += int(b) - int(a)
        entry[1] += 1
    table = np.array(list(by_case.values()), dtype=np.float64)
    return PairedTest(
        first=f"{first.editor}/{first.name}",
        second=f"{second.editor}/{second.name}",
        metric=kind.value,
        n=len(pairs),
        difference=(only_second - only_first) / len(pairs),
        interval=bootstrap(table, lambda rows: float(rows[:, 0].sum() / rows[:, 1].sum())),
        only_first=only_first,
        only_second=only_second,
        p=mcnemar(only_first, only_second),
    )


def _preferred(summary: RunSummary, kind: AskKind) -> dict[tuple[str, str, str], bool]:
    """Map (case, prompt, expected) to whether the expected answer is preferred after the edit."""
    return {
        (row["case_id"], ask["prompt"], ask["expected"]): bool(ask["after"]["preferred"])
        for row in summary.rows
        for ask in row["asks"]
        if ask["kind"] == kind.value and ask["after"]["preferred"] is not None
    }


def _cells(summaries: Sequence[RunSummary], *, intervals: bool = True) -> tuple[list[str], list[list[str]]]:
    kinds = [kind for kind in _KINDS if any(_n(summary.metrics.get(kind)) for summary in summaries)]
    has_chains = any("multi_hop" in summary.metrics for summary in summaries)
    has_chat = any("multi_hop_chat" in summary.metrics for summary in summaries)
    header = ["Editor", "State", "edits", "s/edit", *kinds]
    has_graph = any("graph" in summary.metrics for summary in summaries)
    header += [*(["multi-hop"] if has_chains else []), *([_CHAT] if has_chat else []), *_VALUES]
    header += [_GRAPH] if has_graph else []
    lines = []
    seen: set[tuple[str, str]] = set()
    for summary in summaries:
        for state in ("before", "after"):
            same_start = str(summary.fingerprints["dataset"]), str(summary.fingerprints["model"])
            if state == "before" and same_start in seen:
                continue
            seen.add(same_start)
            name = summary.model if state == "before" else summary.editor
            line = [name, state, str(summary.n_edits), _number(summary.seconds_per_edit) if state == "after" else ""]
            line += [_kind(summary.metrics.get(kind, {}), state, intervals=intervals) for kind in kinds]
            if has_chains:
                line.append(_chains(summary.metrics.get("multi_hop", {}).get(state)))
            if has_chat:
                line.append(_said(summary.metrics.get("multi_hop_chat", {}).get(state), intervals=intervals))
            line += [_value(name, summary.metrics[name][state]) for name in _VALUES]
            if has_graph:
                line.append(_percent(summary.metrics.get("graph", {}).get("value")) if state == "after" else "")
            lines.append(line)
    return header, lines


def _n(metric: Any) -> int:
    return int(metric["after"]["n"]) if metric else 0


def _shares(found: Mapping[str, Any] | None, *, intervals: bool) -> str:
    if not found or not found["n"]:
        return "–"
    text = " / ".join(_percent(found[key]) for key in ("preferred", "first", "generated"))
    if intervals and found["interval"]:
        low, high = found["interval"]
        text += f" ({100 * low:.0f}–{100 * high:.0f}, n {found['n']})"
    return text


def _kind(found: Mapping[str, Any], state: str, *, intervals: bool) -> str:
    """Return one cell; for kinds that must stay, the third number is the share unchanged after the edit."""
    shares = found.get(state)
    if shares and state == "after" and "unchanged" in found and shares["n_generated"]:
        shares = {**shares, "generated": found["unchanged"]["value"]}
    return _shares(shares, intervals=intervals)


def _said(found: Mapping[str, Any] | None, *, intervals: bool) -> str:
    if not found or not found["n_generated"]:
        return "–"
    text = _percent(found["generated"])
    if intervals and found["interval_generated"]:
        low, high = found["interval_generated"]
        text += f" ({100 * low:.0f}–{100 * high:.0f}, n {found['n_generated']})"
    return text


def _chains(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "–"
    return " / ".join(_percent(found[key]["value"]) for key in ("generated", "generated_chain_of_thought"))


def _value(name: str, found: Mapping[str, Any]) -> str:
    value = found["value"]
    return _percent(value) if name == "score" else _number(value)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
