"""How much text, and which, the key statistics of a model need.

    python benchmarks/moments_text.py [--model bundled:smollm2] [--corpus NAME=FILE …] [--tokens 1500 7000 28000]
        [--sampled 28000] [--editors KGMET AlphaEdit] [--limit 20] [--out FILE.jsonl] [--threads 2]

One row for each text and each length of it: the bundled passages, passages sampled from the model itself, and files.
Each edit is searched once, because the search reads no statistics, and written once per row. The columns are those of
the docs, for single edits of the tuning split; beside them how far all edits in one write move other text. Rows are
added to FILE.jsonl as they are measured, and a row that is there is not measured again.

*Leak* compares new text with the text that was measured: the median over tokens of ‖P k‖² / ‖k‖², with P the free
directions, on text that was left out, divided by the same on the text itself. Above 1 the free directions are free of
what was measured, not of text.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import SPLITS, Case, build_cases, context_of
from measure import Table, interval_text, machine, measured
from runner import joined, searched_apart
from sequence import moved_text

from kgmet.editing.defaults import default_config
from kgmet.editing.editors import Editor, editor_named
from kgmet.editing.plan import SearchedEdits, write_edits
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.say.continue_texts import Continuation, continue_texts
from kgmet.measure.columns import Counts
from kgmet.write.corpus import Corpus, bundled_corpus
from kgmet.write.moments import keys_of_text
from kgmet.write.nullspace import NullSpace
from kgmet.write.statistics import KeyStatistics

KINDS = ("efficacy", "paraphrase", "neighbour", "consequence")
LEFT_OUT = 24
"""Passages of every text that no row is measured on."""
OPENING = 3
"""Words of a bundled passage that a sampled one begins with."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    lm, out = load_lm(options.model), options.out
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
    done = {row["name"] for row in rows}
    texts = {"bundled": bundled_corpus(), **dict(map(read, options.corpus))}
    if options.sampled:
        texts["sampled"] = sampled(lm, options.sampled, out.with_suffix(".sampled.txt"))
    left_out = [line for text in texts.values() for line in text.lines[-LEFT_OUT:]]
    work = Work.of(lm, options)
    for text in shortened(lm, texts, options.tokens):
        if text.name not in done:
            rows.append(work.row(text, left_out))
            with out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(f"{len(work.cases)} edits of the {options.split} split; {machine(options.threads, lm)}; {lm.name}.\n")
    print(table_of(rows, options.editors))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--corpus", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1500, 7000, 28_000])
    parser.add_argument("--sampled", type=int, default=0, metavar="TOKENS", help="sample so many from the model itself")
    parser.add_argument("--editors", nargs="+", default=["KGMET", "AlphaEdit"])
    parser.add_argument("--split", default="tuning", choices=sorted(SPLITS))
    parser.add_argument("--limit", type=int, default=20, help="edits")
    parser.add_argument("--out", type=Path, default=Path("moments_text.jsonl"))
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def read(named: str) -> tuple[str, Corpus]:
    """Read one ``NAME=FILE``."""
    name, _, path = named.partition("=")
    return name, Corpus.from_file(Path(path))


def sampled(lm: LoadedLM, n_token: int, path: Path) -> Corpus:
    """Sample passages from the model, each from the first words of a bundled one; from disk if they are there."""
    if not path.is_file():
        openings = [" ".join(line.split()[:OPENING]) for line in bundled_corpus().lines]
        n = math.ceil(n_token / Corpus.n_token)
        prompts = [openings[number % len(openings)] for number in range(n)]
        how = Continuation(max_new_tokens=Corpus.n_token, top_k=50)
        ends = continue_texts(lm, prompts, how=how, seeds=range(n), batch_size=64)
        lines = [" ".join(f"{start}{end}".split()) for start, end in zip(prompts, ends, strict=True)]
        path.write_text("\n".join(lines))
    return Corpus.from_file(path)


