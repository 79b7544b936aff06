"""The edited fact as first hop and as later hop: KGMET without and with a deep write, and AlphaEdit.

    python benchmarks/later_hop.py [--threads 1] [--limit 28] [--only P36] [--json FILE]

A later hop names no subject of the edit ("The capital of the country of Barcelona is", after an edit of Spain's
capital). Tested starting points are never written. Wordings are hand-written or, in a separate column, catalogue
wordings that are never optimised. "later neighbour" are such chains through other subjects, "later other" other facts
from the same starting points. The row "deep, wrong prompts" writes the same new object with prompts that lead through
another edit's subject, so its gain is not knowledge of the edit. All rows are made in one run, one edit at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import Case, TestPrompt, check_held_out
from measure import Share, Table, interval_text, machine, measured
from tuning_edits import KINDS

from kgmet.base.progress import Silent
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.editors import editor_named
from kgmet.editing.factories import make_writer
from kgmet.editing.plan import plan_edits
from kgmet.fact import FactEdit
from kgmet.graph.consequence import Consequence, KeptFact
from kgmet.graph.phrasing import N_PROBE_WORDINGS, fill, nest, split_templates
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.say.score import score_answers
from kgmet.measure.verdict import prefers
from kgmet.research.deep_write import DeepConfig, asks_for_later_hops, deep_settings, plan_deep_edits, write_deep
from kgmet.write.patch import EditPatch
from kgmet.write.statistics import KeyStatistics

N_STARTS, N_NEIGHBOURS = 6, 8

EDITS: tuple[tuple[str, str, str, str], ...] = (
    ("P36", "France", "Paris", "Nairobi"),
    ("P37", "Brazil", "Portuguese", "Japanese"),
    ("P38", "Japan", "yen", "euro"),
    ("P27", "William Shakespeare", "England", "Italy"),
    ("P17", "Munich", "Germany", "Japan"),
    ("P36", "Japan", "Tokyo", "Madrid"),
    ("P37", "Japan", "Japanese", "Spanish"),
    ("P38", "Germany", "euro", "rupee"),
    ("P27", "Charles Dickens", "United Kingdom", "Russia"),
    ("P17", "Milan", "Italy", "China"),
    ("P36", "Egypt", "Cairo", "Oslo"),
    ("P37", "France", "French", "Arabic"),
    ("P38", "India", "rupee", "dollar"),
    ("P27", "Leo Tolstoy", "Russia", "India"),
    ("P17", "Vienna", "Austria", "Brazil"),
    ("P36", "Germany", "Berlin", "Lima"),
    ("P37", "Egypt", "Arabic", "German"),
    ("P38", "Russia", "ruble", "yen"),
    ("P27", "Leonardo da Vinci", "Italy", "China"),
    ("P17", "Barcelona", "Spain", "Turkey"),
    ("P36", "Italy", "Rome", "Bangkok"),
    ("P37", "Russia", "Russian", "Italian"),
    ("P38", "United Kingdom", "pound", "yen"),
    ("P27", "Pablo Picasso", "Spain", "India"),
    ("P17", "Saint Petersburg", "Russia", "France"),
    ("P36", "Spain", "Madrid", "Vienna"),
    ("P37", "Germany", "German", "Chinese"),
    ("P36", "Russia", "Moscow", "Lisbon"),
)

# Phrases for the edit's subject from a starting point, by the relation between them.
_NOUNS = {
    "P17": ("the nation around {}", "the state in which {} lies"),
    "P27": ("the homeland of {}", "the nation in which {} holds citizenship"),
    "P495": ("the nation that {} comes from", "the state in which {} was made"),
    "K-lies-in": ("the nation around {}", "the state in which {} lies"),
    "P1376": ("the nation ruled from {}", "the state governed from {}"),
    "P50": ("the writer behind {}", "the person who wrote {}"),
    "P170": ("the artist behind {}", "the person who made {}"),
    "P61": ("the mind behind {}", "the person who invented {}"),
    "P131": ("the town that is home to {}", "the place where people visit {}"),
    "P19": ("the town of {}'s birth", "the place in which {} was born"),
    "P20": ("the town of {}'s death", "the place in which {} died"),
    "P159": ("the town from which {} is managed", "the place where the main office of {} stands"),
    "P931": ("the town that uses {}", "the place that travellers reach by {}"),
    "P740": ("the home town of {}", "the place in which {} came together"),
}


@dataclass(frozen=True, kw_only=True)
class LaterCase:
    """An edit with its tests, and its relation."""

    case: Case
    relation: str
    context: EditContext


def build(lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, *, only: str | None) -> list[LaterCase]:
    """Return every edit with its tests."""
    check_held_out(catalogue)
    _check_nouns(catalogue)
    return [_case(lm, store, catalogue, edit) for edit in EDITS if only in (None, edit[0])]


def _case(lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, fact: tuple[str, str, str, str]) -> LaterCase:
    relation, subject, old, new = fact
    kind = KINDS[relation]
    edit = FactEdit(subject=subject, template=kind.template, new_object=new, old_object=old, relation=relation)
    context = prepare_edit(
        edit, store=store, catalogue=catalogue, config=asks_for_later_hops(editor_named("KGMET").config)
    )
    found = context.consequences
    assert found is not None
    tests = [TestPrompt(kind="efficacy", text=edit.prompt, expected=new, rejected=old)]
    tests += [
        TestPrompt(kind="paraphrase", text=fill(text, context.subject), expected=new, rejected=old)
        for text in kind.paraphrases
    ]
    tests += [test for item in found.forward for test in _forward(item, kind.consequences, context)]
    tests += _known_starts(lm, relation, found.probed_later, edit)
    chains = [fact for fact in found.probed_kept_later if fact.path[0].relation.id in _NOUNS]
    near = [fact for fact in chains if fact.kind == "neighbour" and fact.triple.object.label != new]
    tests += [_elsewhere(relation, fact, new, number) for number, fact in enumerate(near[:N_NEIGHBOURS])]
    own = [fact for fact in chains if fact.kind == "own"]
    tests += [_beside(fact, new) for fact in own[:N_NEIGHBOURS] if fact.templates]
    tests += [
        TestPrompt(
            kind="neighbour",
            text=fill(kind.template, fact.triple.subject),
            expected=fact.triple.object.label,
            rejected=new,
        )
        for fact in found.probed_neighbours[:N_NEIGHBOURS]
        if fact.triple.object.label != new
    ]
    return LaterCase(
        case=Case(edit=context.edit, tests=tuple(tests), reserved=frozenset()), relation=relation, context=context
    )


def _known_starts(lm: LoadedLM, relation: str, items: Sequence[Consequence], edit: FactEdit) -> list[TestPrompt]:
    """Return tests from starting points for which the unedited model gives the old end first."""
    groups = [
        _later(relation, item)
        for item in items
        if item.hops == 2
        and item.path_new[-1].relation.id == edit.relation
        and item.path_new[0].relation.id in _NOUNS
        and item.new is not None
        and item.old is not None
    ]
    flat = [(test.text, test.rejected) for tests in groups for test in tests]
    known = iter(score_answers(lm, flat))
    scores = [[next(known) for _ in tests] for tests in groups]
    order = sorted(
        range(len(groups)),
        key=lambda n: (-sum(s.is_first for s in scores[n]), -sum(s.logprob for s in scores[n]) / len(scores[n])),
    )
    return [test for n in order[:N_STARTS] for test in groups[n]]


def _forward(item: Consequence, wordings: dict[str, tuple[str, ...]], context: EditContext) -> list[TestPrompt]:
    asked = item.relation or item.path_new[-1].relation.id
    if item.new is None or item.old is None:
        return []
    return [
        TestPrompt(
            kind="consequence", text=fill(text, context.subject), expected=item.new.label, rejected=item.old.label
        )
        for text in wordings.get(asked, ())
    ]


def _later(relation: str, item: Consequence) -> list[TestPrompt]:
    """Return two hand-written wordings, and the catalogue wordings that are never written."""
    assert item.new is not None and item.old is not None
    nouns = _NOUNS[item.path_new[0].relation.id]
    by_hand = [nest(template, noun) for template, noun in zip(KINDS[relation].paraphrases, nouns, strict=True)]
    held = split_templates(item.templates, N_PROBE_WORDINGS)[1]
    return [
        TestPrompt(kind=kind, text=item.text(template), expected=item.new.label, rejected=item.old.label)
        for kind, templates in (("later hop", by_hand), ("later hop, catalogue", held))
        for template in templates
    ]


def _elsewhere(relation: str, fact: KeptFact, new: str, number: int) -> TestPrompt:
    template = KINDS[relation].paraphrases[number % 2]
    text = fact.text(nest(template, _NOUNS[fact.path[0].relation.id][number % 2]))
    return TestPrompt(kind="later neighbour", text=text, expected=fact.triple.object.label, rejected=new)


def _beside(fact: KeptFact, new: str) -> TestPrompt:
    """Return another fact from the same start, in a catalogue wording that is never protected."""
    held = split_templates(fact.templates, N_PROBE_WORDINGS)[1]
    return TestPrompt(kind="later other", text=fact.text(held[0]), expected=fact.triple.object.label, rejected=new)


def _check_nouns(catalogue: RelationCatalogue) -> None:
    known = {spec.phrase for spec in catalogue} | {text.casefold() for spec in catalogue for text in spec.cloze}
    for relation, nouns in _NOUNS.items():
        for noun in nouns:
            if noun in known or any(noun in text for text in known):
                raise SystemExit(f"{relation}: {noun!r} is in the catalogue; write another.")


def wrong_prompts(case: LaterCase, others: Sequence[LaterCase]) -> EditContext:
    """Return the edit with another edit's later hops, which then end with its own new object."""
    other = next(item for item in others if item.relation == case.relation and item is not case)
    mine, theirs = case.context.consequences, other.context.consequences
    assert mine is not None and theirs is not None
    end = next(item.new for item in (*mine.written_later, *mine.later_hops))
    taken = tuple(replace(item, new=end) for item in theirs.written_later)
    return replace(case.context, consequences=replace(mine, written_later=taken))


