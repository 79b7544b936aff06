"""`case_contexts`: graph contexts of a case's edits, from the store or from the case's own triples."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from kgmet.base.fingerprint import digest
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.evaluate.datasets.cases import AskKind, EvalCase
from kgmet.fact import FactEdit
from kgmet.graph.names import fold
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.triple import Entity, Relation, Triple
from kgmet.graph.wording.guess_relation import SURE, guess_relation

__all__ = ["GraphSource", "case_contexts", "store_of_case"]


class GraphSource(Enum):
    """Source of a case's graph."""

    AUTO = "auto"
    """The store if it knows the subject, else the case's own triples."""
    CASE = "case"
    """The case's own triples only."""
    STORE = "store"
    """The store only."""
    NONE = "none"
    """No graph."""


def case_contexts(
    case: EvalCase,
    *,
    store: TripleStore | None,
    catalogue: RelationCatalogue,
    config: EditConfig,
    source: GraphSource = GraphSource.AUTO,
) -> tuple[EditContext, ...]:
    """Return one context per edit of the case.

    Neighbours that the case asks about are not protected, so that the measurement stays independent.
    """
    return tuple(_apart_from_test(case, _context(case, edit, store, catalogue, config, source)) for edit in case.edits)


def store_of_case(case: EvalCase, edit: FactEdit, catalogue: RelationCatalogue) -> MemoryStore:
    """Return the case's triples as a store of the world before the edit: with the old edge, without the new one."""
    triples = [
        Triple(
            subject=_entity(t.subject),
            relation=_relation(t.relation, catalogue),
            object=_entity(t.target),
            source="case",
        )
        for t in case.triples
        if not (t.subject == edit.subject and t.target == edit.new_object)
    ]
    relation = _edited(edit, catalogue)
    if edit.old_object and relation is not None:
        triples.append(
            Triple(subject=_entity(edit.subject), relation=relation, object=_entity(edit.old_object), source="case")
        )
    entities = [_entity(edit.subject), _entity(edit.new_object)]
    return MemoryStore(triples, entities=entities, name=f"case {case.case_id}")


def _context(
    case: EvalCase,
    edit: FactEdit,
    store: TripleStore | None,
    catalogue: RelationCatalogue,
    config: EditConfig,
    source: GraphSource,
) -> EditContext:
    nothing = EditContext(edit=edit)
    if source is GraphSource.NONE:
        return nothing
    if store is not None and source in (GraphSource.AUTO, GraphSource.STORE):
        found = prepare_edit(edit, store=store, catalogue=catalogue, config=config)
        if found.knows_subject or source is GraphSource.STORE or not case.triples:
            return found
    if case.triples and source in (GraphSource.AUTO, GraphSource.CASE):
        own = store_of_case(case, edit, catalogue)
        return prepare_edit(edit, store=own, catalogue=catalogue, config=config)
    return nothing


def _apart_from_test(case: EvalCase, context: EditContext) -> EditContext:
    if context.consequences is None:
        return context
    asked = [fold(ask.prompt) for ask in case.of(AskKind.NEIGHBORHOOD)]
    left = {
        fact.id
        for fact in context.consequences.kept_neighbours
        if any(
            fold(name) in text for name in (fact.triple.subject.label, *fact.triple.subject.aliases) for text in asked
        )
    }
    return replace(context, left=context.left | left)


def _entity(label: str) -> Entity:
    return Entity(id=f"K-{digest('entity', fold(label))[:12]}", label=label)


def _relation(label: str, catalogue: RelationCatalogue) -> Relation:
    known = catalogue.named(label)
    return known.relation if known else Relation(id=f"K-{digest('relation', fold(label))[:12]}", label=label)


def _edited(edit: FactEdit, catalogue: RelationCatalogue) -> Relation | None:
    """Return the edit's relation by name or wording, because a new name would match nothing else."""
    known = catalogue.named(edit.relation) if edit.relation else None
    if known is None:
        guesses = guess_relation(catalogue, edit.template)
        known = guesses[0][0] if guesses and guesses[0][1] >= SURE else None
    return known.relation if known else None
