r"""What an index of known facts and the price cost, in processor seconds of one run.

    python benchmarks/price_speed.py [--threads 1] [--edits 3] [--asked 600] [--measured 100] [--facts 1000 5000]

1. Asking facts of the graph and measuring those the model knows, each counted per fact; what 5,000 facts take follows.
2. A whole edit and its write, plain and priced, and a forecast of every fact, for indices of several sizes. A size
   above 1,000 repeats 1,000 measured facts, with as many pairs of each as an index of that size keeps: the time does
   not depend on which facts they are.
3. What dropping pairs costs: the forecast of the plain edits from fewer pairs, against 48 of each fact. The pairs kept
   are those with the largest ‖g‖‖k‖, or with the largest ‖g‖‖Fk‖, where F leaves only what a write can reach.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import Case, context_of
from measure import Table, machine
from price_index import EDITOR, Bench, cases_of

from kgmet.editing.editors import editor_named
from kgmet.editing.plan import search_edits, write_edits
from kgmet.forecast.check import rank_correlation
from kgmet.forecast.facts import facts_of, prompts_of
from kgmet.forecast.forecast import forecast
from kgmet.forecast.index import FactIndex, FactScope, index_bytes, pairs_that_fit
from kgmet.forecast.known import answers_of
from kgmet.forecast.pairs import joined_pairs, measure_facts
from kgmet.lm.load.loaded import DEFAULT_MODEL, load_lm
from kgmet.write.patch import EditPatch
from kgmet.write.priced import FactPairs
from kgmet.write.solve import KeyMetric

PLAIN = "KGMET"
FEWER = (8, 12, 23, 30)
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--edits", type=int, default=3)
    parser.add_argument("--asked", type=int, default=600)
    parser.add_argument("--measured", type=int, default=100)
    parser.add_argument("--facts", type=int, nargs="*", default=[1000, 5000], help="sizes of the index")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm = load_lm(options.model)
    cases = cases_of(lm, "tuning", 1)[: options.edits]
    bench = Bench(lm, cases)
    index = bench.build(FactScope(), 1000)
    print(f"\n{machine(options.threads, lm)}, {lm.name}; processor seconds.\n")
    print(build_table(bench, options.asked, options.measured), "\n", flush=True)
    patches, table = edit_table(bench, cases, index, options.facts)
    print(table, "\n", flush=True)
    print(dropped_table(bench, index, patches))


def build_table(bench: Bench, n_asked: int, n_measured: int) -> Table:
    """Count what asking and measuring take."""
    rows = facts_of(bench.store, bench.catalogue)
    found = (prompts_of(bench.catalogue.spec(r), subject, objects)[:1] for r, subject, objects in rows)
    prompts = list(itertools.islice((prompt for some in found for prompt in some), n_asked))
    answers, asking = timed(lambda: answers_of(bench.lm, prompts))
    known = [(p.text, answer) for p, answer in zip(prompts, answers, strict=True) if answer is not None]
    layers = bench.editor.config.write.layers
    per_fact = pairs_that_fit(bench.lm, 5000)
    measured = known[:n_measured]
    _, measuring = timed(lambda: measure_facts(bench.lm, measured, layers, per_fact=per_fact))
    share = len(known) / len(prompts)
    whole = 5000 * (asking / len(prompts) / share + measuring / len(measured))
    table = Table(["", "n", "s", "ms a fact"])
    table.add("asked", str(len(prompts)), f"{asking:.1f}", f"{1000 * asking / len(prompts):.1f}")
    table.add("measured", str(len(measured)), f"{measuring:.1f}", f"{1000 * measuring / len(measured):.1f}")
    size = index_bytes(bench.lm, 5000) / 1e6
    table.add(f"5,000 known ({100 * share:.0f} % of those asked), extrapolated", "", f"{whole:.0f}", f"{size:.0f} MB")
    return table


def edit_table(
    bench: Bench, cases: Sequence[Case], index: FactIndex, sizes: Sequence[int]
) -> tuple[list[EditPatch], Table]:
    """Compare the plain edit with priced ones."""
    plain, priced = editor_named(PLAIN), editor_named(EDITOR)
    contexts = [context_of(case, bench.store, bench.catalogue, plain.config) for case in cases]
    searched, searching = timed(lambda: [search_edits(bench.lm, [context], editor=plain) for context in contexts])
    write_edits(bench.lm, searched[0], editor=plain, statistics=bench.statistics)  # the spectra are made once

    def written(facts: FactIndex | None) -> list[EditPatch]:
        editor = plain if facts is None else priced
        return [
            write_edits(
                bench.lm, replace(s, config=editor.config), editor=editor, statistics=bench.statistics, index=facts
            ).patch
            for s in searched
        ]

    n = len(cases)
    patches, writing = timed(lambda: written(None))
    base = (searching + writing) / n
    table = Table(["", "search", "write", "edit", "ratio", "forecast, ms"])
    table.add(PLAIN, f"{searching / n:.2f}", f"{writing / n:.2f}", f"{base:.2f}", "1", "")
    for size in sizes:
        facts = repeated(index, size, pairs_that_fit(bench.lm, size))
        _, writing = timed(lambda facts=facts: written(facts))
        forecast(patches[0], facts)
        _, telling = timed(lambda facts=facts: [forecast(patch, facts) for patch in patches])
        edit = (searching + writing) / n
        name = f"{EDITOR}, {size:,} facts"
        cells = [f"{value:.2f}" for value in (searching / n, writing / n, edit, edit / base)]
        table.add(name, *cells, f"{1000 * telling / n:.0f}")
    return patches, table


def repeated(index: FactIndex, size: int, per_fact: int) -> FactIndex:
    """Return an index of `size` facts with at most so many pairs of each, repeating the facts if there are fewer."""
    fewer = weightiest(index, per_fact)
    times, rest = divmod(size, len(index))
    if times == 0:
        return replace(index, pairs=fewer).only(range(rest))
    offsets = [n * len(index) for n in range(times)]
    return replace(
        index,
        facts=index.facts * times,
        pairs={layer: joined_pairs([pairs] * times, offsets=offsets) for layer, pairs in fewer.items()},
    )


def weightiest(
    index: FactIndex, per_fact: int, metrics: Mapping[int, KeyMetric] | None = None
) -> Mapping[int, FactPairs]:
    """Return only each fact's pairs with the largest ‖g‖‖k‖, or ‖g‖‖Fk‖, as a smaller index would keep them."""

    def size(layer: int) -> Tensor:
        keys = index.pairs[layer].keys.float()
        return (keys if metrics is None else metrics[layer].project(keys)).norm(dim=1)

    pairs = [index.pairs[layer] for layer in index.layers]
    fact = torch.cat([p.fact for p in pairs])
    weight = torch.cat([size(layer) * index.pairs[layer].slopes.float().norm(dim=1) for layer in index.layers])
    order = weight.argsort(descending=True)
    order = order[fact[order].argsort(stable=True)]
    start = torch.searchsorted(fact[order].contiguous(), torch.arange(len(index)))
    kept = torch.zeros(len(fact), dtype=torch.bool)
    kept[order[torch.arange(len(order)) - start[fact[order]] < per_fact]] = True
    chosen = kept.split([len(p.fact) for p in pairs])
    return {
        layer: FactPairs(keys=p.keys[rows], slopes=p.slopes[rows], fact=p.fact[rows], token=p.token[rows])
        for layer, p, rows in zip(index.layers, pairs, chosen, strict=True)
    }


def dropped_table(bench: Bench, index: FactIndex, patches: Sequence[EditPatch]) -> Table:
    """Compare forecasts from fewer pairs with those from all that the index has."""
    config = bench.editor.config
    metrics = bench.statistics.free(config.write.layers, config.cutoff)
    table = Table(["pairs kept of 48", "chosen by", "rank correlation", "error"])
    full = [forecast(patch, index).changes for patch in patches]
    for per_fact, (name, chosen) in itertools.product(FEWER, (("‖g‖‖k‖", None), ("‖g‖‖Fk‖", metrics))):
        fewer = replace(index, pairs=weightiest(index, per_fact, chosen))
        less = [forecast(patch, fewer).changes for patch in patches]
        both = list(zip(full, less, strict=True))
        correlations = ", ".join(f"{rank_correlation(a, b) or 0:.2f}" for a, b in both)
        table.add(str(per_fact), name, correlations, ", ".join(f"{error(a, b):.2f}" for a, b in both))
    return table


def error(full: Tensor, less: Tensor) -> float:
    return float((less - full).norm() / full.norm())


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what the work gives, and its processor seconds."""
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


if __name__ == "__main__":
    main()
