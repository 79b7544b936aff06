"""How well `inspect-edit` finds who was edited, and whether a fine-tune raises a false claim.

    python benchmarks/forensics.py [--edits 100] [--each] [--entities 5946] [--threads 1] [--editors KGMET AlphaEdit …]
                                   [--together 20 40] [--no-single]

Edits of the sample cases, each of another subject, are shared out among the editors (with `--each` every editor makes
all of them), and made one at a time and all together; `--together` makes patches of the first so many instead. Each
patch is inspected without the facts it states. As the control, LoRA adapters are trained on the bundled text with PEFT,
as in an ordinary fine-tune.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from measure import machine

from kgmet.editing.context import prepare_edit
from kgmet.editing.defaults import default_settings
from kgmet.editing.editors import Editor, editor_named
from kgmet.editing.plan import SearchedEdits, search_edits, write_edits
from kgmet.evaluate.datasets.load import load_dataset
from kgmet.fact import FactEdit
from kgmet.graph.names import fold
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.inspect.forensics.changes import ChangedModel, read_changes
from kgmet.inspect.forensics.inspection import claimed_subjects, most_subjects
from kgmet.inspect.forensics.signs import read_signs
from kgmet.inspect.forensics.subjects import NamedKeys, SubjectScan, measured_names, rank_measured, subjects_of
from kgmet.lm.load.bundled import ensure_bundled
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.write.corpus import bundled_corpus
from kgmet.write.patch import EditPatch, save_patch
from kgmet.write.statistics import KeyStatistics

EDITORS = ("KGMET", "AlphaEdit", "MEMIT", "ROME", "FT")
TARGETS = {
    "attention": ["q_proj", "v_proj"],
    "all": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "down-projections": ["down_proj"],
    "five down-projections": ["down_proj"],
}
LAYERS = {"five down-projections": [2, 3, 4, 5, 6]}
"""Layers of an adapter that is not on all of them: those that editors like to change."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Found:
    """What one inspection found. `unlimited` are the claims without the limit that the rank sets."""

    scan: SubjectScan
    claimed: dict[str, str]
    unlimited: set[str]
    looks_like: str


