"""How often an unedited model gives a consequence first where it is true: the yardstick for edits of that model.

    python benchmarks/ceiling.py [--models bundled:gemma3 bundled:smollm2] [--split test] [--limit 24] [--others 6]
        [--threads 2]

No edit is made. The consequence prompts of the transfer benchmark's cases are asked of the unedited model: before the
edit, with the old answer; of other subjects of the graph for which the new object is true, and which the model answers
truly in the edited wording; and of the edited subject after a sentence that states the new fact.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import SPLITS, Case
from measure import Table, machine
from transfer import usable_cases

from kgmet.editing.profile import find_profile
from kgmet.graph.phrasing import fill
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.stores.sample import sample_store
from kgmet.graph.triple import Entity
from kgmet.lm.load.loaded import LoadedLM, load_lm
from kgmet.lm.say.packed import score_packed
from kgmet.measure.metrics import wilson_interval
from kgmet.measure.told import fact_sentence

BEFORE, OTHERS, TOLD = "before the edit, the old answer", "other subjects with the new object", "told the new fact"
_TRIED = 24
"""Other subjects with an edit's new object that are asked, the best connected first."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One prompt whose answer is true: of which yardstick it is, and of which relation."""

    row: str
    relation: str
    text: str
    answer: str


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    store, catalogue = sample_store(), RelationCatalogue.load()
    for source in options.models:
        lm = load_lm(source)
        profile = find_profile(lm)
        cases = usable_cases(lm, store, catalogue, profile, split=options.split, limit=options.limit)
        asked = [one for case in cases for one in prompts_of(lm, store, case, split=options.split, most=options.others)]
        hits = [score.is_first for score in score_packed(lm, [(one.text, one.answer) for one in asked])]
        print(f"\n{lm.name}, unedited: consequences of {len(cases)} known cases of the {options.split} split; ", end="")
        print(f"{machine(options.threads, lm)}. First answers, % (95 % interval, n).\n")
        print(table_of(asked, hits), flush=True)


def prompts_of(lm: LoadedLM, store: MemoryStore, case: Case, *, split: str, most: int) -> Iterator[Asked]:
    """Yield what is asked for one case."""
    kind = SPLITS[split][case.edit.relation or ""]
    relation_of = {wording: relation for relation, texts in kind.consequences.items() for wording in texts}
    others = known_others(lm, store, case, most=most)
    for test in case.tests:
        wording = next((text for text in relation_of if _is_filled(text, test.text)), None)
        if test.kind != "consequence" or wording is None:
            continue
        relation = relation_of[wording]
        told = f"{fact_sentence(case.edit)} {test.text}"
        yield Asked(row=BEFORE, relation=relation, text=test.text, answer=test.rejected)
        yield Asked(row=TOLD, relation=relation, text=told, answer=test.expected)
        for other in others:
            yield Asked(row=OTHERS, relation=relation, text=fill(wording, other), answer=test.expected)


def known_others(lm: LoadedLM, store: MemoryStore, case: Case, *, most: int) -> list[Entity]:
    """Return other subjects that have the edit's new object in the graph, and in the model's first answer."""
    edit = case.edit
    if edit.new_object_id is None or edit.relation is None:
        return []
    found = store.incoming(edit.new_object_id, relations=[edit.relation])
    known = {triple.subject for triple in found if triple.subject.id != edit.subject_id}
    subjects = sorted(known, key=lambda entity: (-store.degree(entity.id), entity.id))[:_TRIED]
    scores = score_packed(lm, [(fill(edit.template, subject), edit.new_object) for subject in subjects])
    return [subject for subject, score in zip(subjects, scores, strict=True) if score.is_first][:most]


def table_of(asked: Sequence[Asked], hits: Sequence[bool]) -> Table:
    """Return the share of first answers by yardstick, in all and by relation."""
    counts: Mapping[tuple[str, str], list[bool]] = defaultdict(list)
    for one, hit in zip(asked, hits, strict=True):
        counts[one.row, ""].append(hit)
        counts[one.row, one.relation].append(hit)
    relations = sorted({one.relation for one in asked})
    table = Table(["", "all", *relations])
    for row in (BEFORE, OTHERS, TOLD):
        table.add(row, *(_share(counts[row, relation]) for relation in ("", *relations)))
    return table


def _share(hits: Sequence[bool]) -> str:
    if not hits:
        return "none"
    low, high = wilson_interval(sum(hits), len(hits))
    return f"{100 * sum(hits) / len(hits):.0f} ({100 * low:.0f}–{100 * high:.0f}, n {len(hits)})"


def _is_filled(wording: str, text: str) -> bool:
    """Return whether the text is the wording with some name in its slot."""
    before, _, after = wording.partition("{}")
    return len(text) > len(before) + len(after) and text.startswith(before) and text.endswith(after)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["bundled:gemma3", "bundled:smollm2"], help="as in `kgmet edit`")
    parser.add_argument("--split", default="test", choices=sorted(SPLITS))
    parser.add_argument("--limit", type=int, default=24, help="cases of each model at most")
    parser.add_argument("--others", type=int, default=6, help="other subjects of a case at most")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser.parse_args()


if __name__ == "__main__":
    main()
