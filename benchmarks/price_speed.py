r"""What an index of known facts and the price cost, in processor seconds of one run.

    python benchmarks/price_speed.py [--threads 1] [--edits 3] [--built 600] [--whole 5000] [--facts 1000 5000]

1. Building an index of so many facts in two ways, round by round in batches of one length, and in trees of tokens with
   the rounds to come; one near an edit in both ways; then a whole one by the second. Asking and measuring are counted
   apart. Both ways give the same facts, and pairs that differ by no more than their half precision.
2. A whole edit and its write, plain and priced, and a forecast of every fact, for indices of several sizes. A size
   above 1,000 repeats 1,000 measured facts, with as many pairs of each as an index of that size keeps: the time does
   not depend on which facts they are.
3. What dropping pairs costs: the forecast of the plain edits from fewer pairs, against 48 of each fact. The pairs kept
   are those with the largest ‖g‖‖k‖, or with the largest ‖g‖‖Fk‖, where F leaves only what a write can reach.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import Case, context_of
from measure import Table, machine
from price_index import EDITOR, Bench, cases_of

from kgmet.editing.editors import editor_named
from kgmet.editing.plan import search_edits, write_edits
from kgmet.forecast import index as index_module
from kgmet.forecast import known as known_module
from kgmet.forecast import pairs as pairs_module
from kgmet.forecast.check import rank_correlation
from kgmet.forecast.facts import FactPrompt
from kgmet.forecast.forecast import forecast
from kgmet.forecast.index import FactIndex, FactScope, build_index, pairs_that_fit
from kgmet.forecast.near import near_index
from kgmet.forecast.pairs import MeasuredFacts, joined_pairs
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.run.suffixes import base_states
from kgmet.lm.say.greedy import equal_batches
from kgmet.write.patch import EditPatch
from kgmet.write.priced import FactPairs
from kgmet.write.solve import KeyMetric

PLAIN = "KGMET"
FEWER = (8, 12, 23, 30)
T = TypeVar("T")
Text = tuple[int, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--edits", type=int, default=3)
    parser.add_argument("--built", type=int, default=600, help="known facts of the two indices compared; 0: none")
    parser.add_argument("--whole", type=int, default=0, help="known facts of a whole index; 0: none")
    parser.add_argument("--facts", type=int, nargs="*", default=[1000, 5000], help="sizes of the index")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm = load_lm(options.model)
    print(f"\n{machine(options.threads, lm)}, {lm.name}; processor seconds.\n")
    if options.built:
        print(build_table(lm, options.built, options.whole), "\n", flush=True)
    if not options.edits:
        return
    cases = cases_of(lm, "tuning", 1)[: options.edits]
    bench = Bench(lm, cases)
    index = bench.build(FactScope(), 1000)
    patches, table = edit_table(bench, cases, index, options.facts)
    print(table, "\n", flush=True)
    print(dropped_table(bench, index, patches))


def build_table(lm: LoadedLM, n_fact: int, n_whole: int) -> Table:
    """Count what asking and measuring take, in both ways."""
    table = Table(["", "asked", "known", "asking, ms each", "measuring, ms a fact", "s", "s for 5,000"])
    with TemporaryDirectory() as folder:
        plain = Build(lm, f"{folder}/plain")
        with plain.one_length(), plain.timed():
            before = plain.index(n_fact)
        table.add("round by round, one length", *plain.cells(len(before)))
        print(table, file=sys.stderr, flush=True)
        quick = Build(lm, f"{folder}/quick")
        with quick.timed():
            after = quick.index(n_fact)
        table.add("trees, rounds to come", *quick.cells(len(after)))
        print(table, file=sys.stderr, flush=True)
        check_same(before, after)
        for name, ways in (("near an edit, one length", "one_length"), ("near an edit, trees", "as_it_is")):
            near = Build(lm, f"{folder}/near {ways}")
            with getattr(near, ways)(), near.timed():
                found = near.near()
            table.add(name, *near.cells(len(found)))
        if n_whole:
            with quick.timed():
                whole = quick.index(n_whole)
            table.add("the same, whole", *quick.cells(len(whole)))
            print(f"{len(whole):,} facts: {whole.n_bytes / 1e6:.0f} MB, kept {whole.kept:.3f} of each.", flush=True)
    return table


class Build:
    """An index built in a cache folder of its own, with the processor seconds of asking and of measuring."""

    def __init__(self, lm: LoadedLM, folder: str) -> None:
        self.lm, self.folder = lm, folder
        self.seconds = {"asking": 0.0, "measuring": 0.0, "all": 0.0}
        self.asked = 0

    def index(self, n_fact: int) -> FactIndex:
        """Build it, or go on."""
        os.environ["KGMET_CACHE"] = self.folder
        layers, per_fact = editor_named(EDITOR).config.write.layers, pairs_that_fit(self.lm, 5000)
        store, catalogue = sample_store(), RelationCatalogue.load()
        try:
            found, seconds = timed(
                lambda: build_index(self.lm, store, catalogue, layers, limit=n_fact, per_fact=per_fact)
            )
        finally:
            del os.environ["KGMET_CACHE"]
        self.seconds["all"] += seconds
        return found

    def near(self) -> FactIndex:
        """Build the index near the first tuning edit, as the Foresee page does."""
        store, catalogue = sample_store(), RelationCatalogue.load()
        context = context_of(cases_of(self.lm, "tuning", 1)[0], store, catalogue, editor_named(EDITOR).config)
        layers, edits = editor_named(EDITOR).config.write.layers, [(context.edit, context.consequences)]
        os.environ["KGMET_CACHE"] = self.folder
        try:
            found, seconds = timed(lambda: near_index(self.lm, store, catalogue, layers, edits=edits))
        finally:
            del os.environ["KGMET_CACHE"]
        self.seconds["all"] += seconds
        return found

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count asking and measuring."""
        ask, measure = index_module.answers_of, index_module.measure_facts

        def asking(lm: LoadedLM, prompts: Sequence[FactPrompt], **rest: Any) -> list[str | None]:
            found, seconds = timed(lambda: ask(lm, prompts, **rest))
            self.asked += len(prompts)
            self.seconds["asking"] += seconds
            return found

        def measuring(*args: Any, **rest: Any) -> MeasuredFacts:
            found, seconds = timed(lambda: measure(*args, **rest))
            self.seconds["measuring"] += seconds
            return found

        with patch.multiple(index_module, answers_of=asking, measure_facts=measuring):
            yield

    @contextmanager
    def as_it_is(self) -> Iterator[None]:
        """Build as the library does."""
        yield

    @contextmanager
    def one_length(self) -> Iterator[None]:
        """Build round by round, in batches of texts of one length."""

        def greedy(lm: LoadedLM, texts: Collection[Text], **_: Any) -> dict[Text, int]:
            found: dict[Text, int] = {}
            with torch.no_grad():
                for batch in equal_batches(sorted(texts, key=lambda ids: (len(ids), ids)), 1536):
                    ids = torch.tensor(batch, dtype=torch.long, device=lm.device)
                    logits = lm.vocabulary_logits(base_states(lm, ids, use_cache=False)[:, -1])
                    found |= zip(batch, logits.argmax(-1).tolist(), strict=True)
            return found

        def batches(lengths: Sequence[int], *, most: int) -> list[list[int]]:
            order = sorted(range(len(lengths)), key=lambda number: lengths[number])
            same = [list(group) for _, group in itertools.groupby(order, key=lambda number: lengths[number])]
            return [group[n : n + most // lengths[group[0]]] for group in same for n in starts(group, lengths, most)]

        def starts(group: Sequence[int], lengths: Sequence[int], most: int) -> range:
            return range(0, len(group), most // lengths[group[0]])

        with (
            patch.object(index_module, "_AHEAD", 0),
            patch.object(known_module, "greedy_tokens", greedy),
            patch.object(pairs_module, "padded_batches", batches),
        ):
            yield

    def cells(self, n_known: int) -> list[str]:
        """Return what it took; for 5,000 facts at the same share of known ones."""
        asking, measuring, whole = (self.seconds[name] for name in ("asking", "measuring", "all"))
        each = f"{1000 * asking / self.asked:.1f}", f"{1000 * measuring / n_known:.1f}"
        return [f"{self.asked:,}", f"{n_known:,}", *each, f"{whole:.0f}", f"{5000 * whole / n_known:.0f}"]


def check_same(one: FactIndex, other: FactIndex) -> None:
    """Raise if the indices differ in their facts, or in their pairs by more than half precision."""
    if [fact.prompt for fact in one.facts] != [fact.prompt for fact in other.facts]:
        raise SystemExit("The two indices hold other facts.")
    same, total, worst = 0, 0, 0.0
    for layer in one.layers:
        named = [
            {
                (fact, token): row
                for row, (fact, token) in enumerate(zip(p.fact.tolist(), p.token.tolist(), strict=True))
            }
            for p in (one.pairs[layer], other.pairs[layer])
        ]
        both = sorted(named[0].keys() & named[1].keys())
        same, total = same + len(both), total + len(named[0])
        rows = [torch.tensor([name[key] for key in both], dtype=torch.long) for name in named]
        for field in ("keys", "slopes"):
            a, b = (getattr(i.pairs[layer], field)[r].float() for i, r in zip((one, other), rows, strict=True))
            worst = max(worst, float(((a - b).norm(dim=1) / a.norm(dim=1).clamp(min=1e-12)).max()))
    logprob = max(abs(a.logprob - b.logprob) for a, b in zip(one.facts, other.facts, strict=True))
    print(
        f"The same {len(one)} facts; {same} of {total} pairs are the same tokens, at most {worst:.4f} apart; "
        f"log-probabilities {logprob:.1e}.\n"
    )


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
        _, telling = timed(lambda facts=facts: [forecast(one, facts) for one in patches])
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
    full = [forecast(one, index).changes for one in patches]
    for per_fact, (name, chosen) in itertools.product(FEWER, (("‖g‖‖k‖", None), ("‖g‖‖Fk‖", metrics))):
        fewer = replace(index, pairs=weightiest(index, per_fact, chosen))
        less = [forecast(one, fewer).changes for one in patches]
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
