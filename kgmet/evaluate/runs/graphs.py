"""`case_contexts`: what the graph says about a case's edits, from the store or from the case's own triples."""

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

__all__ = ["GraphSource", "case_contexts", "store_of_case"]


_WIKIDATA_LABELS = {
    "religion or worldview": "P140",
    "country of citizenship": "P27",
    "place of birth": "P19",
    "place of death": "P20",
    "headquarters location": "P159",
    "languages spoken, written or signed": "P1412",
    "member of political party": "P102",
    "founded by": "P112",
    "language of work or name": "P407",
    "league or competition": "P118",
    "position played on team / speciality": "P413",
    "location of formation": "P740",
    "original broadcaster": "P449",
    "product or material produced": "P1056",
    "located in the administrative territorial entity": "P131",
    "located in time zone": "P421",
    "highest point": "P610",
    "parent organization": "P749",
    "notable work": "P800",
    "present in work": "P1441",
    "narrative location": "P840",
}
"""Wikidata's own labels (CC0), as published graphs have them, where the catalogue calls the relation otherwise."""


class GraphSource(Enum):
    """Where a case's graph comes from."""

    AUTO = "auto"
    """The store where it knows the subject, else the case's own triples."""
    CASE = "case"
    """The case's own triples."""
    STORE = "store"
    """The store."""
    NONE = "none"
    """No graph takes part."""


def case_contexts(
    case: EvalCase,
    *,
    store: TripleStore | None,
    catalogue: RelationCatalogue,
    config: EditConfig,
    source: GraphSource = GraphSource.AUTO,
) -> tuple[EditContext, ...]:
    """One context per edit of the case.

    Whatever the case asks about as a neighbour is left unprotected, so that what is measured was not put in by hand.
    """
    return tuple(_apart_from_test(case, _context(case, edit, store, catalogue, config, source)) for edit in case.edits)


def store_of_case(case: EvalCase, edit: FactEdit, catalogue: RelationCatalogue) -> MemoryStore:
    """The case's triples as a store, without its new edge and with the old one: the world before the edit."""
    by_label = {fold(spec.label): spec.relation for spec in catalogue}
    for label, relation_id in _WIKIDATA_LABELS.items():
        if relation_id in catalogue:
            by_label.setdefault(fold(label), catalogue.spec(relation_id).relation)
    triples = [
        Triple(
            subject=_entity(t.subject),
            relation=_relation(t.relation, by_label),
            object=_entity(t.target),
            source="case",
        )
        for t in case.triples
        if not (t.subject == edit.subject and t.target == edit.new_object)
    ]
    if edit.old_object and edit.relation:
        relation = catalogue.spec(edit.relation).relation if edit.relation in catalogue else None
        relation = relation or Relation(id=edit.relation, label=edit.relation)
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
        if found.has_graph or source is GraphSource.STORE or not case.triples:
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


def _relation(label: str, by_label: dict[str, Relation]) -> Relation:
    known = by_label.get(fold(label))
    return known or Relation(id=f"K-{digest('relation', fold(label))[:12]}", label=label)
