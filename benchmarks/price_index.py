r"""Which facts the index of a priced write should hold: loss of known facts that were never priced.

    python benchmarks/price_index.py [--split tuning] [--each 2] [--threads 1] [--measure] [--keep FILE] \
        [--indices none:120 near:120 own:120 spread:120 random:120 others:120] [--settings "" write.price.weight=1 …]

Every known fact belongs to one side for good: a third is held out and never priced, the others can be priced. Held-out
facts about subjects that KGMET protects are left out, and no fact that a test asks is priced. The edits are of
relations of which the model knows enough. The kinds of index, each of so many facts:

- none: KGMET's write without a price; the facts of *near* are asked for comparison;
- near: as `near_index` chooses, half of the edit's relation, the rest about its entities, of the relations of its
  consequences, and of all relations;
- own: of the edit's relation only;
- spread: of all relations in turn, as the index of `KGMET-priced`;
- random: drawn from all that are known;
- others: drawn from relations that are neither the edit's nor those of its consequences;
- swapped: as near, but with the gradients of other facts: the control that the gradients count.

The searched shift is the same for all that do not change the search. A setting such as target.price=1 makes the search
feel the index's facts too; of *none*, then only the search has a price. Held-out facts are of the edit's relation, of
the relations of its consequences, and of other relations. Without --measure their changes are forecast only: nothing is
asked, so many settings can be tried. With it some of each group are asked, and the tests of the four columns. Finished
rows of FILE are not run again.
Seconds are processor time of the search and of the write.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import SPLITS, Case, build_cases, context_of
from forecast import LOSS, changes_of
from kept_rows import KeptRows
from measure import Table, machine, measured

from kgmet.base.fingerprint import digest
from kgmet.cli.common import StderrProgress
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.editing.context import EditContext
from kgmet.editing.editors import editor_named
from kgmet.editing.plan import SearchedEdits, search_edits, write_edits
from kgmet.editing.problem import protected_facts
from kgmet.forecast.forecast import forecast
from kgmet.forecast.index import FactIndex, FactScope, build_index
from kgmet.forecast.leave_out import unpriced
from kgmet.forecast.near import scopes_near
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.say.packed import score_packed
from kgmet.measure.columns import COLUMNS
from kgmet.write.patch import EditPatch, attached
from kgmet.write.statistics import KeyStatistics

EDITOR = "KGMET-priced"
RELATIONS = ("P131", "P17", "P27", "P30", "P36", "P37")
"""Relations of the edits: the default model knows at least forty facts of each."""
PER_RELATION = 100
"""Known facts measured of each edited relation, if there are so many."""
OF_ALL = 1000
"""Known facts measured over all relations."""
GROUPS = {"own": "its relation", "following": "consequences' relations", "other": "other relations", "priced": "priced"}
ASKED = {"own": 30, "following": 20, "other": 40, "priced": 100}
"""Most facts asked per edit and group, with --measure."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    lm = load_lm(options.model)
    cases = cases_of(lm, options.split, options.each)
    bench = Bench(lm, cases)
    rows = KeptRows(options.keep)
    variants = [(name, changes) for name in options.indices for changes in options.settings]
    for number, case in enumerate(cases):
        for name, changes in variants:
            given = changes_of(changes) if changes else {}
            rows.of(
                key_of(lm, options, case, name, changes),
                lambda case=case, name=name, given=given: bench.row(case, name, given, options.measure),
            )
        print(f"edit {number + 1} of {len(cases)}: {case.edit.subject}", file=sys.stderr, flush=True)
    about = "measured" if options.measure else "forecast"
    print(f"\n{lm.name}, {len(cases)} edits of the {options.split} split, each alone; {machine(options.threads, lm)}.")
    print(f"{about}: % of facts losing > {LOSS} nats (mean size of the change; n).\n")
    columns = [f"{kind} pref/first" for kind in COLUMNS] if options.measure else []
    table = Table(["index", "facts", *GROUPS.values(), *columns, "s search", "s write"])
    for name, changes in variants:
        found = [rows[key_of(lm, options, case, name, changes)] for case in cases]
        table.add(*cells_of(f"{name.partition(':')[0]} {changes}".strip(), found, about))
    print(table)


def cases_of(lm: LoadedLM, split: str, each: int) -> list[Case]:
    """Return the first edits of each relation."""
    store, catalogue = sample_store(), RelationCatalogue.load()
    return [
        case
        for relation in RELATIONS
        for case in build_cases(lm, store, catalogue, split=split, limit=each, only=relation)
    ]


def key_of(lm: LoadedLM, options: argparse.Namespace, case: Case, name: str, changes: str) -> str:
    """Return under what a row is kept."""
    what = "measured" if options.measure else "forecast"
    return f"{lm.fingerprint} {options.split} {case.edit.id} {name} {changes} {what}".replace("  ", " ")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--split", choices=SPLITS, default="tuning")
    parser.add_argument("--each", type=int, default=2, help="edits of each relation")
    parser.add_argument("--measure", action="store_true", help="ask the facts, not only forecast their changes")
    parser.add_argument("--indices", nargs="*", default=["none:120", "near:120", "spread:120"], metavar="KIND:SIZE")
    parser.add_argument("--settings", nargs="*", default=[""], help="changes of KGMET-priced")
    parser.add_argument("--keep", type=Path, help="a JSON file of finished rows")
    return parser.parse_args()


