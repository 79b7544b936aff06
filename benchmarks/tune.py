"""The same search for settings for every editor, on the tuning edits; the test split is never run here.

    python benchmarks/tune.py --editors AlphaEdit MEMIT … [--limit 24] [--threads 1] [--json FILE]

Without --editors it prints the planned variants. Every editor gets `tune_grids.BUDGET` variants in three rounds, each
starting from the best of the last: how the shift is searched, which layers are written, how they are written. The score
is the harmonic mean over efficacy, paraphrase, neighbours and consequences of (preferred + first) / 2. Each variant
becomes a line of FILE as soon as it is measured, and lines of FILE are not run again; several processes may share one
FILE. After a change of the code, name another file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import Case, build_cases, measured_on
from measure import Table, machine, measured
from runner import Runner
from tune_grids import BUDGET, rounds_for

from kgmet.base.errors import KgmetError
from kgmet.base.fingerprint import fingerprint_value
from kgmet.calibrate.settings import Changes, changes_text, merged_changes
from kgmet.editing.config import config_from_mapping, config_to_mapping
from kgmet.editing.editors import EDITORS, Editor, editor_named
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.measure.columns import COLUMNS, Counts, score_of

__all__ = ["Variant", "best_editor", "read_variants"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One editor with one set of settings and its results; `failed` gives the error if there are none."""

    editor: str
    text: str
    changes: Mapping[str, Any]
    config: Mapping[str, Any]
    measured_on: str
    columns: Mapping[str, Counts]
    failed: str = ""

    @property
    def score(self) -> float:
        """Score from 0 to 1."""
        return score_of(self.columns)

    def to_json(self) -> dict[str, Any]:
        """Return one line of the file."""
        columns = {kind: counts.to_json() for kind, counts in self.columns.items()}
        return {**vars(self), "columns": columns, "score": round(self.score, 4)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Variant:
        """Read what `to_json` made."""
        columns = {kind: Counts(**counts) for kind, counts in data["columns"].items()}
        return cls(**{**{key: value for key, value in data.items() if key != "score"}, "columns": columns})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--editors", nargs="*", default=[])
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file of JSON lines, added to")
    options = parser.parse_args()
    if not options.editors:
        print_grids()
        return
    torch.set_num_threads(options.threads)
    editors = [editor_named(name) for name in options.editors]
    lm, store, catalogue = load_lm(DEFAULT_MODEL), sample_store(), RelationCatalogue.load()
    cases = build_cases(lm, store, catalogue, split="tuning", limit=options.limit)
    print(
        f"{len(cases)} tuning edits, {BUDGET} variants per editor, {machine(options.threads, lm)}, {lm.name}.",
        flush=True,
    )
    tuner = Tuner(Runner(lm, store, catalogue, cases=cases), cases, lm, options.json)
    for editor in editors:
        print_variants(editor.name, tuner.tune(editor))


class Tuner:
    """Runner of the variants that are missing in the file."""

    def __init__(self, runner: Runner, cases: Sequence[Case], lm: LoadedLM, file: Path | None) -> None:
        self._runner, self._cases, self._lm, self._file = runner, cases, lm, file
        self._measured_on = measured_on(lm, cases)
        self._known = {
            _key(variant.editor, variant.config): variant
            for variant in (read_variants(file) if file is not None and file.exists() else [])
            if variant.measured_on == self._measured_on
        }

    def tune(self, editor: Editor) -> list[Variant]:
        """Return all variants of an editor, in the order in which they were tried."""
        best: Changes = {}
        tried: list[Variant] = []
        for alternatives in rounds_for(editor):
            tried += [self._variant(editor, merged_changes(best, changes)) for changes in alternatives]
            best = max(tried, key=lambda variant: variant.score).changes
        return tried

    def _variant(self, editor: Editor, changes: Changes) -> Variant:
        editor = replace(editor, config=config_from_mapping(changes, base=editor.config))
        config = config_to_mapping(editor.config)
        key = _key(editor.name, config)
        if key not in self._known:
            start = time.perf_counter()
            columns, failed = self._measured(editor)
            self._known[key] = variant = Variant(
                editor=editor.name,
                text=changes_text(changes),
                changes=changes,
                config=config,
                measured_on=self._measured_on,
                columns=columns,
                failed=failed,
            )
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(variant.to_json(), ensure_ascii=False) + "\n")
            seconds = time.perf_counter() - start
            print(f"{editor.name}: {variant.score:.3f} {variant.text} ({seconds:.0f} s)", file=sys.stderr, flush=True)
        return self._known[key]

    def _measured(self, editor: Editor) -> tuple[dict[str, Counts], str]:
        try:
            plans = self._runner.one_at_a_time(editor)
            shares = measured(self._lm, self._cases, [plan.patch for plan in plans])
        except KgmetError as error:
            return {}, str(error)
        return {kind: share.counts for kind, share in shares.items()}, ""


def read_variants(file: Path) -> list[Variant]:
    """Return the lines of a file, without a truncated last one."""
    variants = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            variants.append(Variant.from_json(json.loads(line)))
        except json.JSONDecodeError:
            continue
    return variants


def best_editor(editor: Editor, variants: Sequence[Variant]) -> Editor:
    """Return the editor with its best-scoring settings; unchanged if no variant was measured."""
    own = [variant for variant in variants if variant.editor == editor.name and not variant.failed]
    if not own:
        return editor
    return replace(editor, config=config_from_mapping(max(own, key=lambda variant: variant.score).config))


def print_variants(name: str, variants: Sequence[Variant]) -> None:
    table = Table(["score", *COLUMNS, name])
    for variant in sorted(variants, key=lambda variant: -variant.score):
        cells = [
            f"{100 * counts.preferred / counts.n:.0f} / {100 * counts.first / counts.n:.0f}" if counts else "–"
            for counts in (variant.columns.get(kind) for kind in COLUMNS)
        ]
        table.add(f"{variant.score:.3f}", *cells, variant.text + (f" – {variant.failed}" if variant.failed else ""))
    chosen = max(variants, key=lambda variant: variant.score)
    print(f"\n{table}\n\n{name}, chosen: {chosen.text} ({chosen.score:.3f}).", flush=True)


def print_grids() -> None:
    for name, editor in EDITORS.items():
        print(f"{name}: {BUDGET} variants")
        for title, alternatives in zip(("search", "where", "how"), rounds_for(editor), strict=True):
            print(f"  {title}: " + "; ".join(changes_text(changes) for changes in alternatives))


def _key(editor: str, config: Mapping[str, Any]) -> str:
    return fingerprint_value([editor, config])


if __name__ == "__main__":
    main()
