"""How well `inspect-edit` finds who was edited, and whether a fine-tune raises a false claim.

    python benchmarks/forensics.py [--edits 24] [--entities 5000] [--threads 1] [--editors KGMET AlphaEdit …]

Edits of the sample cases are made by each editor, one at a time and all together. Each patch is inspected without the
facts it states. As the control, LoRA adapters are trained on the bundled text with PEFT, as in an ordinary fine-tune.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from measure import machine

from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.defaults import default_settings
from kgmet.editing.editors import Editor, editor_named
from kgmet.editing.plan import plan_edits, search_edits, write_edits
from kgmet.evaluate.datasets.load import load_dataset
from kgmet.fact import FactEdit
from kgmet.graph.names import fold
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.inspect.forensics.changes import ChangedModel, read_changes
from kgmet.inspect.forensics.inspection import claimed_subjects
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
}


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

    def entity_id(self, edit: FactEdit) -> str | None:
        """The graph's id of an edit's subject, if it is among the ranked."""
        name = fold(edit.subject)
        return next((one.id for one in self.entities if name in (fold(one.label), fold(one.in_text))), None)

    def inspect(self, changed: ChangedModel) -> tuple[SubjectScan, set[str], str]:
        """Rank the names; return the ranking, the claimed ids and what the change looks like."""
        updates = [update for update in changed.updates if update.layer in self.layers]
        moments = self.keys.moments([update.layer for update in changed.updates])
        origin = read_signs(self.lm, changed, moments)
        scan = rank_measured(self.named, updates, moments) if updates else SubjectScan(layers=(), scores=())
        claimed = claimed_subjects(scan, origin)
        return scan, {score.entity.id for score in claimed}, origin.looks_like


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=24)
    parser.add_argument("--entities", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--editors", nargs="+", default=list(EDITORS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--adapters", type=Path, nargs="*", help="trained adapters; by default three are trained")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm = load_lm(DEFAULT_MODEL)
    edits = facts(options.edits, options.seed)
    inspector = Inspector(lm, options.entities, edits)
    ranked = sum(len(part.entities) for part in inspector.named)
    print(f"\n{machine(options.threads, lm)}, {lm.name}; {len(edits)} edits, {ranked} names ranked.\n", flush=True)
    print("| Change | inspected | in the first 100 | first of all | claimed, right | claimed, wrong | looks like |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in options.editors:
        rows(inspector, editor_named(name), edits)
    with tempfile.TemporaryDirectory() as place:
        folders = options.adapters or [train(name, Path(place) / name) for name in TARGETS]
        for folder in folders:
            scan, claimed, looks = inspector.inspect(read_changes(lm, folder))
            first = scan.scores[0] if scan.scores else None
            said = "none ranked" if first is None else f"first name {first.times:.1f} times the median"
            print(f"| LoRA on {folder.name} | 1 | no edit | {said} | 0 | {len(claimed)} | {looks} |", flush=True)


def facts(count: int, seed: int) -> list[FactEdit]:
    """Edits of the sample cases, each of another subject, in random order."""
    cases = list(load_dataset("own").cases)
    random.Random(seed).shuffle(cases)
    found: dict[str, FactEdit] = {}
    for case in cases:
        for edit in case.edits:
            found.setdefault(fold(edit.subject), edit)
    return list(found.values())[:count]


def rows(inspector: Inspector, editor: Editor, edits: list[FactEdit]) -> None:
    """Print one row for the edits one at a time, and one for all of them in one patch."""
    lm, config = inspector.lm, default_settings(editor, inspector.lm).config
    store, catalogue = sample_store(), RelationCatalogue.load()
    contexts = [prepare_edit(edit, store=store, catalogue=catalogue, config=config) for edit in edits]
    together, single = made(inspector, editor, contexts)
    found = [(edit, *inspector.inspect(changed_of(lm, patch))) for edit, patch in zip(edits, single, strict=False)]
    row(inspector, f"{editor.name}, one at a time", [([edit], *rest) for edit, *rest in found])
    row(inspector, f"{editor.name}, together", [(edits, *inspector.inspect(changed_of(lm, together)))])


def made(inspector: Inspector, editor: Editor, contexts: list[EditContext]) -> tuple[EditPatch, list[EditPatch]]:
    """The patch of all edits, and one patch for each, from the same search where the editor has one."""
    lm, keys, config = inspector.lm, inspector.keys, default_settings(editor, inspector.lm).config
    if not editor.writer.searches:
        one = [plan_edits(lm, [context], editor=editor, statistics=keys, config=config).patch for context in contexts]
        return plan_edits(lm, contexts, editor=editor, statistics=keys, config=config).patch, one
    searched = search_edits(lm, contexts, editor=editor, config=config)
    one = [write_edits(lm, part, editor=editor, statistics=keys).patch for part in searched.apart()]
    return write_edits(lm, searched, editor=editor, statistics=keys).patch, one


def changed_of(lm: LoadedLM, patch: EditPatch) -> ChangedModel:
    """The change as a stranger reads it from files."""
    with tempfile.TemporaryDirectory() as place:
        save_patch(patch, Path(place))
        return read_changes(lm, Path(place))


def row(inspector: Inspector, name: str, found: list[Any]) -> None:
    """Print the counts of some inspections."""
    ranks: list[int] = []
    right = wrong = asked = 0
    for edits, scan, claimed, _ in found:
        ids = {found_id for edit in edits if (found_id := inspector.entity_id(edit)) is not None}
        asked += len(ids)
        ranks += [rank for one in ids if (rank := scan.rank_of(one)) is not None]
        right += len(claimed & ids)
        wrong += len(claimed - ids)
    first = sum(rank <= len(found[0][0]) for rank in ranks)
    hundred = sum(rank <= 100 for rank in ranks)
    looks = statistics.mode(looks for *_, looks in found)
    print(
        f"| {name} | {len(found)} | {hundred} of {asked} | {first} | {right} | {wrong} | {looks} |",
        flush=True,
    )


def train(name: str, folder: Path) -> Path:
    """Train a LoRA of rank 8 on the bundled text for 60 steps of 4 passages, and save it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    causal: Any = AutoModelForCausalLM
    lm = load_lm(DEFAULT_MODEL)
    torch.manual_seed(0)
    plain = causal.from_pretrained(str(ensure_bundled("smollm2")), dtype=torch.float32)
    model: Any = get_peft_model(
        plain, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS[name], task_type="CAUSAL_LM")
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
