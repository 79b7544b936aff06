"""Report cards of every editor on the same edits, side by side: one at a time, many at once, one after another.

    python benchmarks/report_card.py [--threads 2] [--limit 100] [--together 40] [--sequence 200 [--num-edits 10]]
        [--model NAME] [--editors KGMET AlphaEdit …] [--minutes 30] [--keep FOLDER]
        [--ds_name mcf --ds_path FILE] [--told 0]
        [--tuning --variant write.ridge=2 --variant write.ordinary_weight=3000,hold.questions=2 …]

Prints the tables of docs/report_card.md: a row for each row of the card, a column for each editor and way of telling
the fact. The edits are the first of our own cases; no setting of any editor was chosen on the first 200. --ds_name and
--ds_path take another data set's, as `kgmet evaluate` does; --told 0 leaves out the columns that only tell the fact.
With --keep, patches and answers stay in a folder, and the same command continues where it stopped. --minutes begins no
new edits after that time and prints what there is. --tuning takes the cases from the 201st on and asks only the rows
that settings are chosen by; each --variant adds a column with changed settings of the first editor.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from measure import Table, machine
from sequence import FIRST as FIRST_TUNING
from sequence import changes_of, editors_of

from kgmet.editing.editors import Editor
from kgmet.evaluate.card.asked import CardConfig
from kgmet.evaluate.card.edited import EditedModel
from kgmet.evaluate.card.known import KnownAnswers
from kgmet.evaluate.card.made import PatchMaker
from kgmet.evaluate.card.make import card_from, make_card
from kgmet.evaluate.card.score import ScoredEdits, score_models
from kgmet.evaluate.card.value import Column, ReportCard, Row
from kgmet.evaluate.datasets.load import DATASETS, load_dataset
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, load_lm
from kgmet.write.patch import EditPatch
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

CHOSEN_BY = ("efficacy", "paraphrase", "consequences", "other_facts", "neighbours", "later_hops", "multi_hop")
"""Rows asked with --tuning, besides divergence and perplexity."""
EDITORS = ("KGMET", "KGMET-many", "AlphaEdit", "MEMIT", "ROME", "NSE", "FT")
Maker = Callable[[Editor, Sequence[FactEdit]], list[EditPatch]]
_OURS = "KGMET"
"""How the names of our editors begin."""
_CHUNK = 4
"""Edits whose shifts are searched at once."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(options, options.keep or Path(temporary))
        facts = bench.facts(max(options.limit, options.together, options.sequence))
        about = f"{machine(options.threads, bench.lm)}, {bench.lm.name}"
        if options.limit:
            card, n = bench.one_at_a_time(facts[: options.limit])
            show(card, f"{n} edits, each in a model of its own; {about}")
        for n, title, make in (
            (options.together, "edits written at once", bench.at_once),
            (options.sequence, f"edits in sequence, {options.num_edits} at a time", bench.in_sequence),
        ):
            if n:
                show(bench.together(facts[:n], make), f"{n} {title}; {about}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--editors", nargs="*", default=list(EDITORS))
    parser.add_argument("--tuning", action="store_true", help="the cases from the 201st on, and fewer rows")
    parser.add_argument("--variant", action="append", default=[], type=changes_of)
    parser.add_argument("--limit", type=int, default=100, help="edits one at a time; 0: no such table")
    parser.add_argument("--together", type=int, default=0, help="edits written at once; 0: no such table")
    parser.add_argument("--sequence", type=int, default=0, help="edits written one after another; 0: no such table")
    parser.add_argument("--num-edits", type=int, default=10, help="edits of the sequence that are written together")
    parser.add_argument("--text-tokens", type=int, default=300)
    parser.add_argument("--most-per-row", type=int, default=0, help="prompts of each row; 0: all")
    parser.add_argument("--ds_name", default="own", choices=DATASETS)
    parser.add_argument("--ds_path", type=Path)
    parser.add_argument("--told", type=int, choices=(0, 1), default=1, help="0: without the in-context columns")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no new edit after this time")
    parser.add_argument("--keep", type=Path, help="folder of patches and answers")
    return parser.parse_args()