def shortened(lm: LoadedLM, texts: dict[str, Corpus], lengths: Sequence[int]) -> Iterator[Corpus]:
    """Yield the first passages of each text, up to each length; shorter texts as a whole."""
    for name, text in texts.items():
        lines = text.lines[:-LEFT_OUT]
        counts = [min(len(ids), text.n_token) for ids in lm.tokenizer(list(lines))["input_ids"]]
        total = torch.tensor(counts).cumsum(0)
        found = dict.fromkeys(min(int((total < length).sum()) + 1, len(lines)) for length in sorted(lengths))
        for n in found:
            yield Corpus(name=f"{name} {int(total[n - 1])}", lines=lines[:n], n_token=text.n_token)


@dataclass(frozen=True, kw_only=True)
class Work:
    """The edits with their searches, by editor."""

    lm: LoadedLM
    cases: list[Case]
    searched: dict[str, tuple[Editor, list[SearchedEdits]]]

    @classmethod
    def of(cls, lm: LoadedLM, options: argparse.Namespace) -> Work:
        """Search every edit with every editor's settings for this model."""
        store, catalogue = sample_store(), RelationCatalogue.load()
        cases = build_cases(lm, store, catalogue, split=options.split, limit=options.limit)
        searched = {}
        for name in options.editors:
            editor = editor_named(name)
            editor = replace(editor, config=default_config(editor, lm))
            contexts = [context_of(case, store, catalogue, editor.config) for case in cases]
            searched[name] = editor, searched_apart(lm, contexts, editor)
        return cls(lm=lm, cases=cases, searched=searched)

    def row(self, text: Corpus, left_out: Sequence[str]) -> dict[str, Any]:
        """Measure one text."""
        statistics = KeyStatistics(self.lm, text)
        row: dict[str, Any] = {"name": text.name, "edits": {}, "moved": {}}
        for name, (editor, found) in self.searched.items():
            plans = [write_edits(self.lm, one, editor=editor, statistics=statistics) for one in found]
            shares = measured(self.lm, self.cases, [plan.patch for plan in plans])
            row["edits"][name] = {kind: share.to_json() for kind, share in shares.items()}
            whole = write_edits(self.lm, joined(found, self.cases), editor=editor, statistics=statistics)
            row["moved"][name] = moved_text(self.lm, whole.patch).divergence
            layers = editor.config.write.layers
            row["leak"] = self._leak(statistics.free(layers, editor.config.cutoff), text, left_out)
            row["n_token"] = statistics.moments(layers[:1])[layers[0]].n_token
            row["d_key"] = self.lm.d_key
        return row

    def _leak(self, free: dict[int, NullSpace], text: Corpus, left_out: Sequence[str]) -> float:
        """Return the mean over layers of the leak of the module's docstring."""
        measured_on = text.lines[:: max(1, len(text.lines) // LEFT_OUT)]
        old, new = (keys_of_text(self.lm, lines, list(free), n_token=text.n_token) for lines in (measured_on, left_out))
        ratios = [shares(free[layer], new[layer]) / shares(free[layer], old[layer]) for layer in free]
        return sum(ratios) / len(ratios)


def shares(free: NullSpace, keys: Tensor) -> float:
    """Return the median over keys (n_token, d_key) of the share of their energy in the free directions."""
    keys = keys.double()
    return float((free.project(keys).square().sum(1) / keys.square().sum(1)).median())


def table_of(rows: Sequence[dict[str, Any]], editors: Sequence[str]) -> Table:
    """Return the rows as Markdown."""
    table = Table(["text", "tokens", "tokens / d_key", "leak", "editor", *KINDS, "divergence, nats"])
    for row in rows:
        for editor in editors:
            counts = [interval_text(Counts(**row["edits"][editor][kind])) for kind in KINDS]
            per_key, name = row["n_token"] / row["d_key"], row["name"].rsplit(" ", 1)[0]
            table.add(
                *(name, f"{row['n_token']:,}", f"{per_key:.1f}", f"{row['leak']:.2f}", editor),
                *(*counts, f"{row['moved'][editor]:.4f}"),
            )
    return table


if __name__ == "__main__":
    main()
