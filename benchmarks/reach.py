"""Where an edit's consequences are lost: in the search, in the write, or between optimised and asked wordings.

    python benchmarks/reach.py [--model bundled:gemma3] [--skip 0] [--limit 8] [--threads 2]
        [--changes '{}' '{"direction": {"source": "free"}}' …]

KGMET on tuning edits that the model knows and that have consequences, one at a time. Each of --changes is a row: JSON
of the settings that differ from the uncalibrated ones. Prints the mean loss of the optimised consequences at the end of
the search and after the write, the share of the shift that the write left, and the four columns. The test split is
never run here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import Case, build_cases, context_of
from measure import Table, interval_text, machine, measured

from kgmet.calibrate.settings import changes_text
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.editing.context import EditContext
from kgmet.editing.defaults import uncalibrated_settings
from kgmet.editing.editors import Editor, editor_named
from kgmet.editing.plan import SearchedEdits, search_edits, write_edits
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import LoadedLM, load_lm
from kgmet.measure.columns import COLUMNS, Counts, summed
from kgmet.search.problem import ShiftProblem, Term
from kgmet.search.rows import ProblemRows
from kgmet.write.patch import EditPatch, attached
from kgmet.write.statistics import KeyStatistics

_AT_ONCE = 8


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    lm, store, catalogue = load_lm(options.model), sample_store(), RelationCatalogue.load()
    known = build_cases(lm, store, catalogue, split="tuning", known_only=True)
    cases = [case for case in known if any(test.kind == "consequence" for test in case.tests)]
    cases = cases[options.skip : options.skip + options.limit]
    editor, statistics = editor_named("KGMET"), KeyStatistics(lm)
    base = uncalibrated_settings(editor, lm).config
    print(f"{len(cases)} tuning edits one at a time, {lm.name}, {machine(options.threads, lm)}.\n", flush=True)
    table = Table(["", "loss searched", "loss written", "left, %", *COLUMNS])
    for changes in map(json.loads, options.changes):
        mine = replace(editor, config=config_from_mapping(changes, base=base))
        table.add(changes_text(changes), *row_of(lm, store, catalogue, cases, mine, statistics))
        print(f"{table}\n", flush=True)


def row_of(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    cases: Sequence[Case],
    editor: Editor,
    statistics: KeyStatistics,
) -> Iterator[str]:
    """Yield the cells of one row."""
    values: Mapping[str, list[float]] = defaultdict(list)
    counts: list[Mapping[str, Counts]] = []
    searched = searches(lm, [context_of(case, store, catalogue, editor.config) for case in cases], editor)
    for case, one in zip(cases, searched, strict=True):
        plan = write_edits(lm, one, editor=editor, statistics=statistics)
        values["left"] += plan.remaining.values()
        last = one.shifts[0].curve[-1]
        values["searched"] += [last["consequence"]] if "consequence" in last else []
        values["written"] += written_losses(lm, one.problems[0], plan.patch, editor.config)
        counts.append({kind: share.counts for kind, share in measured(lm, [case], [plan.patch]).items()})
    yield f"{fmean(values['searched']):.2f}"
    yield f"{fmean(values['written']):.2f}"
    yield f"{100 * fmean(values['left']):.0f}"
    columns = summed(counts)
    yield from (interval_text(columns.get(kind)) for kind in COLUMNS)


def searches(lm: LoadedLM, contexts: Sequence[EditContext], editor: Editor) -> Iterator[SearchedEdits]:
    """Yield the searched edits, a few searched at once."""
    for begin in range(0, len(contexts), _AT_ONCE):
        yield from search_edits(lm, contexts[begin : begin + _AT_ONCE], editor=editor, config=editor.config).apart()


def written_losses(lm: LoadedLM, problem: ShiftProblem, patch: EditPatch, config: EditConfig) -> list[float]:
    """Return the loss of each optimised consequence with the patch attached."""
    with attached([patch], lm), torch.no_grad():
        rows = ProblemRows(lm, [problem], config.write.shift_layer)
        losses = rows.losses(torch.zeros_like(rows.before)).tolist()
    return [loss for loss, term in zip(losses, rows.terms, strict=True) if term is Term.CONSEQUENCE]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:gemma3", help="as in `kgmet edit`")
    parser.add_argument("--skip", type=int, default=0, help="edits left out at the beginning")
    parser.add_argument("--limit", type=int, default=8, help="edits at most")
    rows = ['{"direction": {"source": "free"}}', "{}"]
    parser.add_argument("--changes", nargs="+", default=rows, help="JSON, a row each")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser.parse_args()


if __name__ == "__main__":
    main()
