"""Both bundled models × editors × (uncalibrated settings, calibrated ones), on own cases that each model knows.

    python benchmarks/transfer.py [--models bundled:smollm2 bundled:gemma3] [--editors KGMET AlphaEdit …] [--limit 12]
        [--split test] [--book FILE] [--threads 2]

Prints one table per model: edits one at a time. Only cases whose old answer the unedited model gives first are edited,
and none whose subject settings of the profile were chosen on. A row without a profile says so; where a calibration kept
the uncalibrated settings, its row is theirs. The --book FILE gets a line per edit, a few cases of every row in turn. So
a run that was stopped goes on, and its table has the same cases in every row. The second table counts processor time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import SPLITS, Case, build_cases, context_of
from measure import Table, interval_text, machine, measured

from kgmet.base.fingerprint import fingerprint_value
from kgmet.calibrate.calibrate import CalibrationConfig
from kgmet.calibrate.cases import build_cases as calibration_cases
from kgmet.calibrate.knowledge import knowledge_of
from kgmet.calibrate.lines import LineBook
from kgmet.calibrate.trials import locked_folder
from kgmet.editing.defaults import uncalibrated_settings
from kgmet.editing.editors import Editor, editor_named
from kgmet.editing.plan import search_edits, write_edits
from kgmet.editing.profile import ModelProfile, find_profile
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import LoadedLM, load_lm
from kgmet.measure.columns import COLUMNS, Columns, Counts, summed
from kgmet.write.patch import EditPatch
from kgmet.write.statistics import KeyStatistics

AT_ONCE = 4
"""Cases of a row before the next row's turn."""
STEPS = ("search", "write", "scoring")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: an editor with its settings, or ``None`` and why there are none to measure."""

    name: str
    editor: Editor | None = None
    note: str = ""

    @property
    def key(self) -> str:
        """What its measurements are kept under."""
        return "unedited" if self.editor is None else fingerprint_value([self.editor.name, self.editor.config])


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    store, catalogue, book = sample_store(), RelationCatalogue.load(), LineBook(options.book)
    for source in options.models:
        lm = load_lm(source)
        profile = find_profile(lm)
        cases = usable_cases(lm, store, catalogue, profile, split=options.split, limit=options.limit)
        rows = list(rows_of(lm, options.editors, profile))
        bench = Bench(lm, store, catalogue, book)
        for begin in range(0, len(cases), AT_ONCE):
            chunk = cases[begin : begin + AT_ONCE]
            for row in rows:
                if not row.note:
                    bench.measure(row, chunk)
            print(f"{lm.name}: {begin + len(chunk)} of {len(cases)} cases", file=sys.stderr, flush=True)
            if begin + AT_ONCE < len(cases):
                print(table_of(bench, rows, cases[: begin + len(chunk)]), file=sys.stderr, flush=True)
        print(f"\n{lm.name}: {len(cases)} edits one at a time; {options.split} split, {machine(options.threads, lm)}.")
        print("Preferred / first answer, % (95 % interval of preferred, n).\n")
        print(table_of(bench, rows, cases))
        print(f"\n{spent_table(bench)}", flush=True)


def usable_cases(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    profile: ModelProfile | None,
    *,
    split: str,
    limit: int,
) -> list[Case]:
    """Return the first cases that the model knows and no settings of its profile were chosen on."""
    taken = chosen_on(lm, store, catalogue, profile)
    cases = build_cases(lm, store, catalogue, split=split, known_only=True)
    return [case for case in cases if case.edit.subject_id not in taken][:limit]


def chosen_on(
    lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, profile: ModelProfile | None
) -> set[str | None]:
    """Return the subjects of the facts that any editor's settings were chosen on."""
    plans = {} if profile is None else {(one.n_search, one.n_check, one.seed) for one in profile.editors.values()}
    if not plans:
        return set()
    with locked_folder(lm):
        known = knowledge_of(lm, store, catalogue, per_relation=CalibrationConfig().per_relation).facts
    return {
        case.edit.subject_id
        for n_search, n_check, seed in plans
        for case in calibration_cases(store, catalogue, known, n_search=n_search, n_check=n_check, seed=seed).search
    }


