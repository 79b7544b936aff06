"""Speed of an edit, as ratios measured in one run.

    python benchmarks/editing.py [--threads 2] [--repeats 5]

1. A step of the search against the bare forward and backward pass of the same tokens through the layers above.
2. One edit against a straightforward implementation of the published procedure (`baseline.py`), at its own settings.
3. A batch of 32 against one edit at a time.
4. The thousand-and-first edit against the first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from baseline import straightforward_search
from edit_set import Case, build_cases, context_of
from measure import Table, interval_text, machine, measured

from kgmet.editing.config import HoldConfig
from kgmet.editing.context import EditContext
from kgmet.editing.editors import Editor, editor_named
from kgmet.editing.plan import SearchedEdits, plan_edits, search_edits, write_edits
from kgmet.editing.problem import build_problem
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.run.spans import locate_all
from kgmet.lm.run.suffixes import encode_suffixes
from kgmet.search.search import TargetConfig
from kgmet.write.ledger import EditLedger
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm, store, catalogue = load_lm(DEFAULT_MODEL), sample_store(), RelationCatalogue.load()
    keys = KeyStatistics(lm)
    editor = quick_editor()
    cases = build_cases(lm, store, catalogue, split="tuning", limit=32)
    contexts = [context_of(case, store, catalogue, editor.config) for case in cases]
    keys.free(editor.config.write.layers, editor.config.cutoff)
    print(f"\n{machine(options.threads, lm)}, {lm.name}; medians of {options.repeats}.\n")
    print(step_table(lm, contexts[0], editor, options.repeats), "\n")
    print(whole_edit_table(lm, cases, contexts, editor, keys, options.repeats), "\n")
    print(batch_table(lm, contexts, editor, keys), "\n")
    print(later_table(lm, contexts[:3], editor, keys, options.repeats))


def quick_editor() -> Editor:
    """Return a free shift written as AlphaEdit writes it, at its cheapest: few steps with little momentum.

    Half of the published contexts: the fewest that keep the paraphrases (two lose two of sixteen).
    """
    editor = editor_named("AlphaEdit")
    target = TargetConfig(
        weights=editor.config.target.weights, max_steps=8, rate=0.4, momentum=0.3, memory=0.7, max_norm_ratio=0.75
    )
    return replace(editor, config=replace(editor.config, hold=HoldConfig(contexts=3), target=target))


def step_table(lm: LoadedLM, context: EditContext, editor: Editor, repeats: int) -> Table:
    """Time one step of the search, and the bare passes of the same tokens."""
    layer, problem = editor.config.write.shift_layer, build_problem(context, editor.config)
    spans = locate_all(lm, [prompt.phrase(context.edit.subject) for prompt in problem.prompts])
    rows = [span.input_ids[:-1] if span.target else span.input_ids for span in spans]
    starts = [span.lookup.position for span in spans]
    suffixes = encode_suffixes(lm, rows, starts, layer=layer, together=[0] * len(rows))

    def bare() -> None:
        hidden = suffixes.hidden.clone().requires_grad_()
        final = suffixes.resume(hidden)
        final.sum().backward()

    def search(steps: int) -> Callable[[], object]:
        target = replace(editor.config.target, max_steps=steps, stop_nll=1e-9)
        return lambda: search_edits(lm, [context], editor=editor, config=replace(editor.config, target=target))

    bare_seconds = _median(bare, repeats)
    short, long = _median(search(2), repeats), _median(search(12), repeats)
    step = (long - short) / 10
    table = Table(["", "seconds", "ratio"])
    table.add("bare forward and backward, layers above", f"{bare_seconds:.3f}", "1")
    table.add("one step of the search", f"{step:.3f}", f"{step / bare_seconds:.2f}")
    return table


def whole_edit_table(
    lm: LoadedLM, cases: list[Case], contexts: list[EditContext], editor: Editor, keys: KeyStatistics, repeats: int
) -> Table:
    """Compare our search with the straightforward implementation, each at its own settings, in time and quality."""
    ours: list[float] = []
    theirs: list[float] = []
    patches: dict[str, list] = {"ours": [], "straightforward": []}
    published = replace(
        editor.config, hold=HoldConfig(), target=TargetConfig(weights=editor.config.target.weights)
    )  # 6 contexts, 25 steps
    for context in contexts[:repeats]:
        start = time.perf_counter()
        plan = plan_edits(lm, [context], editor=editor, statistics=keys)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        problem = build_problem(context, published)
        shift = straightforward_search(lm, problem, layer=published.write.shift_layer, config=published.target)
        searched = SearchedEdits(contexts=(context,), problems=(problem,), shifts=(shift,), config=published)
        written = write_edits(lm, searched, editor=editor, statistics=keys)
        theirs.append(time.perf_counter() - start)
        patches["ours"].append(plan.patch)
        patches["straightforward"].append(written.patch)
    table = Table(["", "seconds an edit", "ratio", "efficacy", "paraphrase", "neighbours"])
    base = statistics.median(theirs)
    for name, seconds in (("straightforward", theirs), ("ours", ours)):
        shares = measured(lm, cases[:repeats], patches[name])
        cells = [interval_text(shares.get(kind)) for kind in ("efficacy", "paraphrase", "neighbour")]
        table.add(name, f"{statistics.median(seconds):.2f}", f"{base / statistics.median(seconds):.1f}", *cells)
    return table


def batch_table(lm: LoadedLM, contexts: list[EditContext], editor: Editor, keys: KeyStatistics) -> Table:
    """Time all contexts at once, and the first few one at a time."""
    alone = []
    for context in contexts[:8]:
        start = time.perf_counter()
        plan_edits(lm, [context], editor=editor, statistics=keys)
        alone.append(time.perf_counter() - start)
    start = time.perf_counter()
    plan_edits(lm, contexts, editor=editor, statistics=keys)
    together = (time.perf_counter() - start) / len(contexts)
    mean = sum(alone) / len(alone)
    table = Table(["", "seconds an edit (mean)", "ratio"])
    table.add("one at a time", f"{mean:.2f}", "1")
    table.add(f"{len(contexts)} at once", f"{together:.2f}", f"{together / mean:.2f}")
    return table


def later_table(lm: LoadedLM, contexts: list[EditContext], editor: Editor, keys: KeyStatistics, repeats: int) -> Table:
    """Time an edit with an empty ledger, and with the keys of a thousand edits in it."""
    layers = editor.config.write.layers
    generator = torch.Generator().manual_seed(0)
    free = keys.free(layers, editor.config.cutoff)
    ledger = EditLedger()
    earlier = {}
    for layer in layers:
        moment = keys.moments(layers)[layer].second_moment
        root = torch.linalg.cholesky(moment + 1e-6 * torch.eye(len(moment), dtype=moment.dtype)).float()
        drawn = torch.randn(1000, lm.d_key, generator=generator) @ root.T
        earlier[layer] = ([f"earlier/{n}" for n in range(1000)], drawn)
    full = ledger.appended("a thousand", earlier)
    for layer in layers:  # made once, kept with the ledger
        full.at(layer, lm.d_key).system(free[layer], editor.config.write.ridge)
    table = Table(["", "seconds an edit", "ratio"])
    first = 0.0
    for name, book in (("first", ledger), ("after 1,000", full)):
        seconds = _median(
            lambda book=book: plan_edits(
                lm, contexts[:1], editor=editor, statistics=keys, earlier=EditsSoFar(ledger=book)
            ),
            repeats,
        )
        first = first or seconds
        table.add(name, f"{seconds:.2f}", f"{seconds / first:.2f}")
    return table


def _median(work: Callable[[], object], repeats: int) -> float:
    work()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


if __name__ == "__main__":
    main()