class Inspector:
    """The names' keys, measured once, and the statistics of all layers that editors write."""

    def __init__(self, lm: LoadedLM, n_entity: int, wanted: list[FactEdit]) -> None:
        self.lm, self.keys = lm, KeyStatistics(lm)
        store, catalogue = sample_store(), RelationCatalogue.load()
        every = subjects_of(store, catalogue)
        names = {fold(edit.subject) for edit in wanted}
        edited = [entity for entity in every if {fold(entity.label), fold(entity.in_text)} & names]
        others = [entity for entity in every if entity not in edited]
        self.entities = [*edited, *others[: max(0, n_entity - len(edited))]]
        self.layers = tuple(range(9))
        self.named: list[NamedKeys] = list(measured_names(lm, self.entities, self.layers))

    def entity_ids(self, edit: FactEdit) -> set[str]:
        """Return the graph's ids of an edit's subject, if it is ranked; a building and a film may have one name."""
        name = fold(edit.subject)
        return {one.id for one in self.entities if name in (fold(one.label), fold(one.in_text))}

    def inspect(self, changed: ChangedModel) -> Found:
        """Rank the names, claim those that stand out, and say what the change looks like."""
        updates = [update for update in changed.updates if update.layer in self.layers]
        moments = self.keys.moments([update.layer for update in changed.updates])
        origin = read_signs(self.lm, changed, moments)
        scan = rank_measured(self.named, updates, moments) if updates else SubjectScan(scores=())
        claimed = claimed_subjects(scan, origin, most=most_subjects(changed))
        return Found(
            scan=scan,
            claimed={score.entity.id: score.entity.label for score in claimed},
            unlimited={score.entity.id for score in claimed_subjects(scan, origin)},
            looks_like=origin.looks_like,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=100)
    parser.add_argument("--each", action="store_true", help="every editor makes all edits, not a share of them")
    parser.add_argument("--entities", type=int, default=5946)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--editors", nargs="+", default=list(EDITORS))
    parser.add_argument("--together", type=int, nargs="*", help="sizes of patches of several edits; by default all")
    parser.add_argument("--no-single", action="store_true", help="make no patch of one edit")
    parser.add_argument("--only", nargs="+", help="make only these editors' shares, to go on after a run cut short")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--adapters", type=Path, nargs="*", help="trained adapters; by default some are trained")
    parser.add_argument("--controls", nargs="*", default=list(TARGETS), choices=TARGETS, help="adapters to train")
    parser.add_argument("--log", type=Path, help="write one JSON line for each inspection")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm = load_lm(DEFAULT_MODEL)
    edits = facts(options.edits, options.seed)
    inspector = Inspector(lm, options.entities, edits)
    ranked = sum(len(part.entities) for part in inspector.named)
    print(f"\n{machine(options.threads, lm)}, {lm.name}; {len(edits)} edits, {ranked} names ranked.\n", flush=True)
    print(
        "| Change | inspected | in the first 100 | first of all | claimed, right | claimed, wrong | "
        "wrong without the limit | looks like |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    n_editor, ranks = len(options.editors), list[int | None]()
    for number, name in enumerate(options.editors):
        share = edits if options.each else edits[number::n_editor]
        if options.only and name not in options.only:
            continue
        sizes = [len(share)] if options.together is None else options.together
        editor = editor_named(name)
        found = searched(inspector, editor, share)
        if not options.no_single:
            ranks += single_row(inspector, editor, share, found, options.log)
        several_rows(inspector, editor, share, found, sizes, options.log)
    with tempfile.TemporaryDirectory() as place:
        given: list[Path] | None = options.adapters
        for folder in trained(Path(place), options.controls) if given is None else given:
            found = inspector.inspect(read_changes(lm, folder))
            first = found.scan.scores[0] if found.scan.scores else None
            said = "none ranked" if first is None else f"first name {first.times:.1f} times the median"
            print(
                f"| LoRA on {folder.name} | 1 | no edit | {said} | 0 | {len(found.claimed)} | "
                f"{len(found.unlimited)} | {found.looks_like} |",
                flush=True,
            )
    hundred = sum(rank is not None and rank <= 100 for rank in ranks)
    print(f"\nOf {len(ranks)} edits made one at a time, {hundred} subjects are among the first 100 of {ranked} names.")


def facts(count: int, seed: int) -> list[FactEdit]:
    """Edits of the sample cases, each of another subject, in random order."""
    cases = list(load_dataset("own").cases)
    random.Random(seed).shuffle(cases)
    found: dict[str, FactEdit] = {}
    for case in cases:
        for edit in case.edits:
            found.setdefault(fold(edit.subject), edit)
    return list(found.values())[:count]


def searched(inspector: Inspector, editor: Editor, edits: list[FactEdit]) -> SearchedEdits:
    """Return what the editor's search finds for these edits; fine-tuning finds nothing before it writes."""
    config = default_settings(editor, inspector.lm).config
    store, catalogue = sample_store(), RelationCatalogue.load()
    contexts = [prepare_edit(edit, store=store, catalogue=catalogue, config=config) for edit in edits]
    return search_edits(inspector.lm, contexts, editor=editor, config=config)


def single_row(
    inspector: Inspector, editor: Editor, edits: list[FactEdit], found: SearchedEdits, log: Path | None
) -> list[int | None]:
    """Print the row of the edits one at a time, and return their ranks.

    An edit's rank is ``None`` if its subject is not among the ranked.
    """
    alone = [([edit], found_in(inspector, editor, part)) for edit, part in zip(edits, found.apart(), strict=True)]
    return row(inspector, f"{editor.name}, one at a time", alone, log)


def several_rows(
    inspector: Inspector,
    editor: Editor,
    edits: list[FactEdit],
    found: SearchedEdits,
    sizes: list[int],
    log: Path | None,
) -> None:
    """Print a row for a patch of the first so many edits, for each size."""
    for size in sorted({min(size, len(edits)) for size in sizes if size > 1}):
        first = replace(
            found, contexts=found.contexts[:size], problems=found.problems[:size], shifts=found.shifts[:size]
        )
        row(inspector, f"{editor.name}, {size} together", [(edits[:size], found_in(inspector, editor, first))], log)


def found_in(inspector: Inspector, editor: Editor, found: SearchedEdits) -> Found:
    """Write one patch of what the search found, and inspect it."""
    patch = write_edits(inspector.lm, found, editor=editor, statistics=inspector.keys).patch
    return inspector.inspect(changed_of(inspector.lm, patch))


def changed_of(lm: LoadedLM, patch: EditPatch) -> ChangedModel:
    """Return the change as a stranger reads it from files."""
    with tempfile.TemporaryDirectory() as place:
        save_patch(patch, Path(place))
        return read_changes(lm, Path(place))


def row(
    inspector: Inspector, name: str, inspected: list[tuple[list[FactEdit], Found]], log: Path | None
) -> list[int | None]:
    """Print the counts of some inspections, write them to the log, and return the rank of every edited subject."""
    ranks: list[int | None] = []
    right = wrong = unlimited = 0
    for edits, found in inspected:
        ids = [inspector.entity_ids(edit) for edit in edits]
        known = {score.entity.id: rank for rank, score in enumerate(found.scan.scores, start=1)}
        every = set[str]().union(*ids)
        here = [min((known[one] for one in some if one in known), default=None) for some in ids]
        ranks += here
        right += sum(bool(found.claimed.keys() & some) for some in ids)
        wrong += len(found.claimed.keys() - every)
        unlimited += len(found.unlimited - every)
        if log is not None:
            first = [[score.entity.label, round(score.times, 2)] for score in found.scan.scores[:8]]
            line = {"change": name, "subjects": [edit.subject for edit in edits], "ranks": here}
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | {"claimed": list(found.claimed.values()), "first": first}) + "\n")
    first_of_all = sum(rank is not None and rank <= len(inspected[0][0]) for rank in ranks)
    hundred = sum(rank is not None and rank <= 100 for rank in ranks)
    looks = statistics.mode(found.looks_like for _, found in inspected)
    print(
        f"| {name} | {len(inspected)} | {hundred} of {len(ranks)} | {first_of_all} | {right} | {wrong} | {unlimited} | "
        f"{looks} |",
        flush=True,
    )
    return ranks


def trained(place: Path, names: list[str]) -> Iterator[Path]:
    """Train adapters of these rows of `TARGETS`, each when it is asked for."""
    return (train(name, place / name) for name in names)


def train(name: str, folder: Path) -> Path:
    """Train a LoRA of rank 8 on the bundled text for 60 steps of 4 passages, and save it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    causal: Any = AutoModelForCausalLM
    lm = load_lm(DEFAULT_MODEL)
    torch.manual_seed(0)
    plain = causal.from_pretrained(str(ensure_bundled("smollm2")), dtype=torch.float32)
    model: Any = get_peft_model(
        plain,
        LoraConfig(
            r=8,
            lora_alpha=16,
            target_modules=TARGETS[name],
            layers_to_transform=LAYERS.get(name),
            task_type="CAUSAL_LM",
        ),
    )
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-3)
    texts = [lm.tokenizer(line)["input_ids"][:64] for line in bundled_corpus().lines]
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        batch = [texts[n] for n in torch.randint(len(texts), (4,), generator=generator).tolist()]
        width = max(map(len, batch))
        ids = torch.tensor([text + [0] * (width - len(text)) for text in batch])
        mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in batch])
        loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
