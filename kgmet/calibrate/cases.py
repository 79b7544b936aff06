"""`build_cases`: edits of facts that a model knows, some to choose settings on and others to check them with.

Both halves take turns by relation and share neither subjects nor test wordings. Every case fills all four columns.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from kgmet.base.errors import KgmetError
from kgmet.base.fingerprint import fingerprint_value
from kgmet.editing.config import EditConfig
from kgmet.fact import FactEdit
from kgmet.forecast.facts import FactPrompt, facts_of
from kgmet.forecast.known import AskedFact
from kgmet.graph.phrasing import fill, in_slot, says
from kgmet.graph.reading.consequences import find_consequences
from kgmet.graph.reading.probe_prompts import GeneratedPrompt, QuestionConfig, generate_probes
from kgmet.graph.reading.resolved_edit import find_ends
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity
from kgmet.measure.columns import COLUMNS, column_of
from kgmet.measure.question import Question

__all__ = ["CalibrationCase", "CalibrationCases", "build_cases", "usable_relations"]

_READ = 5000
_MOST_OBJECTS = 40
"""New objects are drawn from so many of a relation's most frequent."""
_MOST = {"paraphrase": 2, "neighbour": 6, "consequence": 4}
"""Most prompts of a column in one case."""
_TRIED_SUBJECTS = 3
"""Subjects of a relation that are looked at to see whether its edits fill all columns."""


@dataclass(frozen=True, kw_only=True)
class CalibrationCase:
    """An edit of a fact the model knows, and the questions it is scored by; none of them is searched with."""

    edit: FactEdit
    questions: tuple[Question, ...]

    @property
    def id(self) -> str:
        """16 hex digits for the edit and its questions."""
        return fingerprint_value([self.edit, self.questions])


@dataclass(frozen=True, kw_only=True)
class CalibrationCases:
    """`search` are the facts settings are chosen on, `check` those they are checked with at the end."""

    search: tuple[CalibrationCase, ...]
    check: tuple[CalibrationCase, ...]


def usable_relations(store: TripleStore, catalogue: RelationCatalogue) -> tuple[str, ...]:
    """Return relations whose edits fill all four columns: they have other wordings, consequences and neighbours."""
    makers: dict[str, list[tuple[Entity, tuple[Entity, ...]]]] = {}
    for relation, subject, objects in facts_of(store, catalogue):
        if len(makers.setdefault(relation, [])) < _TRIED_SUBJECTS:
            makers[relation].append((subject, objects))
    maker, found = _CaseMaker(store, catalogue, seed=0), []
    for relation, facts in makers.items():
        template = next(iter(catalogue.spec(relation).cloze), None)
        if template is not None and any(
            maker.case(relation, subject, template, objects[0].label) is not None for subject, objects in facts
        ):
            found.append(relation)
    return tuple(found)


def build_cases(
    store: TripleStore,
    catalogue: RelationCatalogue,
    known: Sequence[AskedFact],
    *,
    n_search: int,
    n_check: int,
    seed: int,
) -> CalibrationCases:
    """Return edits of known facts, each to another object that facts of its relation have.

    Args:
        store: the graph.
        catalogue: the words.
        known: facts the model knows.
        n_search: most cases to choose settings on.
        n_check: most cases to check them with; with fewer facts than wanted, both halves shrink alike.
        seed: decides which facts, and the new objects.
    """
    order = list(_in_turns(known, random.Random(seed)))
    maker = _CaseMaker(store, catalogue, seed=seed)
    search = _taken(maker, order, n_search + n_check)
    wanted = n_search if len(search) >= n_search + n_check else len(search) * n_search // (n_search + n_check)
    search = search[:wanted]
    # No wording that settings are chosen by is asked in the check, whichever relation or kind it was asked for.
    barred = frozenset(wording for _, wordings in search for wording in wordings)
    subjects = {case.edit.subject_id for case, _ in search}
    rest = [asked for asked in order if asked.prompt.subject_id not in subjects]
    check = _taken(maker, rest, n_check, barred=barred)
    return CalibrationCases(search=tuple(case for case, _ in search), check=tuple(case for case, _ in check))


def _taken(
    maker: _CaseMaker, order: Sequence[AskedFact], most: int, *, barred: frozenset[str] | None = None
) -> list[tuple[CalibrationCase, frozenset[str]]]:
    found: list[tuple[CalibrationCase, frozenset[str]]] = []
    subjects: set[str] = set()
    for asked in order:
        if len(found) == most:
            break
        if asked.prompt.subject_id in subjects or asked.answer is None:
            continue
        made = maker.of_known(asked.prompt, asked.answer, barred=barred)
        if made is not None:
            found.append(made)
            subjects.add(asked.prompt.subject_id)
    return found


