r"""Settings of one editor in a sequence of edits, on own cases outside the tables of the docs.

    python benchmarks/sequence.py [--editor KGMET-many] [--edits 120] [--threads 2] [--out DIR] \
        [--variant write.ridge=2 --variant write.earlier_weight=4,target.max_norm_ratio=0.9] [--corpus FILE]

Uses the cases from the 201st on, ten at a time, each batch added to the earlier ones, all scored after the last edit,
as `python -m kgmet evaluate` does with the first two hundred. There is one row per variant, labelled by its changes;
the editor's own settings come first. `--corpus` adds the editor's own settings with key statistics from another text. A
variant is a run folder in DIR and is not run again.

Perplexity is that of the bundled passages (611 tokens) relative to the unedited model's, with its standard error over
tokens, which is too coarse for choosing settings. The divergence KL(unedited ‖ edited) over the whole vocabulary, in
nats, is the mean over the same tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from measure import Table, machine

from kgmet.base.fingerprint import fingerprint_value
from kgmet.calibrate.settings import Changes, changes_text
from kgmet.cli.common import StderrProgress
from kgmet.editing.config import config_from_mapping
from kgmet.editing.editors import Editor, editor_named
from kgmet.evaluate.datasets.cases import Dataset, without_contested
from kgmet.evaluate.datasets.load import FaultyRecords, load_dataset
from kgmet.evaluate.runs.folder import RunFolder
from kgmet.evaluate.runs.run import RunResources, run_evaluation
from kgmet.evaluate.runs.score import ScoreConfig
from kgmet.evaluate.runs.settings import RunSettings
from kgmet.evaluate.tables.summary import RunSummary, summarize_run
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.measure.general import bundled_passages
from kgmet.search.objective import kept_divergence
from kgmet.write.corpus import Corpus
from kgmet.write.patch import EditPatch, attached, merged_patch
from kgmet.write.statistics import KeyStatistics

FIRST = 200
"""First case used here; earlier cases belong to the tables."""
COLUMNS = ("efficacy", "paraphrase", "neighborhood", "consequences")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--editor", default="KGMET-many")
    parser.add_argument("--edits", type=int, default=120)
    parser.add_argument("--num-edits", type=int, default=10)
    parser.add_argument("--variant", action="append", default=[], type=changes_of)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/sequence"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm = load_lm(DEFAULT_MODEL)
    data = tuning_cases(options.edits)
    table = Table(["", *COLUMNS, "perplexity, ×", "divergence"])
    variants: list[tuple[Changes, Corpus | None]] = [(changes, None) for changes in ({}, *options.variant)]
    if options.corpus:
        variants.append(({}, Corpus.from_file(options.corpus)))
    for number, (changes, corpus) in enumerate(variants):
        folder = run(lm, data, options.editor, changes, corpus, num_edits=options.num_edits, out=options.out)
        found = summarize_run(folder.path)
        if not number:
            table.add("unedited", *cells(found, "before"), "1", "0")
        patches = [patch for row in folder.batches.rows if (patch := folder.load_patch(row["batch"])) is not None]
        moved = moved_text(lm, merged_patch(patches, lm))
        ratio = math.exp(moved.loss)
        table.add(
            name_of(options.editor, changes, corpus),
            *cells(found, "after"),
            f"{ratio:.3f} ± {ratio * moved.error:.3f}",
            f"{moved.divergence:.4f}",
        )
        print(f"\n{table}", flush=True)
    print(
        f"\n{len(data.cases)} own cases from number {FIRST + 1} on, {options.num_edits} at a time, {lm.name}; "
        f"{machine(options.threads, lm)}. Preferred / first answer, %."
    )


def tuning_cases(n: int) -> Dataset:
    """Return the `n` cases after the tables'; neighbours that another of these edits are not asked."""
    data = load_dataset("own", faulty=FaultyRecords(together=False))
    cases = without_contested(data.cases[FIRST : FIRST + n])
    return replace(data, cases=tuple(cases))


