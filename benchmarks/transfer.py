"""Editors on another model: with SmolLM2's layer numbers, and with the layers that are the default for that model.

    python benchmarks/transfer.py [--model bundled:gemma3] [--editors KGMET AlphaEdit …] [--split tuning] [--limit 12]
        [--threads 2]

Prints one table: edits one at a time, each editor first with its own settings, then with those of
`kgmet.editing.defaults.default_settings` for the model. All cases are edited, known to the model or not.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import SPLITS, build_cases
from measure import machine
from quality import UNEDITED, Row, alone, line_of, table_of
from runner import Runner

from kgmet.editing.defaults import default_settings
from kgmet.editing.editors import editor_named
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import load_lm


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    lm, store, catalogue = load_lm(options.model), sample_store(), RelationCatalogue.load()
    cases = build_cases(lm, store, catalogue, split=options.split, limit=options.limit)
    make = alone(lm, Runner(lm, store, catalogue, cases=cases), cases)
    rows: dict[str, Row] = {UNEDITED: make(None)}
    for name in options.editors:
        editor = editor_named(name)
        scaled = default_settings(editor, lm)
        for label, config in ((f"{name}, as on SmolLM2", editor.config), (f"{name}, {scaled.sentence}", scaled.config)):
            rows[label] = make(replace(editor, config=config))
            print(line_of(label, rows[label]), file=sys.stderr, flush=True)
    print(f"{len(cases)} edits one at a time; {options.split} split, {machine(options.threads, lm)}, {lm.name}.")
    print("Preferred / first answer, % (95 % interval of preferred, n).\n")
    print(table_of(rows, "‖shift‖/‖h‖"))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:gemma3", help="as in `kgmet edit`")
    parser.add_argument("--editors", nargs="+", default=["KGMET", "KGMET-many", "AlphaEdit", "MEMIT", "NSE"])
    parser.add_argument("--split", default="test", choices=sorted(SPLITS), help="choose settings on tuning only")
    parser.add_argument("--limit", type=int, default=65, help="edits")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser.parse_args()


if __name__ == "__main__":
    main()
