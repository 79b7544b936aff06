"""All editors on the same edits: one at a time, and all of them at once.

    python benchmarks/quality.py [--threads 2] [--limit 40] [--editors KGMET AlphaEdit …] [--together 20] [--json FILE]

Prints the tables the docs quote. Test wordings are held out (`edit_set.check_held_out`), tested neighbours are never
protected ones. Editors that ask for the same shift share one search, so their differences are those of the write.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import Case, build_cases, context_of
from measure import Share, Table, interval_text, machine, measured, measured_together

from kgmet.config import EditConfig
from kgmet.context import EditContext
from kgmet.editors import EDITORS, Editor, WriterKind, editor_named
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.sample import sample_store
from kgmet.lm.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.spans import Phrase, locate_all
from kgmet.plan import EditPlan, SearchedEdits, search_edits, write_edits
from kgmet.statistics import KeyStatistics
from kgmet.write.moments import bundled_corpus
from kgmet.write.patch import EditPatch, attached

KINDS = ("efficacy", "paraphrase", "neighbour", "consequence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument(
        "--together", type=int, default=20, help="edits written at once in the second table; 0 for none"
    )
    parser.add_argument("--editors", nargs="*", default=list(EDITORS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm, store, catalogue = load_lm(DEFAULT_MODEL), sample_store(), RelationCatalogue.load()
    cases = build_cases(lm, store, catalogue, limit=options.limit)
    editors = [editor_named(name) for name in options.editors]
    runner = _Runner(lm, cases, {e.name: [context_of(c, store, catalogue, e.config) for c in cases] for e in editors})
    before = measured(lm, cases, None)
    found: dict[str, dict[str, Share]] = {"unedited": before}
    ratios: dict[str, float] = {}
    for editor in editors:
        plans = runner.one_at_a_time(editor)
        found[editor.name] = measured(lm, cases, [plan.patch for plan in plans])
        shifts = [plan.shifts[0].norm_ratio for plan in plans if plan.shifts]
        ratios[editor.name] = sum(shifts) / len(shifts) if shifts else math.nan
        print(_row(editor.name, found[editor.name]), file=sys.stderr, flush=True)
    print(f"\nOne at a time: {len(cases)} edits, {machine(options.threads)}, {lm.name}.")
    print("Preferred / first answer, % (95 % interval of preferred, n); ‖shift‖/‖h‖ is the mean over edits.\n")
    print(_table(found, ratios, runner.seconds))
    if options.together:
        together = {"unedited": measured(lm, cases[: options.together], None)}
        perplexities = {"unedited": perplexity(lm, [])}
        for editor in editors:
            plan = runner.all_at_once(editor, options.together)
            together[editor.name] = measured_together(lm, cases[: options.together], [plan.patch])
            perplexities[editor.name] = perplexity(lm, [plan.patch])
            print(_row(editor.name, together[editor.name]), file=sys.stderr, flush=True)
        print(f"\n{options.together} edits written at once; perplexity on 40 passages of plain text.\n")
        print(_table(together, perplexities, {}))
    if options.json:
        data = {name: {kind: share.to_json() for kind, share in shares.items()} for name, shares in found.items()}
        options.json.write_text(json.dumps(data, indent=1), encoding="utf-8")


class _Runner:
    """Searches shared by the editors that ask for the same shift."""

    def __init__(self, lm: LoadedLM, cases: Sequence[Case], contexts: dict[str, list[EditContext]]) -> None:
        self._lm, self._cases, self._contexts = lm, cases, contexts
        self._statistics = KeyStatistics(lm)
        self._searched: dict[object, tuple[list[SearchedEdits], float]] = {}
        self.seconds: dict[str, float] = {}

    def one_at_a_time(self, editor: Editor) -> list[EditPlan]:
        """Every edit on its own."""
        searched, seconds = self._search(editor)
        start = time.perf_counter()
        plans = [write_edits(self._lm, one, editor=editor, statistics=self._statistics) for one in searched]
        self.seconds[editor.name] = (seconds + time.perf_counter() - start) / len(plans)
        return plans

    def all_at_once(self, editor: Editor, n: int) -> EditPlan:
        """The first `n` edits in one write."""
        searched, _ = self._search(editor)
        together = replace(
            searched[0],
            contexts=tuple(one.contexts[0] for one in searched[:n]),
            problems=tuple(one.problems[0] for one in searched[:n]),
            shifts=tuple(shift for one in searched[:n] for shift in one.shifts),
        )
        return write_edits(self._lm, together, editor=editor, statistics=self._statistics)

    def _search(self, editor: Editor) -> tuple[list[SearchedEdits], float]:
        key = _search_key(editor)
        if key not in self._searched:
            contexts, found = self._contexts[editor.name], []
            start = time.perf_counter()
            for begin in range(0, len(contexts), 8):
                chunk = contexts[begin : begin + 8]
                found += search_edits(self._lm, chunk, editor=editor).apart()
            self._searched[key] = found, time.perf_counter() - start
        return self._searched[key]


def _search_key(editor: Editor) -> object:
    config: EditConfig = editor.config
    fine_tunes = editor.writer is WriterKind.FINE_TUNE
    return fine_tunes, config.hold, config.direction, config.target, config.write.layers[-1]


def perplexity(lm: LoadedLM, patches: Sequence[EditPatch], *, n: int = 40) -> float:
    """Of the first passages of the bundled text, per token."""
    spans = locate_all(lm, [Phrase(template=line[:300]) for line in bundled_corpus().lines[:n]])
    total, count = 0.0, 0
    with attached(list(patches), lm), torch.no_grad():
        for span in spans:
            ids = torch.tensor([span.input_ids], device=lm.device)
            logprobs = lm.model(ids).logits[0, :-1].float().log_softmax(-1)  # type: ignore[operator]
            total -= float(logprobs.gather(1, ids[0, 1:, None]).sum())
            count += ids.shape[1] - 1
    return math.exp(total / count)


def _row(name: str, shares: dict[str, Share]) -> str:
    return name + ": " + ", ".join(f"{kind} {interval_text(shares.get(kind))}" for kind in KINDS)


def _table(found: dict[str, dict[str, Share]], last: dict[str, float], seconds: dict[str, float]) -> Table:
    header = ["", "efficacy", "paraphrase", "neighbours", "consequences", "‖shift‖/‖h‖" if seconds else "perplexity"]
    table = Table([*header, "s / edit"] if seconds else header)
    for name, shares in found.items():
        cells = [interval_text(shares.get(kind)) for kind in KINDS]
        cells.append(f"{last[name]:.2f}" if name in last and not math.isnan(last[name]) else "–")
        table.add(name, *cells, *([f"{seconds[name]:.1f}" if name in seconds else "–"] if seconds else []))
    return table


if __name__ == "__main__":
    main()
