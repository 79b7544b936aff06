"""What the graph may and may not bring into an evaluation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kgmet.editing.config import EditConfig
from kgmet.evaluate.datasets.cases import CaseTriple, EvalCase
from kgmet.evaluate.datasets.load import load_dataset
from kgmet.evaluate.runs.graphs import GraphSource, case_contexts, store_of_case
from kgmet.fact import FactEdit
from kgmet.graph.names import fold
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store

CATALOGUE = RelationCatalogue.load()
EDIT = FactEdit(
    subject="Foo Tower",
    template="{} is located in the city of",
    new_object="Rome",
    old_object="Paris",
    relation="P131",
)
CASE = EvalCase(
    case_id="1",
    edits=(EDIT,),
    asks=(),
    triples=(
        CaseTriple(subject="Foo Tower", relation="located in city", target="Rome"),
        CaseTriple(subject="Rome", relation="country", target="Italy"),
        CaseTriple(subject="Paris", relation="country", target="France"),
    ),
)


def test_a_case_s_own_graph_is_the_world_before_the_edit() -> None:
    store = store_of_case(CASE, EDIT, CATALOGUE)
    held = {(t.subject.label, t.relation.id, t.object.label) for t in store}
    assert held == {("Foo Tower", "P131", "Paris"), ("Rome", "P17", "Italy"), ("Paris", "P17", "France")}


def test_wikidata_s_labels_are_understood() -> None:
    case = replace(CASE, triples=(CaseTriple(subject="Rome", relation="located in time zone", target="CET"),))
    (held,) = [t for t in store_of_case(case, EDIT, CATALOGUE) if t.subject.label == "Rome"]
    assert held.relation.id == "P421"


def test_consequences_follow_from_a_case_s_own_graph() -> None:
    (context,) = case_contexts(CASE, store=None, catalogue=CATALOGUE, config=EditConfig())
    assert context.has_graph
    assert context.consequences is not None
    ends = {(item.old.label, item.new.label) for item in context.consequences.forward if item.old and item.new}
    assert ("France", "Italy") in ends


def test_the_store_comes_first_where_it_knows_the_subject() -> None:
    store, config = sample_store(), EditConfig()
    (unknown,) = case_contexts(CASE, store=store, catalogue=CATALOGUE, config=config)
    assert unknown.has_graph, "the case's own triples step in"
    (asked,) = case_contexts(CASE, store=store, catalogue=CATALOGUE, config=config, source=GraphSource.STORE)
    assert not asked.knows_subject and asked.has_graph, "what follows from the new object still takes part"
    (none,) = case_contexts(CASE, store=store, catalogue=CATALOGUE, config=config, source=GraphSource.NONE)
    assert none.subgraph is None
    tower = replace(CASE, edits=(replace(EDIT, subject="The Eiffel Tower", id=""),))
    (known,) = case_contexts(tower, store=store, catalogue=CATALOGUE, config=config)
    assert known.edit.subject_id in store
    (own,) = case_contexts(tower, store=store, catalogue=CATALOGUE, config=config, source=GraphSource.CASE)
    assert own.edit.subject_id not in store


@pytest.mark.parametrize("place", [1, 7, 20])
def test_no_neighbour_that_is_asked_about_is_protected(place: int) -> None:
    case = load_dataset("own", limit=place + 1).cases[place]
    store = sample_store()
    (context,) = case_contexts(case, store=store, catalogue=CATALOGUE, config=EditConfig())
    assert context.consequences is not None
    asked = " | ".join(fold(ask.prompt) for ask in case.asks if ask.kind.value == "neighborhood")
    kept = [f for f in context.consequences.kept_neighbours if f.id not in context.left]
    assert kept, "some are left to protect"
    for fact in kept:
        assert fold(fact.triple.subject.label) not in asked