class Bench:
    """The edits, and the known facts that can be priced or are held out."""

    def __init__(self, lm: LoadedLM, cases: Sequence[Case]) -> None:
        self.lm, self.store, self.catalogue = lm, sample_store(), RelationCatalogue.load()
        self.statistics, self.editor = KeyStatistics(lm), editor_named(EDITOR)
        self.tested = {key for case in cases for test in case.tests for key in test.uses}
        index = self.build(FactScope(), OF_ALL)
        for relation in RELATIONS:
            if sum(fact.prompt.relation == relation for fact in index.facts) < PER_RELATION:
                index = index.extended(self.build(FactScope(relations=(relation,)), PER_RELATION))
        self.known = index
        self.searched: dict[str, tuple[SearchedEdits, float]] = {}
        self.before: dict[str, float] = {}

    def build(self, scope: FactScope, limit: int) -> FactIndex:
        """Measure known facts of a scope, or read them from the cache."""
        layers = self.editor.config.write.layers
        return build_index(
            self.lm,
            self.store,
            self.catalogue,
            layers,
            limit=limit,
            per_fact=48,
            scope=scope,
            progress=StderrProgress(),
        )

    def row(self, case: Case, name: str, changes: dict[str, Any], is_measured: bool) -> dict[str, Any]:
        """Write one edit with one index, and forecast or measure what it does to other facts."""
        config = config_from_mapping(changes, base=self.editor.config)
        editor = replace(self.editor, config=config)
        context = context_of(case, self.store, self.catalogue, config)
        known = unpriced(self.known, [(context.edit, context.consequences, ())])
        kind, _, size = name.partition(":")
        index = self.index_of(kind.replace("none", "near"), int(size), context, known)
        if kind == "none":
            config = config_from_mapping({"write": {"price": {"weight": 0.0}}}, base=config)
        searched, seconds = self.search(case, context, config, index if config.target.price else None)
        start = time.process_time()
        plan = write_edits(self.lm, searched, editor=editor, statistics=self.statistics, index=index)
        n_priced = 0 if kind == "none" and not config.target.price else len(index)
        found = {"n": n_priced, "seconds": time.process_time() - start, "search": seconds}
        changed = dict(
            zip((f.prompt.id for f in known.facts), forecast(plan.patch, known).changes.tolist(), strict=True)
        )
        groups = {**self.held_out(context, known), "priced": shuffled(index.facts)}
        if not is_measured:
            changes_by = {
                g: [changed[f.prompt.id] for f in facts if f.prompt.id in changed] for g, facts in groups.items()
            }
            return {**found, "forecast": changes_by}
        asked = {group: facts[: ASKED[group]] for group, facts in groups.items()}
        shares = measured(self.lm, [case], [plan.patch])
        return {
            **found,
            "measured": {group: self.changes(facts, plan.patch) for group, facts in asked.items()},
            "quality": {column: share.to_json() for column, share in shares.items()},
        }

    def search(
        self, case: Case, context: EditContext, config: EditConfig, index: FactIndex | None
    ) -> tuple[SearchedEdits, float]:
        """Search once for all that differ only in the write and in the protected neighbours; and its seconds.

        With an index the search has a price on its facts, which depends on the write.
        """
        layer = config.write.shift_layer
        key = f"{case.edit.id} {replace(config.hold, neighbours=0)} {config.target} {config.direction} {layer}"
        if index is not None:
            key += f" {config} {[fact.prompt.id for fact in index.facts]}"
        if key not in self.searched:
            start = time.process_time()
            found = search_edits(
                self.lm,
                [context],
                editor=replace(self.editor, config=config),
                statistics=self.statistics,
                index=index,
            )
            self.searched[key] = found, time.process_time() - start
        found, seconds = self.searched[key]
        return replace(found, config=config, contexts=(context,)), seconds

    def changes(self, facts: Sequence[Any], patch: EditPatch) -> list[float]:
        """Return the measured change of each fact's answer, in nats."""
        new = [fact for fact in facts if fact.prompt.id not in self.before]
        pairs = [(fact.prompt.text, fact.answer) for fact in new]
        self.before |= dict(
            zip((fact.prompt.id for fact in new), (s.logprob for s in score_packed(self.lm, pairs)), strict=True)
        )
        with attached(patch, self.lm):
            scores = score_packed(self.lm, [(fact.prompt.text, fact.answer) for fact in facts])
        return [score.logprob - self.before[fact.prompt.id] for fact, score in zip(facts, scores, strict=True)]

    def held_out(self, context: EditContext, known: FactIndex) -> dict[str, tuple[Any, ...]]:
        """Return the facts that are never priced nor protected, by how near they are to the edit."""
        own, following = relations_of(context)
        protected = {fact.triple.subject.id for fact in protected_facts(context, self.editor.config)}
        groups: dict[str, list[Any]] = {"own": [], "following": [], "other": []}
        for fact in shuffled(known.facts):
            if is_held_out(fact) and fact.prompt.subject_id not in protected:
                relation = fact.prompt.relation
                groups["own" if relation in own else "following" if relation in following else "other"].append(fact)
        return {group: tuple(facts) for group, facts in groups.items()}

    def index_of(self, kind: str, size: int, context: EditContext, known: FactIndex) -> FactIndex:
        """Return the facts to price: `size` of a kind, fewer if fewer are known."""
        own, following = relations_of(context)
        free = [n for n, f in enumerate(known.facts) if not is_held_out(f) and f.prompt.fact not in self.tested]

        def of(rows: Sequence[int], accept: Callable[[str], bool], most: int) -> list[int]:
            return [n for n in rows if accept(known.facts[n].prompt.relation)][:most]

        drawn = sorted(free, key=lambda n: digest("drawn", known.facts[n].prompt.id))
        if kind == "own":
            return known.only(of(free, own.__contains__, size))
        if kind == "random":
            return known.only(drawn[:size])
        if kind == "others":
            return known.only(of(drawn, lambda relation: relation not in own | following, size))
        if kind == "spread":
            return known.only(in_turn(known, free)[:size])
        if kind in ("near", "swapped"):
            rows = of(free, own.__contains__, size // 2)
            entities = self.about_entities(context, size // 8)
            rows += of(in_turn(known, free), following.__contains__, size // 5)
            rest = [n for n in in_turn(known, free) if n not in set(rows)]
            index = known.only(rows + rest[: size - len(rows) - len(entities)]).extended(entities)
            return swapped(index) if kind == "swapped" else index
        raise SystemExit(f"There is no index {kind!r}: none, near, own, spread, random, others, swapped.")

    def about_entities(self, context: EditContext, most: int) -> FactIndex:
        """Return known facts about the edit's subject and objects."""
        scopes = scopes_near([(context.edit, context.consequences)], 1000)
        subjects = [share.scope for share in scopes if share.scope.subjects]
        index = self.build(subjects[0], 15) if subjects else self.known.only([])
        index = unpriced(index, [(context.edit, context.consequences, ())])
        rows = [n for n, f in enumerate(index.facts) if not is_held_out(f) and f.prompt.fact not in self.tested]
        return index.only(rows[:most])


def relations_of(context: EditContext) -> tuple[set[str], set[str]]:
    """Return the edit's relation and those of its consequences."""
    own = {context.edit.relation} if context.edit.relation else set()
    forward = context.consequences.forward if context.consequences else ()
    return own, {item.path_new[-1].relation.id for item in forward if item.path_new} - own


def is_held_out(fact: Any) -> bool:
    """Return whether a fact is never priced: a third of them, by its text."""
    return int(digest("held out", fact.prompt.id)[:8], 16) % 3 == 0


def shuffled(facts: Sequence[Any]) -> list[Any]:
    """Return the facts in an order that does not depend on where they come from."""
    return sorted(facts, key=lambda fact: digest("order", fact.prompt.id))


def in_turn(known: FactIndex, rows: Sequence[int]) -> list[int]:
    """Return rows so that the relations alternate, best-known facts first."""
    turn: dict[str, int] = {}
    order = []
    for row in rows:
        relation = known.facts[row].prompt.relation
        turn[relation] = turn.get(relation, 0) + 1
        order.append((turn[relation], row))
    return [row for _, row in sorted(order)]


def swapped(index: FactIndex) -> FactIndex:
    """Return the index with every pair's gradient taken from another pair of its layer."""
    generator = random.Random(0)

    def mixed(slopes: Tensor) -> Tensor:
        order = list(range(len(slopes)))
        generator.shuffle(order)
        return slopes[order]

    return replace(
        index, pairs={layer: replace(pairs, slopes=mixed(pairs.slopes)) for layer, pairs in index.pairs.items()}
    )


def cells_of(title: str, rows: Sequence[dict[str, Any]], about: str) -> list[str]:
    """Return one line of the table; a group's shares and means are over the facts of all edits."""
    cells = [title, f"{sum(row['n'] for row in rows) / len(rows):.0f}"]
    for group in GROUPS:
        change = [value for row in rows for value in row[about][group]]
        lost = 100 * sum(value < -LOSS for value in change) / max(len(change), 1)
        mean = sum(map(abs, change)) / max(len(change), 1)
        cells.append(f"{lost:.2f} ({mean:.3f}; n {len(change)})" if change else "–")
    for column in COLUMNS if about == "measured" else ():
        counts = [row["quality"][column] for row in rows if column in row["quality"]]
        n = sum(c["n"] for c in counts)
        cells.append(" / ".join(f"{100 * sum(c[key] for c in counts) / n:.1f}" for key in ("preferred", "first")))
    return [*cells, *(f"{sum(row.get(part, 0.0) for row in rows) / len(rows):.2f}" for part in ("search", "seconds"))]


if __name__ == "__main__":
    main()