def rows_of(lm: LoadedLM, names: Sequence[str], profile: ModelProfile | None) -> Iterator[Row]:
    """Yield the table's rows: the unedited model, then each editor uncalibrated and calibrated."""
    yield Row(name="unedited")
    for name in names:
        editor = editor_named(name)
        own = uncalibrated_settings(editor, lm)
        yield Row(name=f"{editor.name}, uncalibrated", editor=replace(editor, config=own.config))
        found = None if profile is None else profile.editors.get(editor.name)
        if found is None:
            yield Row(name=f"{editor.name}, calibrated", note="no profile")
        elif found.is_default:
            yield Row(name=f"{editor.name}, calibrated", note=f"uncalibrated settings kept (of {found.tried} tried)")
        else:
            yield Row(name=f"{editor.name}, {found.changes}", editor=replace(editor, config=found.config))


class Bench:
    """Measures rows on cases; what the book has is not measured again."""

    def __init__(self, lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, book: LineBook) -> None:
        self._lm, self._store, self._catalogue, self._book = lm, store, catalogue, book
        self._statistics = KeyStatistics(lm)
        self.spent: dict[str, dict[str, float]] = {}
        """By row, the processor seconds of each step, and the number of edits they were spent on."""

    def measure(self, row: Row, cases: Sequence[Case]) -> None:
        """Edit each case on its own and ask its tests."""
        missing = [case for case in cases if self._book.find(self._key(row, case)) is None]
        spent = self.spent.setdefault(row.name, defaultdict(float))
        patches = None if row.editor is None else self._patches(row.editor, missing, spent)
        for number, case in enumerate(missing):
            with counted(spent, "scoring"):
                shares = measured(self._lm, [case], None if patches is None else [patches[number]])
            spent["edits"] += 1
            self._book.add(self._key(row, case), {kind: share.to_json() for kind, share in shares.items()})

    def counts(self, row: Row, cases: Sequence[Case]) -> Columns:
        """Return the row's counts over these cases."""
        found = [self._book.find(self._key(row, case)) or {} for case in cases]
        return summed({kind: Counts.from_json(counts) for kind, counts in one.items()} for one in found)

    def _patches(self, editor: Editor, cases: Sequence[Case], spent: dict[str, float]) -> list[EditPatch]:
        if not cases:
            return []
        contexts = [context_of(case, self._store, self._catalogue, editor.config) for case in cases]
        with counted(spent, "search"):
            apart = search_edits(self._lm, contexts, editor=editor, config=editor.config).apart()
        with counted(spent, "write"):
            return [write_edits(self._lm, one, editor=editor, statistics=self._statistics).patch for one in apart]

    def _key(self, row: Row, case: Case) -> str:
        return fingerprint_value([self._lm.fingerprint, row.key, case.edit.id, case.tests])


@contextmanager
def counted(spent: dict[str, float], step: str) -> Iterator[None]:
    """Add the processor seconds of a step."""
    begin = time.process_time()
    yield
    spent[step] += time.process_time() - begin


def spent_table(bench: Bench) -> Table:
    """Return the processor seconds of an edit by row and step, of the edits of this run."""
    table = Table(["processor seconds an edit", *STEPS, "edits"])
    for name, spent in bench.spent.items():
        if spent["edits"]:
            table.add(name, *(f"{spent[step] / spent['edits']:.2f}" for step in STEPS), f"{spent['edits']:.0f}")
    return table


def table_of(bench: Bench, rows: Sequence[Row], cases: Sequence[Case]) -> Table:
    table = Table(["", "efficacy", "paraphrase", "neighbours", "consequences"])
    for row in rows:
        if row.note:
            table.add(row.name, row.note, "", "", "")
            continue
        counts = bench.counts(row, cases)
        table.add(row.name, *(interval_text(counts.get(kind)) for kind in COLUMNS))
    return table


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["bundled:smollm2", "bundled:gemma3"], help="as in `kgmet edit`")
    parser.add_argument("--editors", nargs="+", default=["KGMET", "KGMET-many", "AlphaEdit", "MEMIT", "NSE"])
    parser.add_argument("--split", default="test", choices=sorted(SPLITS), help="choose settings on tuning only")
    parser.add_argument("--limit", type=int, default=80, help="edits of each model at most")
    parser.add_argument("--book", type=Path, default=Path("transfer.jsonl"), help="a line per edit; read back")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser.parse_args()


if __name__ == "__main__":
    main()
