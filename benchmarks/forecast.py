r"""Accuracy of the forecast, and effect of the price on known facts.

    python benchmarks/forecast.py [--threads 2] [--limit 8] [--facts 400] [--sequence 0] [--json FILE] \
        [--editors KGMET KGMET-priced AlphaEdit MEMIT ROME] [--variant write.price.weight=1 …]

Unrelated facts are facts of the sample graph that the model knows, asked in the catalogue's wordings, without those
that the edit changes. Every fourth relation is not priced, and of the other relations only every second fact is. So
there are three groups: priced facts, other facts of priced relations, and facts of other relations. No test fact is
priced. A `--variant` changes settings of KGMET-priced. Rows in FILE are not run again.

Forecast: rank correlation of forecast and measured change of the answer's log-probability, mean over edits; how many of
the 20 facts that lose most are among the 20 worst forecasts; the slope of measured on forecast. Baselines: the cosine
of the fact's state with the edit's at the last written layer, last token of the prompt, and the norm of ΔW k and of g
times it, summed over the kept tokens.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import Case, build_cases, context_of
from kept_rows import KeptRows
from measure import Table, machine, measured

from kgmet.calibrate.settings import Changes, changes_text
from kgmet.cli.common import StderrProgress
from kgmet.editing.config import config_from_mapping
from kgmet.editing.editors import EDITORS, Editor, editor_named
from kgmet.editing.plan import plan_edits, search_edits, write_edits
from kgmet.forecast.forecast import Forecast, forecast
from kgmet.forecast.index import FactIndex, build_index
from kgmet.forecast.leave_out import unpriced
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.run.spans import Phrase
from kgmet.lm.say.packed import score_packed
from kgmet.lm.say.score import literal
from kgmet.measure.columns import COLUMNS
from kgmet.write.keys import key_rows, measure_keys
from kgmet.write.patch import EditPatch, attached
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

GROUPS = ("priced", "same relations", "other relations")
LOSS = 0.5
"""Loss in nats from which a fact counts as damaged."""
WORST = 20


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    lm, store, catalogue = load_lm(options.model), sample_store(), RelationCatalogue.load()
    cases = build_cases(lm, store, catalogue, split=options.split, limit=options.limit)
    layers = sorted({layer for name in options.editors for layer in editor_named(name).config.write.layers})
    bench = Bench(lm, cases, build_index(lm, store, catalogue, layers, limit=options.facts, progress=StderrProgress()))
    rows = KeptRows(options.json)
    editors = [editor_named(name) for name in options.editors] + [variant(changes) for changes in options.variant]
    about = f"{lm.name}, {options.facts} facts, {len(cases)} edits of the {options.split} split"
    for name, make in [(e.name, lambda e=e: bench.alone(e)) for e in editors] + [
        (f"{e.name}, {options.sequence} in sequence", lambda e=e: bench.in_sequence(e, options.sequence))
        for e in editors
        if options.sequence
    ]:
        rows.of(f"{about}: {name}", lambda name=name, make=make: {"name": name, **make()})
        print(f"{name} done", file=sys.stderr, flush=True)
    found = [rows[key] for key in rows if key.startswith(about)]
    counts = ", ".join(f"{group} {n}" for group, n in zip(GROUPS, bench.sizes, strict=True))
    print(f"\n{about}; bystanders: {counts}; {machine(options.threads, lm)}.\n")
    print(f"{forecast_table(found)}\n\n{effect_table(found)}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--split", choices=("test", "tuning"), default="test")
    parser.add_argument("--limit", type=int, default=8, help="edits")
    parser.add_argument("--facts", type=int, default=400, help="bystanders")
    parser.add_argument("--sequence", type=int, default=0, help="edits one after another; 0: none")
    parser.add_argument("--editors", nargs="*", default=["KGMET", "KGMET-priced", "AlphaEdit", "MEMIT", "ROME"])
    parser.add_argument("--variant", action="append", default=[], type=changes_of)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def changes_of(text: str) -> Changes:
    """Parse ``a.b=1,a.c=true`` as nested settings."""
    changes: Changes = {}
    for part in re.split(r",(?![^{]*})", text):
        name, _, value = part.partition("=")
        try:
            parsed_value: Any = json.loads(value)
        except json.JSONDecodeError:
            parsed_value = value
        place: Any = changes
        *path, last = name.split(".")
        for step in path:
            place = place.setdefault(step, {})
        place[last] = parsed_value
    return changes


def variant(changes: Changes) -> Editor:
    """Return KGMET-priced with other settings, named after them."""
    editor = EDITORS["KGMET-priced"]
    config = config_from_mapping(changes, base=editor.config)
    return replace(editor, name=f"{editor.name} {changes_text(changes)}", config=config)


class Bench:
    """The model, the edits, and the unrelated facts in their groups."""

    def __init__(self, lm: LoadedLM, cases: Sequence[Case], index: FactIndex) -> None:
        self.lm, self.cases, self.index = lm, cases, index
        self.statistics = KeyStatistics(lm)
        self.store, self.catalogue = sample_store(), RelationCatalogue.load()
        self.group = groups_of(index, cases)
        self.priced = index.only([n for n, group in enumerate(self.group) if group == 0])
        self.numbers = {fact.prompt.id: number for number, fact in enumerate(index.facts)}
        self.pairs = [(fact.prompt.text, fact.answer) for fact in index.facts]
        self.before = self.logprobs([])
        self.searched: dict[Any, Any] = {}
        self.states: dict[int, Tensor] = {}

    @property
    def sizes(self) -> list[int]:
        """Number of facts in each group."""
        return [self.group.count(n) for n in range(len(GROUPS))]

    def logprobs(self, patches: Sequence[EditPatch]) -> Tensor:
        """Return the log-probability of every fact's answer, in nats."""
        with attached(list(patches), self.lm):
            return torch.tensor([score.logprob for score in score_packed(self.lm, self.pairs)], dtype=torch.float64)

    def alone(self, editor: Editor) -> dict[str, Any]:
        """Measure each edit by itself."""
        results, patches, seconds = [], [], []
        for case in self.cases:
            context = context_of(case, self.store, self.catalogue, editor.config)
            searched = self.search(case, context, editor)
            start = time.perf_counter()
            plan = write_edits(self.lm, searched, editor=editor, statistics=self.statistics, index=self.priced)
            seconds.append(time.perf_counter() - start)
            patches.append(plan.patch)
            chosen = unpriced(self.index, [(context.edit, context.consequences, ())])
            rows = [self.numbers[fact.prompt.id] for fact in chosen.facts]
            results.append(self.result([plan.patch], rows, case))
        shares = measured(self.lm, self.cases, patches)
        quality = {kind: share.to_json() for kind, share in shares.items()}
        return {**joined(results), "quality": quality, "write seconds": sum(seconds) / len(seconds)}

    def in_sequence(self, editor: Editor, n: int) -> dict[str, Any]:
        """Make the first `n` edits one after another, and measure once at the end."""
        so_far, gone = EditsSoFar(), []
        for case in self.cases[:n]:
            context = context_of(case, self.store, self.catalogue, editor.config)
            gone.append((context.edit, context.consequences, ()))
            plan = plan_edits(
                self.lm, [context], editor=editor, statistics=self.statistics, earlier=so_far, index=self.priced
            )
            so_far = plan.so_far
        rows = [self.numbers[fact.prompt.id] for fact in unpriced(self.index, gone).facts]
        return joined([self.result(list(so_far.patches), rows, None)])

    def search(self, case: Case, context: Any, editor: Editor) -> Any:
        """Search once for editors that differ only in the write."""
        config = editor.config
        key = case.edit.id, repr(config.hold), repr(config.target), repr(config.direction), config.write.shift_layer
        if key not in self.searched:
            self.searched[key] = search_edits(self.lm, [context], editor=editor)
        return replace(self.searched[key], config=config)

    def result(self, patches: Sequence[EditPatch], rows: Sequence[int], case: Case | None) -> dict[str, Any]:
        """Return forecast and measured change of the chosen facts."""
        start = time.perf_counter()
        found = forecast(patches, self.index)
        seconds = time.perf_counter() - start
        change = (self.logprobs(patches) - self.before)[list(rows)]
        guesses = {"forecast": found.changes, **reaches(found, patches)}
        if case is not None:
            guesses["cosine of states"] = -self.cosines(case, max(u.layer for u in patches[0].updates))
        picked = {name: guess[list(rows)] for name, guess in guesses.items()}
        worst = set(change.argsort()[:WORST].tolist())
        foretold = set(picked["forecast"].argsort()[:WORST].tolist())
        small = picked["forecast"].abs() < LOSS
        return {
            "spearman": {name: spearman(guess, change) for name, guess in picked.items()},
            "worst": len(worst & foretold) / WORST,
            "slope small": slope(picked["forecast"][small], change[small]),
            "slope large": slope(picked["forecast"][~small], change[~small]),
            "change": change.tolist(),
            "group": [self.group[row] for row in rows],
            "forecast seconds": seconds,
        }

    def cosines(self, case: Case, layer: int) -> Tensor:
        """Return the cosine of each fact's state with the edit's, after a layer, at the prompt's last token."""
        if layer not in self.states:
            rows = [key_rows(self.lm, "fact", [Phrase(template=literal(text))])[0] for text, _ in self.pairs]
            self.states[layer] = measure_keys(self.lm, rows, layer=layer, top=layer).states
        own = key_rows(self.lm, "edit", [Phrase(template=literal(case.edit.prompt))])
        state = measure_keys(self.lm, own, layer=layer, top=layer).states
        return torch.cosine_similarity(self.states[layer], state).double()


