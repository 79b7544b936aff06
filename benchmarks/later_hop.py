"""The edited fact as a first hop and as a later hop, apart: KGMET, the same with a deep write, and AlphaEdit.

    python benchmarks/later_hop.py [--threads 1] [--limit 28] [--only P36] [--json FILE]

A later hop names no subject of the edit ("The capital of the country of Barcelona is", after an edit of Spain's
capital). Its test wordings are written by hand and its starting points are never among those that are written. The row
"deep, wrong prompts" writes the same new object with prompts that lead through another edit's subject: what it gains is
no knowledge of the edit. All rows are made in one run, one edit at a time.
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

sys.path.insert(0, str(Path(__file__).resolve().parent))
from edit_set import KINDS, Case, TestPrompt, check_held_out
from measure import Share, Table, interval_text, machine, measured

from kgmet.config import EditConfig
from kgmet.context import N_PROBE_WORDINGS, EditContext, prepare_edit
from kgmet.editors import editor_named
from kgmet.graph.effects import Consequence, KeptFact
from kgmet.graph.phrasing import fill, nest, split_templates
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.sample import sample_store
from kgmet.graph.store import TripleStore
from kgmet.lm.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.score import score_answers
from kgmet.request import FactEdit

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

# How a starting point says the edit's subject, by the relation between them.
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
    """Every edit with its tests."""
    check_held_out(catalogue)
    _check_nouns(catalogue)
    return [_case(lm, store, catalogue, edit) for edit in EDITS if only in (None, edit[0])]


def asking_later_hops(config: EditConfig) -> EditConfig:
    """The same settings, but the graph is asked for later hops and what stands beside them."""
    return replace(config, consequences=replace(config.consequences, max_later_hops=40, max_kept_later=40))


def config_for_tests() -> EditConfig:
    """Settings under which the graph is asked for everything that any editor or test needs."""
    return asking_later_hops(editor_named("KGMET").config)


def _case(
    lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, fact: tuple[str, str, str, str]
) -> LaterCase:
    relation, subject, old, new = fact
    kind = KINDS[relation]
    edit = FactEdit(subject=subject, template=kind.template, new_object=new, old_object=old, relation=relation)
    context = prepare_edit(edit, store=store, catalogue=catalogue, config=config_for_tests())
    found = context.consequences
    assert found is not None
    tests = [TestPrompt(kind="efficacy", text=edit.prompt, expected=new, rejected=old)]
    tests += [
        TestPrompt(kind="paraphrase", text=fill(text, context.subject), expected=new, rejected=old)
        for text in kind.paraphrases
    ]
    tests += [test for item in found.forward for test in _forward(item, kind.consequences, context)]
    tests += [test for test in _known_starts(lm, relation, found.probed_later, edit)]
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


def _known_starts(
    lm: LoadedLM, relation: str, items: Sequence[Consequence], edit: FactEdit
) -> list[TestPrompt]:
    """The tests of the starting points about which the unedited model gives the old end first, as far as there are any."""
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
    """Two wordings by hand, and those of the catalogue that are never written."""
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
    """Another fact from the same start, in a catalogue wording that is never protected."""
    held = split_templates(fact.templates, N_PROBE_WORDINGS)[1]
    return TestPrompt(kind="later other", text=fact.text(held[0]), expected=fact.triple.object.label, rejected=new)


def _check_nouns(catalogue: RelationCatalogue) -> None:
    known = {spec.phrase for spec in catalogue} | {text.casefold() for spec in catalogue for text in spec.cloze}
    for relation, nouns in _NOUNS.items():
        for noun in nouns:
            if noun in known or any(noun in text for text in known):
                raise SystemExit(f"{relation}: {noun!r} is in the catalogue; write another.")