class Bench:
    """The model, the graph, and what is kept of earlier runs."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.lm, self.store = load_lm(options.model), sample_store()
        self.maker = PatchMaker(
            lm=self.lm,
            store=self.store,
            catalogue=RelationCatalogue.load(),
            statistics=KeyStatistics(self.lm),
            folder=folder / "patches",
        )
        self.editors = editors_of(options.editors, options.variant)
        self.known = KnownAnswers(folder / "answers")
        self.config = CardConfig(
            text_tokens=options.text_tokens, most_per_row=options.most_per_row, in_context=bool(options.told)
        )
        self.data = options.ds_name, options.ds_path
        self.first = FIRST_TUNING if options.tuning else 0
        if options.tuning:
            self.config = replace(self.config, rows=CHOSEN_BY, in_context=False, n_ability=0)
        self.num_edits = options.num_edits
        self.until = time.monotonic() + 60 * options.minutes

    def facts(self, n: int) -> list[FactEdit]:
        """Return the first edits of the data set, or the first of those for tuning."""
        cases = load_dataset(*self.data, limit=self.first + n).cases[self.first :]
        return [edit for case in cases for edit in case.edits][:n]

    def one_at_a_time(self, facts: Sequence[FactEdit]) -> tuple[ReportCard, int]:
        """Make each edit on the unedited model with every editor; return the card and how many edits it has."""
        config = self.config.for_part(1, of=len(facts))
        scored: list[ScoredEdits] = []
        for begin in range(0, len(facts), _CHUNK):
            chunk = facts[begin : begin + _CHUNK]
            if time.monotonic() > self.until and scored:
                break
            made = [self.maker.patches_apart(editor, chunk) for editor in self.editors]
            for n, fact in enumerate(chunk):
                models = [self._model(editor, [mine[n]]) for editor, mine in zip(self.editors, made, strict=True)]
                scored.append(
                    score_models(
                        models, edits=[fact], store=self.store, config=config, known=self.known, place=begin + n
                    )
                )
                print(f"{begin + n + 1}: {fact.sentence}, {scored[-1].seconds:.0f} s", file=sys.stderr)
        return card_from(scored, config=config), len(scored)

    def together(self, facts: Sequence[FactEdit], make: Maker) -> ReportCard:
        """Make all edits in one model with every editor."""
        models = []
        for editor in self.editors:
            started = time.process_time()
            models.append(self._model(editor, make(editor, facts)))
            print(f"{editor.name}: {time.process_time() - started:.0f} s of processor time to edit", file=sys.stderr)
        is_in_order = make == self.in_sequence
        models = [replace(model, is_in_order=is_in_order) for model in models]
        config = replace(self.config, most_per_row=self.config.most_per_row or 200)
        started = time.process_time()
        card = make_card(models, edits=facts, store=self.store, config=config, known=self.known)
        print(f"{time.process_time() - started:.0f} s of processor time to score", file=sys.stderr)
        return card

    def at_once(self, editor: Editor, facts: Sequence[FactEdit]) -> list[EditPatch]:
        """Make all edits in one write."""
        return [self.maker.patch(editor, facts)]

    def in_sequence(self, editor: Editor, facts: Sequence[FactEdit]) -> list[EditPatch]:
        """Make some edits at a time, each batch on top of the earlier ones."""
        so_far = EditsSoFar()
        for begin in range(0, len(facts), self.num_edits):
            batch = facts[begin : begin + self.num_edits]
            so_far = so_far.then_merged(self.maker.patch(editor, batch, earlier=so_far), self.lm)
        return list(so_far.patches)

    def _model(self, editor: Editor, patches: Sequence[EditPatch]) -> EditedModel:
        return EditedModel.of_patches(self.lm, patches, name=editor.name)


def show(card: ReportCard, title: str) -> None:
    """Print the table, and where our editors are not first."""
    columns = card.columns
    table = Table(["", *(column.label for column in columns), "n"])
    for row in card.shown:
        table.add(row.spec.label, *(cell_text(row, column) for column in columns), n_text(row))
    print(f"\n{title}. {card.texts}.\n\n{table}\n")
    for line in standings(card):
        print(f"- {line}")
    for note in card.notes:
        print(f"- {note}")
    sys.stdout.flush()


def cell_text(row: Row, column: Column) -> str:
    """Return the share said in % with its interval, or the mean with its interval."""
    cell = row.cells[column.key]
    if cell.value is None or cell.interval is None:
        return "–"
    scale = 100 if row.spec.unit.startswith("share") else 1
    value, low, high = (scale * number for number in (cell.value, *cell.interval))
    form = "{:.0f}" if abs(value) >= 20 or scale == 100 else "{:.2g}" if value < 1 else "{:.1f}"
    return f"{form.format(value)} ({form.format(low)}–{form.format(high)})"


def n_text(row: Row) -> str:
    return str(max(cell.n for cell in row.cells.values()))


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One row: ours beside the best of the other editors. `is_apart` says that the intervals do not overlap."""

    row: Row
    ours: Column
    best: Column
    is_first: bool
    is_apart: bool

    def __str__(self) -> str:
        """Return both values."""
        ours = f"{self.ours.label} {cell_text(self.row, self.ours)}"
        best = f"{self.best.label} with {cell_text(self.row, self.best)}"
        intervals = "are apart" if self.is_apart else "overlap"
        return f"{self.row.spec.label}: {ours}, best is {best}; the intervals {intervals}"


def standings(card: ReportCard) -> list[str]:
    """Return in how many rows each of our editors is first or tied, and the rows in which another one is better."""
    edited = [column for column in card.columns if column.is_edited]
    mine = [column for column in edited if column.label.startswith(_OURS)]
    others = [column for column in edited if column not in mine]
    lines = []
    for ours in mine:
        compared = [found for row in card.shown if (found := beside_best(row, ours, others)) is not None]
        lower = [one for one in compared if not one.is_first]
        n_behind = sum(one.is_apart for one in lower)
        if compared:
            lines.append(f"{ours.label} is first or tied in {len(compared) - n_behind} of {len(compared)} rows.")
        lines += [str(one) for one in sorted(lower, key=lambda one: not one.is_apart)]
    return lines


def beside_best(row: Row, ours: Column, others: Sequence[Column]) -> Compared | None:
    """Compare ours with the best of the others in one row; ``None`` if either was not measured."""
    sign = 1 if row.spec.better == "higher" else -1
    rated = [
        (sign * cell.value, column)
        for column in others
        if (cell := row.cells[column.key]).value is not None and cell.interval is not None
    ]
    mine = row.cells[ours.key]
    if not rated or mine.value is None or mine.interval is None:
        return None
    value, best = max(rated, key=lambda one: one[0])
    low, high = row.cells[best.key].interval or mine.interval
    return Compared(
        row=row,
        ours=ours,
        best=best,
        is_first=sign * mine.value >= value,
        is_apart=mine.interval[1] < low or high < mine.interval[0],
    )


if __name__ == "__main__":
    main()
