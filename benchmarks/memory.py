"""Estimated and measured memory of each stage of an edit on the CPU.

    python benchmarks/memory.py [--model bundled:smollm2] [--editor KGMET] [--edits 1] [--threads 2]

Measured is the highest resident memory while a stage runs (`VmHWM`, reset before it), minus what was resident before
the model was loaded: interpreter, torch and transformers. A fresh cache folder makes the statistics be measured again.
Linux only.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import build_cases, context_of
from measure import Table, machine
from solve import forget_peak, resident_bytes

from kgmet.base.memory import gigabytes
from kgmet.base.progress import Silent
from kgmet.editing.budget import Work, estimate_memory
from kgmet.editing.defaults import default_config
from kgmet.editing.editors import editor_named
from kgmet.editing.factories import make_writer
from kgmet.editing.plan import search_edits, write_edits
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.bundled import ensure_bundled, is_bundled
from kgmet.lm.load.loaded import DEFAULT_MODEL, load_lm
from kgmet.lm.load.shape import format_of
from kgmet.write.corpus import bundled_corpus
from kgmet.write.moments import make_key_moments
from kgmet.write.statistics import KeyStatistics
from tests.tiny_models import tiny_lm

Result = TypeVar("Result")


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    folder = options.model
    if is_bundled(folder):
        folder = str(ensure_bundled(folder.removeprefix("bundled:")))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["KGMET_CACHE"] = cache
        print(measured(folder, options))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--editor", default="KGMET")
    parser.add_argument("--edits", type=int, default=1, help="edits at once")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def measured(folder: str, options: argparse.Namespace) -> str:
    """Run the stages and return the table."""
    tiny = tiny_lm()  # what torch and transformers load at first use
    tiny.model(torch.tensor([[1, 2]]))
    store, catalogue, nothing = sample_store(), RelationCatalogue.load(), resident_bytes("VmRSS")
    peaks: dict[str, int] = {}

    def peak_of(stage: str, work: Callable[[], Result]) -> Result:
        forget_peak()
        result = work()
        peaks[stage] = resident_bytes("VmHWM") - nothing
        return result

    lm = peak_of("load", lambda: load_lm(folder, device="cpu"))
    editor = editor_named(options.editor)
    config = default_config(editor, lm)
    cases = build_cases(lm, store, catalogue, limit=options.edits)
    contexts = [context_of(case, store, catalogue, config) for case in cases]
    layers, statistics = config.write.layers, KeyStatistics(lm)
    peak_of("key statistics", lambda: make_key_moments(lm, layers, corpus=bundled_corpus()))
    peak_of("eigenvectors", lambda: make_writer(editor, config, statistics, Silent()))
    searched = peak_of("search", lambda: search_edits(lm, contexts, editor=editor, config=config))
    peak_of("write", lambda: write_edits(lm, searched, editor=editor, statistics=statistics))
    work = Work(
        shape=lm.shape,
        weights=format_of(lm.dtype),
        editor=editor,
        config=config,
        is_on_cpu=True,
        n_edit=len(contexts),
    )
    table = Table(["stage", "estimated", "measured", "estimated / measured"])
    for stage, use in estimate_memory(work).stages.items():
        table.add(stage, gigabytes(use.cpu), gigabytes(peaks[stage]), f"{use.cpu / peaks[stage]:.2f}")
    return f"{editor.name}, {len(contexts)} at once; {Path(folder).name}; {machine(options.threads, lm)}.\n\n{table}"


if __name__ == "__main__":
    main()