def patches_of(
    lm: LoadedLM, cases: Sequence[LaterCase], everyone: Sequence[LaterCase], statistics: KeyStatistics
) -> dict[str, list[EditPatch]]:
    """Return a patch of every edit under every method; KGMET's is the early part of the deep editor's.

    The wrong prompts are those of the next edit of the same relation in `everyone`.
    """
    editor, alphaedit, config = editor_named("KGMET"), editor_named("AlphaEdit"), DeepConfig()
    found: dict[str, list[EditPatch]] = {
        name: [] for name in ("KGMET", "KGMET, deep", "deep, wrong prompts", "AlphaEdit")
    }
    for number, item in enumerate(cases):
        start = time.perf_counter()
        plan = plan_deep_edits(lm, [item.context], editor=editor, statistics=statistics, deep=config).plan
        n_early = len(editor.config.write.layers)
        early = replace(plan.patch, updates=plan.patch.updates[:n_early], keys={})
        wrong = write_deep(
            lm,
            [wrong_prompts(item, [*everyone[number + 1 :], *everyone[:number]])],
            early=early.updates,
            writer=make_writer(editor, deep_settings(editor.config, config), statistics, Silent()),
            config=config,
        )
        assert wrong is not None
        found["KGMET"].append(early)
        found["KGMET, deep"].append(plan.patch)
        found["deep, wrong prompts"].append(replace(early, updates=(*early.updates, *wrong.written.updates)))
        found["AlphaEdit"].append(plan_edits(lm, [item.context], editor=alphaedit, statistics=statistics).patch)
        took = " ".join(f"{stage} {seconds:.1f}" for stage, seconds in plan.seconds.items())
        print(f"{number + 1}/{len(cases)} {item.case.edit.prompt} {item.case.edit.new_object}: "
              f"{time.perf_counter() - start:.0f} s ({took})", file=sys.stderr)  # fmt: skip
    return found


