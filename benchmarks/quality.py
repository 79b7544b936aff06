"""All editors on the same edits: one at a time, many at once, and one after another.

    python benchmarks/quality.py [--threads 2] [--limit 65] [--editors KGMET AlphaEdit …] [--together 20]
        [--sequence 0] [--batch 1] [--tuned FILE] [--json FILE]

Prints the tables of the docs, on the test split. Test wordings are held out (`edit_set.check_held_out`), and tested
neighbours are never protected. Editors with the same search share it, so their differences come from the write. With
--tuned every editor has the best settings of `tune.py`. The --json FILE is written after every row, and its rows are
not run again: after a change of the code, name another file. Sequences longer than the split: ``python -m kgmet
evaluate``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import SPLITS, Case, build_cases, measured_on, undisturbed
from measure import Share, Table, interval_text, machine, measured, measured_together
from runner import Runner
from tune import best_editor, read_variants

from kgmet.base.fingerprint import fingerprint_value
from kgmet.editing.editors import EDITORS, Editor, editor_named
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.run.spans import Phrase, locate_all
from kgmet.measure.columns import COLUMNS, Counts
from kgmet.write.corpus import bundled_corpus
from kgmet.write.patch import EditPatch, attached

UNEDITED = "unedited"


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    lm, store, catalogue = load_lm(DEFAULT_MODEL), sample_store(), RelationCatalogue.load()
    cases = build_cases(lm, store, catalogue, split=options.split, limit=options.limit)
    editors = [editor_named(name) for name in options.editors]
    if options.tuned:
        variants = read_variants(options.tuned)
        editors = [best_editor(editor, variants) for editor in editors]
    runner = Runner(lm, store, catalogue, cases=cases)
    rows = Rows(options.json, editors, measured_on=measured_on(lm, cases))

    about = f"{options.split} split, {machine(options.threads, lm)}, {lm.name}"
    rows.make(f"{len(cases)} edits one at a time; {about}", "‖shift‖/‖h‖", alone(lm, runner, cases))
    if options.together:
        n = min(options.together, len(cases))
        title = f"{n} edits written at once; perplexity on 40 passages of plain text; {about}"
        rows.make(title, "perplexity", at_once(lm, runner, cases[:n]))
    if options.sequence:
        n = min(options.sequence, len(cases))
        title = f"{n} edits one after another, {options.batch} a write, measured at the end; {about}"
        rows.make(title, "perplexity", in_sequence(lm, runner, cases[:n], options.batch))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--split", choices=SPLITS, default="test", help="tuning: only to try this script out")
    parser.add_argument("--limit", type=int, help="use this many edits; by default all")
    parser.add_argument("--together", type=int, default=20, help="edits written at once; 0: no such table")
    parser.add_argument("--sequence", type=int, default=0, help="edits written one after another; 0: no such table")
    parser.add_argument("--batch", type=int, default=1, help="edits per write of a sequence")
    parser.add_argument("--editors", nargs="*", default=list(EDITORS))
    parser.add_argument("--tuned", type=Path, help="the file that tune.py wrote")
    parser.add_argument("--json", type=Path, help="where rows are kept")
    return parser.parse_args()


@dataclass(frozen=True, kw_only=True)
class Row:
    """Results of one editor; `last` is the table's last column."""

    columns: dict[str, Counts]
    last: float = math.nan
    seconds: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        columns = {kind: counts.to_json() for kind, counts in self.columns.items()}
        numbers = {"last": self.last, "seconds": self.seconds}
        return {"columns": columns, **{key: value for key, value in numbers.items() if not math.isnan(value)}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        """Read what `to_json` made."""
        return cls(**{**data, "columns": {kind: Counts(**counts) for kind, counts in data["columns"].items()}})


class Rows:
    """Runner of missing rows, each saved as soon as it is complete.

    A row is identified by its table's title, its editor's name and settings, and the measured cases.
    """

    def __init__(self, file: Path | None, editors: Sequence[Editor], *, measured_on: str) -> None:
        self._file, self._editors, self._measured_on = file, editors, measured_on
        self._known: dict[str, dict[str, Any]] = {}
        if file is not None and file.exists():
            self._known = json.loads(file.read_text(encoding="utf-8"))

    def make(self, title: str, last: str, make: Callable[[Editor | None], Row]) -> None:
        """Print one table when all its rows are complete."""
        known, found = self._known.setdefault(title, {}), {}
        for editor in (None, *self._editors):
            name = UNEDITED if editor is None else editor.name
            made_with = fingerprint_value([self._measured_on, None if editor is None else settings_of(editor)])
            if known.get(name, {}).get("made_with") != made_with:
                known[name] = {"made_with": made_with, **make(editor).to_json()}
                if self._file is not None:
                    self._file.write_text(json.dumps(self._known, indent=1, ensure_ascii=False), encoding="utf-8")
            found[name] = Row.from_json({key: value for key, value in known[name].items() if key != "made_with"})
            print(line_of(name, found[name]), file=sys.stderr, flush=True)
        print(f"\n{title}.")
        print("Preferred / first answer, % (95 % interval of preferred, n).\n")
        print(table_of(found, last), flush=True)


def settings_of(editor: Editor) -> list[Any]:
    """Return all that an editor's results depend on, apart from the code."""
    return [editor.writer.value, editor.keeps_earlier, editor.searches_unedited, editor.config]


def alone(lm: LoadedLM, runner: Runner, cases: Sequence[Case]) -> Callable[[Editor | None], Row]:
    def row(editor: Editor | None) -> Row:
        if editor is None:
            return Row(columns=_counts(measured(lm, cases, None)))
        plans = runner.one_at_a_time(editor)
        shifts = [plan.shifts[0].norm_ratio for plan in plans if plan.shifts]
        return Row(
            columns=_counts(measured(lm, cases, [plan.patch for plan in plans])),
            last=sum(shifts) / len(shifts) if shifts else math.nan,
            seconds=runner.seconds[editor.name],
        )

    return row


def at_once(lm: LoadedLM, runner: Runner, cases: Sequence[Case]) -> Callable[[Editor | None], Row]:
    def row(editor: Editor | None) -> Row:
        return _under(lm, cases, [] if editor is None else [runner.all_at_once(editor, len(cases)).patch])

    return row


def in_sequence(lm: LoadedLM, runner: Runner, cases: Sequence[Case], batch: int) -> Callable[[Editor | None], Row]:
    def row(editor: Editor | None) -> Row:
        return _under(lm, cases, [] if editor is None else runner.in_sequence(editor, len(cases), batch=batch))

    return row


def _under(lm: LoadedLM, cases: Sequence[Case], patches: Sequence[EditPatch]) -> Row:
    return Row(columns=_counts(measured_together(lm, undisturbed(cases), patches)), last=perplexity(lm, patches))


def perplexity(lm: LoadedLM, patches: Sequence[EditPatch], *, n: int = 40) -> float:
    """Return the perplexity of the first passages of the bundled text."""
    spans = locate_all(lm, [Phrase(template=line[:300]) for line in bundled_corpus().lines[:n]])
    total, count = 0.0, 0
    with attached(list(patches), lm), torch.no_grad():
        for span in spans:
            ids = torch.tensor([span.input_ids], device=lm.device)
            logprobs = lm.model(ids).logits[0, :-1].float().log_softmax(-1)  # type: ignore[operator]
            total -= float(logprobs.gather(1, ids[0, 1:, None]).sum())
            count += ids.shape[1] - 1
    return math.exp(total / count)


def _counts(shares: dict[str, Share]) -> dict[str, Counts]:
    return {kind: share.counts for kind, share in shares.items()}


def line_of(name: str, row: Row) -> str:
    return name + ": " + ", ".join(f"{kind} {interval_text(row.columns.get(kind))}" for kind in COLUMNS)


def table_of(found: dict[str, Row], last: str) -> Table:
    timed = any(not math.isnan(row.seconds) for row in found.values())
    seconds = ["s / edit"] if timed else []
    table = Table(["", "efficacy", "paraphrase", "neighbours", "consequences", last, *seconds])
    for name, row in found.items():
        cells = [*(interval_text(row.columns.get(kind)) for kind in COLUMNS), _number(row.last, 2)]
        table.add(name, *cells, *([_number(row.seconds, 1)] if timed else []))
    return table


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
