r"""What a price on earlier edits' answers saves in a sequence of edits.

    python benchmarks/price_sequence.py [--split tuning] [--edits 40] [--editors KGMET KGMET-many] [--facts 400] \
        [--threads 1] [--keep FILE]

The edits are made one after another, and everything is asked after the last one. Rows of each editor:

- no price;
- price: on known facts, as KGMET-priced sets it; nothing of earlier edits but their keys counts;
- price, earlier: the same with `write.price.earlier`, so that what earlier edits made true is priced too;
- earlier only: what earlier edits made true is priced, and no other fact.

The shift of an edit is searched once for all rows, as it is searched on the unedited model, unless its subject was
edited before. Of the known facts a third is held out and never priced; facts that any edit changes, that a test asks,
or whose subject is edited are not asked. *Still said* is the edits' own prompts, those of the older half apart. Seconds
are processor time of the writes. Finished rows of FILE are not run again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import SPLITS, Case, build_cases, context_of, undisturbed
from forecast import LOSS
from kept_rows import KeptRows
from measure import Share, Table, machine, measured_together
from price_index import is_held_out

from kgmet.base.fingerprint import fingerprint_value
from kgmet.cli.common import StderrProgress
from kgmet.editing.config import config_from_mapping
from kgmet.editing.context import EditContext
from kgmet.editing.editors import EDITORS, Editor, editor_named
from kgmet.editing.key_texts import edits_on_top
from kgmet.editing.plan import SearchedEdits, search_edits, write_edits
from kgmet.forecast.index import FactIndex, IndexedFact, build_index
from kgmet.forecast.leave_out import unpriced
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.say.packed import score_packed
from kgmet.write.patch import EditPatch, attached
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

ROWS: dict[str, tuple[float, int, bool]] = {
    "no price": (0.0, 0, True),
    "price": (1.0, 0, True),
    "price, earlier": (1.0, 1000, True),
    "earlier only": (1.0, 1000, False),
}
"""Weight relative to KGMET-priced's, most earlier facts, and whether known facts are priced."""
KINDS = ("efficacy", "paraphrase", "neighbour", "consequence")


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    lm = load_lm(options.model)
    bench = Bench(lm, options.split, options.edits, options.facts)
    rows = KeptRows(options.keep)
    about = f"{lm.fingerprint} {options.split} {options.edits} {options.facts}"
    table = Table(["", "older half said", "newer half said", *KINDS, "priced facts", "held out", "s a write"])
    table.add("unedited", *bench.cells(rows.of(f"{about} unedited", lambda: bench.measured([]))), "")
    for name in options.editors:
        for row in options.rows:
            key = f"{about} {name} {row}"
            found = rows.of(key, lambda name=name, row=row: bench.sequence(editor_named(name), row))
            table.add(f"{name}, {row}", *bench.cells(found), f"{found['seconds'] / options.edits:.2f}")
            print(f"\n{table}", file=sys.stderr, flush=True)
    print(
        f"\n{lm.name}, {options.edits} edits of the {options.split} split in sequence; {machine(options.threads, lm)}."
    )
    print(f"Preferred / first answer, % (n); facts: % losing > {LOSS} nats (mean size of the change; n).\n\n{table}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--split", choices=SPLITS, default="tuning")
    parser.add_argument("--edits", type=int, default=40)
    parser.add_argument("--facts", type=int, default=400, help="known facts, held-out ones included")
    parser.add_argument("--editors", nargs="*", default=["KGMET", "KGMET-many"])
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--keep", type=Path, help="a JSON file of finished rows")
    return parser.parse_args()