def groups_of(index: FactIndex, cases: Sequence[Case]) -> list[int]:
    """Return the group of each fact: 0 priced, 1 of a priced relation, 2 of another relation."""
    tested = {key for case in cases for test in case.tests for key in test.uses}
    relations = sorted({fact.prompt.relation for fact in index.facts})
    kept = set(relations[3::4])
    turn = dict.fromkeys(relations, 0)
    found = []
    for fact in index.facts:
        relation = fact.prompt.relation
        if relation in kept:
            found.append(2)
            continue
        turn[relation] += 1
        found.append(1 if turn[relation] % 2 == 0 or fact.prompt.fact in tested else 0)
    return found


def reaches(found: Forecast, patches: Sequence[EditPatch]) -> dict[str, Tensor]:
    """Return baselines from the size of the change at a fact, without its answer's gradient."""
    plain = torch.zeros(len(found.index), dtype=torch.float64)
    sloped = plain.clone()
    updates = [update for patch in patches for update in patch.updates]
    for layer in found.index.layers:
        pairs = found.index.pairs[layer]
        moved = torch.zeros(len(pairs.keys), found.index.pairs[layer].slopes.shape[1])
        for update in updates:
            if update.layer == layer:
                moved += (pairs.keys.float() @ update.input_factor.T) @ update.output_factor
        plain.index_add_(0, pairs.fact.long(), moved.norm(dim=1).double())
        sloped.index_add_(0, pairs.fact.long(), (moved.norm(dim=1) * pairs.slopes.float().norm(dim=1)).double())
    return {"‖ΔWk‖": -plain, "‖g‖‖ΔWk‖": -sloped}


