"""Cases from the hand-written edits: each edit with its tests.

Settings are chosen on the split ``tuning`` (`tuning_edits`), quality is measured on the split ``test``
(`held_out_edits`). No test wording occurs in the relation catalogue, so none is ever optimised, and the splits share
neither subjects nor test wordings (checked by `check_held_out`). Consequences and neighbours come from the sample
graph; tested neighbours are never protected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import held_out_edits
import tuning_edits
from edit_kind import Kind

from kgmet.base.fingerprint import fingerprint_value
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.fact import FactEdit
from kgmet.graph.consequence import Consequence
from kgmet.graph.phrasing import in_slot
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import score_packed
from kgmet.lm.say.score import score_answers

__all__ = [
    "SPLITS",
    "Case",
    "TestPrompt",
    "build_cases",
    "check_held_out",
    "context_of",
    "measured_on",
    "undisturbed",
]

N_NEIGHBOURS = 8
SPLITS: dict[str, dict[str, Kind]] = {"test": held_out_edits.KINDS, "tuning": tuning_edits.KINDS}


@dataclass(frozen=True, kw_only=True)
class TestPrompt:
    """A test prompt: `expected` should be likelier than `rejected`, and be the greedy answer."""

    kind: str
    text: str
    expected: str
    rejected: str
    uses: frozenset[tuple[str, str]] = frozenset()
    """(entity, relation) of every fact behind `expected`: of its chain, and of the equivalent shorter one."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """An edit, its tests, and the ids of the neighbours that no editor may protect."""

    edit: FactEdit
    tests: tuple[TestPrompt, ...]
    reserved: frozenset[str]


def build_cases(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    *,
    split: str = "test",
    limit: int | None = None,
    only: str | None = None,
    known_only: bool = False,
) -> list[Case]:
    """Return every edit of a split with its tests; relations alternate, so a small `limit` covers many of them.

    Neighbours for which the unedited model gives the true object first are preferred. With `known_only`, so are edits:
    those whose old object it does not give first are left out.
    """
    check_held_out(catalogue)
    kinds = SPLITS[split]
    queues = [[(relation, edit) for edit in kind.edits] for relation, kind in kinds.items() if only in (None, relation)]
    order = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    edits = [(kinds[relation], _edit_of(kinds[relation], relation, fact)) for relation, fact in order]
    if known_only:
        scores = score_packed(lm, [(edit.prompt, edit.old_object or "") for _, edit in edits])
        edits = [known for known, score in zip(edits, scores, strict=True) if score.is_first]
    return [_case(lm, store, catalogue, kind, edit) for kind, edit in edits[:limit]]


def check_held_out(catalogue: RelationCatalogue) -> None:
    """Raise if a test wording could be optimised, or if the splits have a subject or a test wording in common."""
    known = {text.casefold() for spec in catalogue for text in spec.cloze}
    for kinds in SPLITS.values():
        for relation, kind in kinds.items():
            for text in kind.wordings:
                if text.casefold() in known or text == kind.template:
                    raise SystemExit(f"{relation}: the test wording {text!r} is in the catalogue; write another.")
    test, tuning = (_subjects_and_wordings(kinds) for kinds in (SPLITS["test"], SPLITS["tuning"]))
    shared = sorted(test & tuning)
    if shared:
        raise SystemExit(f"{shared[0]!r} is in both splits; give the test split another subject or wording.")


def _subjects_and_wordings(kinds: dict[str, Kind]) -> set[str]:
    subjects = {edit[0].casefold().removeprefix("the ") for kind in kinds.values() for edit in kind.edits}
    return subjects | {text.casefold() for kind in kinds.values() for text in kind.wordings}


def context_of(case: Case, store: TripleStore, catalogue: RelationCatalogue, config: EditConfig) -> EditContext:
    """Return the context an editor gets: the graph without the neighbours that are tested."""
    wide = replace(config.consequences, max_neighbours=5 * N_NEIGHBOURS)
    return prepare_edit(
        case.edit, store=store, catalogue=catalogue, config=replace(config, consequences=wide), leave=case.reserved
    )


def _edit_of(kind: Kind, relation: str, fact: tuple[str, str, str]) -> FactEdit:
    subject, old, new = fact
    return FactEdit(subject=subject, template=kind.template, new_object=new, old_object=old, relation=relation)


def _case(lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, kind: Kind, edit: FactEdit) -> Case:
    assert edit.old_object is not None
    old, new = edit.old_object, edit.new_object
    config = EditConfig()
    config = replace(config, consequences=replace(config.consequences, max_neighbours=5 * N_NEIGHBOURS))
    context = prepare_edit(edit, store=store, catalogue=catalogue, config=config)
    assert context.consequences is not None
    _check_nested(context, kind)
    tests = [TestPrompt(kind="efficacy", text=edit.prompt, expected=new, rejected=old)]
    tests += [
        TestPrompt(kind="paraphrase", text=_fill(text, context.subject), expected=new, rejected=old)
        for text in kind.paraphrases
    ]
    tests += _consequence_tests(context, kind)
    # Every second neighbour is tested and never protected.
    facts = [item for item in context.consequences.kept_neighbours if item.triple.object.label != new][1::2]
    prompts = [
        TestPrompt(
            kind="neighbour",
            text=_fill(kind.template, item.triple.subject),
            expected=item.triple.object.label,
            rejected=new,
            uses=frozenset({(item.triple.subject.id, item.triple.relation.id)}),
        )
        for item in facts
    ]
    known = score_answers(lm, [(prompt.text, prompt.expected) for prompt in prompts])
    order = sorted(range(len(facts)), key=lambda n: (not known[n].is_first, -known[n].probability))[:N_NEIGHBOURS]
    tests += [prompts[n] for n in order]
    return Case(edit=context.edit, tests=tuple(tests), reserved=frozenset(facts[n].id for n in order))


def _consequence_tests(context: EditContext, kind: Kind) -> list[TestPrompt]:
    """Return one prompt per wording; shortest chains come first, so the nearest end is the expected answer."""
    assert context.consequences is not None
    tests: dict[str, TestPrompt] = {}
    for item in context.consequences.forward:
        asked = item.relation or item.path_new[-1].relation.id
        if item.new is None or item.old is None or asked not in kind.consequences:
            continue
        # The wordings are about the place itself; through a bordering country the graph leads to another's currency.
        if any(triple.relation.id == "P47" for triple in item.path_new):
            continue
        for wording in kind.consequences[asked]:
            text = _fill(wording, context.subject)
            prompt = TestPrompt(kind="consequence", text=text, expected=item.new.label, rejected=item.old.label)
            tests.setdefault(text, replace(prompt, uses=_rests_on(item, asked)))
    return list(tests.values())


def _rests_on(item: Consequence, asked: str) -> frozenset[tuple[str, str]]:
    chain = {(triple.subject.id, triple.relation.id) for triple in item.path_new}
    return frozenset(chain | {(triple.object.id, asked) for triple in item.path_new})


def undisturbed(cases: Sequence[Case]) -> list[Case]:
    """Drop tests whose answer another edit of the list changes, for edits that are attached together."""
    edited = {(case.edit.subject_id, case.edit.relation) for case in cases}
    found = []
    for case in cases:
        others = edited - {(case.edit.subject_id, case.edit.relation)}
        found.append(replace(case, tests=tuple(test for test in case.tests if others.isdisjoint(test.uses))))
    return found


def _check_nested(context: EditContext, kind: Kind) -> None:
    """Raise if a test wording is among the composed wordings of the catalogue."""
    assert context.consequences is not None
    optimised = {*context.paraphrases, *(text for item in context.consequences.forward for text in item.templates)}
    for text in sorted(optimised.intersection(kind.wordings)):
        raise SystemExit(f"{context.edit.subject}: the test wording {text!r} could be optimised; write another.")


def _fill(template: str, entity: Entity) -> str:
    return template.replace("{}", in_slot(template, entity))


def measured_on(lm: LoadedLM, cases: Sequence[Case]) -> str:
    """Return a fingerprint of model, edits and tests, under which results are cached."""
    return fingerprint_value([lm.fingerprint, [(case.edit.id, case.tests) for case in cases]])