class Bench:
    """The edits with their tests, and the known facts that are priced or held out."""

    def __init__(self, lm: LoadedLM, split: str, n_edit: int, n_fact: int) -> None:
        self.lm, self.store, self.catalogue = lm, sample_store(), RelationCatalogue.load()
        self.cases: list[Case] = undisturbed(build_cases(lm, self.store, self.catalogue, split=split, limit=n_edit))
        self.n_fact, self.statistics = n_fact, KeyStatistics(lm)
        self.known: dict[tuple[int, ...], FactIndex] = {}
        self.searched: dict[str, SearchedEdits] = {}
        self.asked = self._asked(self.index(EDITORS["KGMET"].config.write.layers))

    def index(self, layers: Sequence[int]) -> FactIndex:
        """Return the known facts with pairs of these layers."""
        key = tuple(layers)
        if key not in self.known:
            self.known[key] = build_index(
                self.lm,
                self.store,
                self.catalogue,
                layers,
                limit=self.n_fact,
                per_fact=48,
                progress=StderrProgress(),
            )
        return self.known[key]

    def _asked(self, index: FactIndex) -> dict[str, list[IndexedFact]]:
        """Return the facts to ask, priced and held out, with what no edit changes."""
        tested = {key for case in self.cases for test in case.tests for key in test.uses}
        contexts = [self.context(case, EDITORS["KGMET"]) for case in self.cases]
        gone = [(context.edit, context.consequences, ()) for context in contexts]
        subjects = {case.edit.subject_id for case in self.cases}
        kept = [
            fact
            for fact in unpriced(index, gone).facts
            if fact.prompt.fact not in tested and fact.prompt.subject_id not in subjects
        ]
        return {
            "priced": [fact for fact in kept if not is_held_out(fact)],
            "held out": [fact for fact in kept if is_held_out(fact)],
        }

    def context(self, case: Case, editor: Editor) -> EditContext:
        """Return what the editor gets of a case."""
        return context_of(case, self.store, self.catalogue, editor.config)

    def sequence(self, editor: Editor, row: str) -> dict[str, Any]:
        """Make all edits, one after another, and measure after the last."""
        share, earlier, with_facts = ROWS[row]
        price = replace(
            EDITORS["KGMET-priced"].config.write.price,
            weight=share * EDITORS["KGMET-priced"].config.write.price.weight,
            earlier=earlier,
        )
        changes = {"write": {"price": {name: getattr(price, name) for name in ("weight", "active", "earlier")}}}
        config = config_from_mapping(changes, base=editor.config)
        tested = {key for case in self.cases for test in case.tests for key in test.uses}
        index = self.index(config.write.layers)
        free = [n for n, f in enumerate(index.facts) if not is_held_out(f) and f.prompt.fact not in tested]
        index = index.only(free if with_facts else [])
        so_far, seconds = EditsSoFar(), 0.0
        for number, case in enumerate(self.cases):
            context = self.context(case, editor)
            searched = replace(self.search(context, editor, so_far), config=config)
            start = time.process_time()
            plan = write_edits(
                self.lm, searched, editor=editor, statistics=self.statistics, earlier=so_far, index=index
            )
            so_far = so_far.then_merged(plan.patch, self.lm)
            if number:  # the first write makes the statistics
                seconds += time.process_time() - start
            print(f"{editor.name}, {row}: {number + 1}", file=sys.stderr, end="\r", flush=True)
        return {"seconds": seconds * len(self.cases) / max(len(self.cases) - 1, 1), **self.measured(so_far.patches)}

    def search(self, context: EditContext, editor: Editor, so_far: EditsSoFar) -> SearchedEdits:
        """Search an edit's shift once, unless earlier edits count in it."""
        if not editor.searches_unedited or edits_on_top([context], so_far.patches):
            return search_edits(self.lm, [context], editor=editor, earlier=so_far)
        config = editor.config
        key = fingerprint_value([context.edit.id, config.hold, config.target, config.direction, config.write.layers])
        if key not in self.searched:
            self.searched[key] = search_edits(self.lm, [context], editor=editor)
        return self.searched[key]

    def measured(self, patches: Sequence[EditPatch]) -> dict[str, Any]:
        """Ask all tests and facts under the patches."""
        shares = measured_together(self.lm, self.cases, patches)
        half = len(self.cases) // 2
        said = shares["efficacy"].scores
        halves = {"older": Share(scores=said[:half]), "newer": Share(scores=said[half:])}
        with attached(list(patches), self.lm):
            facts = {
                group: [
                    score.logprob - fact.logprob
                    for fact, score in zip(
                        asked, score_packed(self.lm, [(f.prompt.text, f.answer) for f in asked]), strict=True
                    )
                ]
                for group, asked in self.asked.items()
            }
        return {"shares": {kind: share.to_json() for kind, share in (halves | shares).items()}, "facts": facts}

    def cells(self, found: dict[str, Any]) -> list[str]:
        """Return what was measured as cells of the table."""
        cells = []
        for kind in ("older", "newer", *KINDS):
            counts = found["shares"][kind]
            n = counts["n"]
            cells.append(f"{100 * counts['preferred'] / n:.1f} / {100 * counts['first'] / n:.1f} ({n})")
        for change in found["facts"].values():
            lost = 100 * sum(value < -LOSS for value in change) / len(change)
            cells.append(f"{lost:.1f} ({sum(map(abs, change)) / len(change):.3f}; {len(change)})")
        return cells


if __name__ == "__main__":
    main()