def spearman(one: Tensor, other: Tensor) -> float:
    """Return the rank correlation."""
    ranks = torch.stack([one.argsort().argsort().double(), other.argsort().argsort().double()])
    return float(torch.corrcoef(ranks)[0, 1])


def slope(guess: Tensor, change: Tensor) -> float | None:
    """Return the slope of measured on forecast, through the origin; ``None`` for fewer than five facts."""
    return float((guess * change).sum() / guess.square().sum()) if len(guess) >= 5 else None


def joined(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over edits, and the damage by group over the unrelated facts of all edits."""

    def mean(values: Sequence[float | None]) -> float | None:
        there = [value for value in values if value is not None]
        return sum(there) / len(there) if there else None

    damage = {}
    for number, group in enumerate(GROUPS):
        change = [c for r in results for c, g in zip(r["change"], r["group"], strict=True) if g == number]
        lost = sum(c < -LOSS for c in change)
        damage[group] = {"n": len(change), "lost": lost, "moved": sum(map(abs, change)) / max(len(change), 1)}
    return {
        "spearman": {name: mean([r["spearman"].get(name) for r in results]) for name in results[0]["spearman"]},
        **{name: mean([r[name] for r in results]) for name in ("worst", "slope small", "slope large")},
        "forecast seconds": mean([r["forecast seconds"] for r in results]),
        "damage": damage,
        "edits": len(results),
    }


def forecast_table(rows: Sequence[dict[str, Any]]) -> Table:
    guesses = ["forecast", "‖g‖‖ΔWk‖", "‖ΔWk‖", "cosine of states"]
    table = Table(["rank correlation", *guesses, f"worst {WORST}, %", "slope < 0.5", "slope ≥ 0.5", "ms"])
    for row in rows:
        cells = [number(row["spearman"].get(name), 2) for name in guesses]
        slopes = [number(row[name], 2) for name in ("slope small", "slope large")]
        worst, ms = number(100 * row["worst"], 0), number(1000 * row["forecast seconds"], 0)
        table.add(row["name"], *cells, worst, *slopes, ms)
    return table


def effect_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        [f"% losing > {LOSS} nats (mean change)", *GROUPS, *(f"{kind} pref/first" for kind in COLUMNS), "s write"]
    )
    for row in rows:
        cells = []
        for group in GROUPS:
            found = row["damage"][group]
            cells.append(f"{100 * found['lost'] / max(found['n'], 1):.2f} ({found['moved']:.3f}; n {found['n']})")
        quality = row.get("quality", {})
        for kind in COLUMNS:
            counts = quality.get(kind)
            share = (100 * counts[key] / counts["n"] for key in ("preferred", "first")) if counts else ()
            cells.append(" / ".join(f"{value:.1f}" for value in share) or "–")
        table.add(row["name"], *cells, number(row.get("write seconds"), 2))
    return table


def number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