def run(
    lm: LoadedLM,
    data: Dataset,
    editor: str,
    changes: Changes,
    corpus: Corpus | None,
    *,
    num_edits: int,
    out: Path,
) -> RunFolder:
    """Run one variant, or load it from its folder."""
    config = config_from_mapping(changes, base=editor_named(editor).config)
    # Long continuations take most of the time and do not help to choose settings.
    score = ScoreConfig(free_tokens=0, n_generation=0)
    settings = RunSettings(editor=editor, config=config, num_edits=num_edits, score=score)
    key = fingerprint_value([editor, config, corpus and corpus.fingerprint, num_edits, data.fingerprint])
    resources = RunResources(
        store=sample_store(),
        catalogue=RelationCatalogue.load(),
        statistics=KeyStatistics(lm, corpus),
        before=out / "before",
    )
    return run_evaluation(lm, data, settings, folder=out / key[:12], resources=resources, progress=StderrProgress())


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Effect of a patch on the bundled passages: means over tokens in nats; `error` is a standard error."""

    loss: float
    error: float
    divergence: float


def moved_text(lm: LoadedLM, patch: EditPatch) -> Moved:
    """Return the change of each token's negative log-likelihood, and the KL divergence of its distribution."""
    surprises: list[Tensor] = []
    divergences: list[Tensor] = []
    for text in bundled_passages():
        ids = torch.tensor([lm.tokenizer(text)["input_ids"]], device=lm.device)
        before = _logprobs(lm, ids)
        with attached([patch], lm):
            after = _logprobs(lm, ids)
        surprises.append((before - after).gather(1, ids[0, 1:, None])[:, 0])
        divergences.append(kept_divergence(after, before))
    loss = torch.cat(surprises)
    return Moved(
        loss=float(loss.mean()),
        error=float(loss.std() / math.sqrt(loss.numel())),
        divergence=float(torch.cat(divergences).mean()),
    )


def _logprobs(lm: LoadedLM, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = lm.model(input_ids=ids).logits
    return logits[0, :-1].double().log_softmax(-1)


def cells(summary: RunSummary, state: str) -> list[str]:
    """Return each column of a row, with n beside what is not edited."""
    found = []
    for column in COLUMNS:
        value = summary.metrics[column][state]
        n = f" (n {value['n']})" if state == "before" else ""
        found.append(f"{100 * value['preferred']:.1f} / {100 * value['first']:.1f}{n}")
    return found


def name_of(editor: str, changes: Changes, corpus: Corpus | None) -> str:
    """Return the label of a row."""
    text = changes_text(changes) if changes else ""
    return ", ".join(part for part in (editor, text, f"text {corpus.name}" if corpus else "") if part)


def editors_of(names: Sequence[str], variants: Sequence[Changes]) -> list[Editor]:
    """Return the editors, the variants of the first one after it."""
    editors = [editor_named(name) for name in names]
    first = editors[0]
    changed = [
        replace(
            first, name=f"{first.name}, {changes_text(changes)}", config=config_from_mapping(changes, base=first.config)
        )
        for changes in variants
    ]
    return [first, *changed, *editors[1:]]


def changes_of(text: str) -> Changes:
    """Parse ``write.ridge=2,cutoff.value=0.1`` as nested settings; values are JSON, else text."""
    nested: dict[str, dict[str, Any]] = {}
    for part in re.split(r",(?=[a-z_]+\.)", text):
        name, equals, value = part.partition("=")
        stage, dot, field = name.strip().partition(".")
        if not (equals and dot):
            raise argparse.ArgumentTypeError(f"{part!r} is not STAGE.SETTING=VALUE")
        try:
            nested.setdefault(stage, {})[field] = json.loads(value)
        except json.JSONDecodeError:
            nested.setdefault(stage, {})[field] = value.strip()
    return nested


if __name__ == "__main__":
    main()