def _in_turns(known: Sequence[AskedFact], draw: random.Random) -> Iterator[AskedFact]:
    queues: dict[str, list[AskedFact]] = {}
    for asked in sorted(known, key=lambda asked: asked.prompt.fact):
        if asked.prompt.subject_id:
            queues.setdefault(asked.prompt.relation, []).append(asked)
    rows = list(queues.values())
    draw.shuffle(rows)
    for queue in rows:
        draw.shuffle(queue)
    for turn in zip_longest(*rows):
        yield from (asked for asked in turn if asked is not None)


class _CaseMaker:
    """Makes cases; reads the objects of each relation once.

    Without `barred` a case is one of the search and asks the first of the wordings that are kept for probing. With it,
    it is one of the check and asks any but these.
    """

    def __init__(self, store: TripleStore, catalogue: RelationCatalogue, *, seed: int) -> None:
        self._store, self._catalogue, self._seed = store, catalogue, seed
        self._objects: dict[str, list[Entity]] = {}

    def of_known(
        self, prompt: FactPrompt, answer: str, *, barred: frozenset[str] | None
    ) -> tuple[CalibrationCase, frozenset[str]] | None:
        """Return the case that edits a known fact in the wording in which it is known."""
        subject = self._store.entity(prompt.subject_id)
        wordings = self._catalogue.spec(prompt.relation).cloze
        template = next((text for text in wordings if fill(text, subject) == prompt.text), None)
        if template is None:
            return None
        return self.case(prompt.relation, subject, template, answer, barred=barred)

    def case(
        self, relation: str, subject: Entity, template: str, old: str, *, barred: frozenset[str] | None = None
    ) -> tuple[CalibrationCase, frozenset[str]] | None:
        """Return the case and the wordings it asks; ``None`` where it cannot be made or a column stays empty."""
        new = self._other_object(relation, subject)
        if new is None:
            return None
        try:
            edit = FactEdit(
                subject=in_slot(template, subject),
                template=template,
                new_object=new.label,
                old_object=old,
                relation=relation,
                subject_id=subject.id,
                new_object_id=new.id,
            )
            ends = find_ends(self._store, edit, self._catalogue)
            known = self._store, self._catalogue, edit
            consequences = find_consequences(*known, config=EditConfig().consequences, ends=ends)
            config = QuestionConfig(n_neighbours=4 * _MOST["neighbour"])
            probes = generate_probes(*known, consequences, config=config, ends=ends)
        except KgmetError:  # a name that no prompt can carry
            return None
        asked = _chosen(probes, barred)
        questions = tuple(Question.from_generated(probe) for probe in asked)
        if {column_of(question.kind) for question in questions} != set(COLUMNS):
            return None
        wordings = frozenset(probe.template for probe in asked if probe.kind != "rewrite")
        return CalibrationCase(edit=edit, questions=questions), wordings

    def _other_object(self, relation: str, subject: Entity) -> Entity | None:
        """Return another object of the relation, drawn at random; none that the subject has already or is named after.

        The draw depends on the seed and the fact alone, so more facts leave the other cases as they are.
        """
        if relation not in self._objects:
            self._objects[relation] = self._common_objects(relation)
        right = {item.object.id: item.object for item in self._store.outgoing(subject.id, relations=[relation])}
        names = {name.casefold() for item in right.values() for name in _names(item)}
        usable = [
            item
            for item in self._objects[relation]
            if item.id not in {*right, subject.id}
            and item.label.casefold() not in names
            and not says(subject.label, item.label)
            and not says(item.label, subject.label)
        ]
        draw = random.Random(f"{self._seed}/{relation}/{subject.id}")
        return draw.choice(usable) if usable else None

    def _common_objects(self, relation: str) -> list[Entity]:
        """Return the objects that most subjects have, by id where that says nothing."""
        triples = self._store.with_relation(relation, limit=_READ)
        objects = {triple.object.id: triple.object for triple in triples if not triple.object.is_literal}
        counts = Counter(triple.object.id for triple in triples)
        order = sorted(objects, key=lambda key: (-counts[key], len(key), key))
        return [objects[key] for key in order[:_MOST_OBJECTS]]


def _names(entity: Entity) -> tuple[str, ...]:
    return entity.label, entity.in_text, *entity.aliases


def _chosen(probes: Sequence[GeneratedPrompt], barred: frozenset[str] | None) -> list[GeneratedPrompt]:
    """Return the clozes of the four columns, at most so many of each: in the first wording, or in none `barred`."""
    found: list[GeneratedPrompt] = []
    for kind in ("rewrite", "paraphrase", "neighbour", "consequence"):
        mine = [probe for probe in probes if probe.kind == kind and probe.form == "cloze" and probe.rejected]
        if kind != "rewrite" and barred is not None:
            mine = [probe for probe in mine if probe.template not in barred]
        elif kind == "neighbour":
            mine = [probe for probe in mine if probe.template == mine[0].template]
        elif barred is None:
            mine = list({probe.source_id: probe for probe in reversed(mine)}.values())[::-1]
        found += mine[: _MOST.get(kind, 1)]
    return found