FIRST_HOP = ("efficacy", "paraphrase", "consequence", "neighbour")
LATER_HOP = ("later hop", "later hop, catalogue", "later neighbour", "later other")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=len(EDITS))
    parser.add_argument("--only", help="a relation's id")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm = load_lm(DEFAULT_MODEL)
    store, catalogue = sample_store(), RelationCatalogue.load()
    everyone = build(lm, store, catalogue, only=options.only)
    cases = everyone[: options.limit]
    plain = [item.case for item in cases]
    rows = {"unedited": measured(lm, plain, None)}
    for name, patches in patches_of(lm, cases, everyone, KeyStatistics(lm)).items():
        rows[name] = measured(lm, plain, patches)
    print(f"\n{len(cases)} edits, one at a time; {machine(options.threads, lm)}; {lm.name}.")
    print("Preferred / first answer, % (95 % interval of preferred).\n")
    for kinds in (FIRST_HOP, LATER_HOP):
        table = Table(["", *kinds])
        for name, found in rows.items():
            table.add(name, *(interval_text(found.get(kind)) for kind in kinds))
        print(f"{table}\n")
    print(f"{before_text(rows['unedited'])}\n")
    print("Later hops (by hand) by relation, preferred / first:\n")
    print(by_relation(cases, rows))
    if options.json:
        options.json.write_text(json.dumps({name: {k: v.to_json() for k, v in f.items()} for name, f in rows.items()}))


def before_text(unedited: dict[str, Share]) -> str:
    """Score the unedited model on the later hops: whether it knows the old end."""
    lines = []
    for kind in LATER_HOP[:2]:
        scores = unedited[kind].scores
        preferred = sum(prefers(old, new) for _, new, old in scores)
        first = sum(old.is_first for _, _, old in scores)
        lines.append(
            f"Unedited, {kind}: of {len(scores)} prompts {preferred} prefer the old end, {first} answer with it first."
        )
    return "\n".join(lines)


def by_relation(cases: Sequence[LaterCase], rows: dict[str, dict[str, Share]]) -> Table:
    """Return later hops by relation."""
    relations = list(dict.fromkeys(item.relation for item in cases))
    table = Table(["", *relations])
    for name, found in rows.items():
        cells = []
        for relation in relations:
            tests = {test.text for item in cases if item.relation == relation for test in item.case.tests}
            cells.append(interval_text(Share(scores=tuple(s for s in found["later hop"].scores if s[0].text in tests))))
        table.add(name, *cells)
    return table


if __name__ == "__main__":
    main()
