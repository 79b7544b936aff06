"""Quality, time and memory of single landmark → city edits on the default model.

    python benchmarks/single_edit.py [--threads 2] [--limit 12] [--json FILE]
    python benchmarks/single_edit.py --busy [--threads 2] [--limit 5]

Prints tables of the docs, on the test split. All rows are made in one run: the unedited model, KGMET, a free shift
written the same way, and a random direction with only its length learned. With --busy it prints the times of an edit,
its search and a probe, alone and beside a process that keeps one core busy, under the waiting policy of the command
line. OMP_WAIT_POLICY=active compares it with spinning.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from kgmet.base.waiting import SETTINGS, wait_politely

wait_politely()

import torch
from baseline import straightforward_search
from edit_set import Case, build_cases, context_of
from measure import Table, interval_text, machine, measured

from kgmet.editing.context import EditContext
from kgmet.editing.editors import EDITORS, editor_named
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.say.packed import ask_packed
from kgmet.write.patch import attached
from kgmet.write.statistics import KeyStatistics

SUBJECTS = 12
SHOWN = ("KGMET", "AlphaEdit", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=SUBJECTS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--busy", action="store_true", help="only the seconds, alone and beside a busy core")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    lm = load_lm(DEFAULT_MODEL)
    load_seconds = time.perf_counter() - start
    start = time.perf_counter()
    load_lm(DEFAULT_MODEL)
    again_seconds = time.perf_counter() - start
    store, catalogue = sample_store(), RelationCatalogue.load()
    cases = build_cases(lm, store, catalogue, only="P131", limit=options.limit)
    statistics_ = KeyStatistics(lm)
    start = time.perf_counter()
    statistics_.moments(EDITORS["KGMET"].config.write.layers)
    if options.busy:
        print(beside_a_busy_core(lm, store, catalogue, cases, statistics_, threads=options.threads))
        return
    moment_seconds = time.perf_counter() - start

    rows = {"unedited": measured(lm, cases, None)}
    seconds: dict[str, list[float]] = {}
    for name in SHOWN:
        plans = []
        for case in cases:
            context = context_of(case, store, catalogue, editor_named(name).config)
            start = time.perf_counter()
            plans.append(plan_edits(lm, [context], editor=editor_named(name), statistics=statistics_))
            seconds.setdefault(name, []).append(time.perf_counter() - start)
        rows[name] = measured(lm, cases, [plan.patch for plan in plans])
    print(f"\nQuality: {len(cases)} landmark → city edits, one at a time; {machine(options.threads, lm)}; {lm.name}.")
    print("Preferred / first answer, % (95 % interval of preferred).\n")
    table = Table(["", "efficacy", "paraphrase", "neighbours", "consequences"])
    for name, found in rows.items():
        table.add(
            name, *(interval_text(found[kind]) for kind in ("efficacy", "paraphrase", "neighbour", "consequence"))
        )
    print(table)
    ratio = rows["KGMET"]["neighbour"].mean_probability_ratio(rows["unedited"]["neighbour"])
    print(
        f"\nUnder KGMET the neighbours' true objects keep {100 * ratio:.1f} % of their probability "
        "(mean over prompts, each at most 100 %)."
    )

    speed = timing(lm, store, catalogue, cases, statistics_)
    print("\nSeconds per edit, search and write, medians over", len(speed["ours"]), "edits:")
    table = Table(["", "seconds", "× ours"])
    ours = statistics.median(speed["ours"])
    for name, values in speed.items():
        table.add(name, f"{statistics.median(values):.2f}", f"{statistics.median(values) / ours:.1f}")
    print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    size = 4 * lm.n_parameter / 1e9
    print(f"\nLoad {again_seconds:.2f} s, and {load_seconds:.2f} s where transformers has to be imported first;")
    print(f"key statistics {moment_seconds:.1f} s (0 where they were on disk);")
    print(f"peak memory {peak:.2f} GB = {peak / size:.2f} × the model's {size:.2f} GB in float32.")
    if options.json:
        options.json.write_text(json.dumps({name: {k: v.to_json() for k, v in f.items()} for name, f in rows.items()}))


def beside_a_busy_core(
    lm: LoadedLM,
    store: object,
    catalogue: RelationCatalogue,
    cases: list[Case],
    statistics_: KeyStatistics,
    *,
    threads: int,
) -> str:
    """Time an edit, its search and a probe of its prompts (medians), alone and beside a busy process."""
    editor = editor_named("KGMET")
    contexts = [context_of(case, store, catalogue, editor.config) for case in cases]  # type: ignore[arg-type]

    def measured_once() -> dict[str, float]:
        found: dict[str, list[float]] = {"edit": [], "search": [], "probe": []}
        for context in contexts:
            start = time.perf_counter()
            plan = plan_edits(lm, [context], editor=editor, statistics=statistics_)
            found["edit"].append(time.perf_counter() - start)
            found["search"].append(plan.seconds["search"])
            start = time.perf_counter()
            with attached(plan.patch, lm):
                ask_packed(lm, [context.edit.prompt], [(context.edit.prompt, context.edit.new_object)])
            found["probe"].append(time.perf_counter() - start)
        return {name: statistics.median(values) for name, values in found.items()}

    measured_once()  # warm up caches
    alone = measured_once()
    with busy_core():
        beside = measured_once()
    policy = ", ".join(f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ)
    table = Table(["seconds, median", "alone", "beside a busy core", "×"])
    for name, seconds in alone.items():
        table.add(name, f"{seconds:.3f}", f"{beside[name]:.3f}", f"{beside[name] / seconds:.1f}")
    return f"{len(cases)} edits by KGMET; {machine(threads, lm)}; {lm.name}; {policy}.\n\n{table}"


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy with another process for the length of a ``with``."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def timing(
    lm: LoadedLM, store: object, catalogue: RelationCatalogue, cases: list[Case], statistics_: KeyStatistics
) -> dict[str, list[float]]:
    """Time the same edit, prompts and steps with cached prefixes and over whole sequences."""
    editor = editor_named("KGMET")
    found: dict[str, list[float]] = {"ours": [], "full sequences, full logits": []}
    for case in cases[:5]:
        context: EditContext = context_of(case, store, catalogue, editor.config)  # type: ignore[arg-type]
        start = time.perf_counter()
        plan: EditPlan = plan_edits(lm, [context], editor=editor, statistics=statistics_)
        found["ours"].append(time.perf_counter() - start)
        start = time.perf_counter()
        straightforward_search(
            lm,
            plan.problems[0],
            layer=editor.config.write.shift_layer,
            config=editor.config.target,
            steps=plan.shifts[0].steps,
        )
        found["full sequences, full logits"].append(time.perf_counter() - start + plan.seconds["write"])
        with attached(plan.patch, lm):
            pass
    return found


if __name__ == "__main__":
    main()
