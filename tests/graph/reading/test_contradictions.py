"""An edit keeps nothing that it denies, and nothing follows by way of one neighbour among many."""

from __future__ import annotations

import pytest

from kgmet.fact import FactEdit
from kgmet.graph.consequence import EditConsequences
from kgmet.graph.phrasing import path_label
from kgmet.graph.reading.consequences import ConsequenceConfig, find_consequences
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.graph.wording.linking import link_edit

CATALOGUE = RelationCatalogue.load()


def to_chile(subject: str, relation: str | None = None) -> EditConsequences:
    edit = FactEdit(subject=subject, template="{} is located in the country of", new_object="Chile", relation=relation)
    linked = link_edit(sample_store(), edit, CATALOGUE).edit
    return find_consequences(sample_store(), CATALOGUE, linked, config=ConsequenceConfig())


@pytest.mark.parametrize("relation", [None, "P17", "country"])
def test_mount_fuji_in_chile_lies_no_longer_in_japan(relation: str | None) -> None:
    found = to_chile("Mount Fuji", relation)
    assert found.edit.relation == "K-lies-in" and found.edit.old_object == "Japan"
    kept = {fact.triple.object.label for fact in found.kept_own}
    assert not kept & {"Japan", "Asia"}
    assert {"Japan", "Asia"} <= {triple.object.label for triple in found.outdated}
    ends = {(item.old.label, item.new.label) for item in found.forward if item.old and item.new}
    assert {("Japanese", "Spanish"), ("yen", "Chilean peso"), ("Tokyo", "Santiago")} <= ends


SILENT = "{} has always impressed"
"""Says nothing about the relation, so nothing follows from it."""


@pytest.mark.parametrize(
    "template", ["{} is in", "{} lies in", "{} is a mountain in", "{} rises majestically in", SILENT]
)
@pytest.mark.parametrize("old", [None, "Japan"])
def test_whatever_the_wording_nothing_that_is_denied_must_stay(template: str, old: str | None) -> None:
    edit = FactEdit(subject="Mount Fuji", template=template, new_object="Chile", old_object=old)
    linked = link_edit(sample_store(), edit, CATALOGUE)
    found = find_consequences(sample_store(), CATALOGUE, linked.edit, config=ConsequenceConfig())
    assert not {fact.triple.object.label for fact in found.kept_own} & {"Japan", "Asia"}
    ends = {item.new.label for item in found.forward if item.new}
    if template == SILENT:
        assert linked.relation.id is None and not ends
        assert {"Japan", "Asia"} <= {triple.object.label for triple in found.undecided}
        return
    assert (linked.relation.id, linked.relation.origin, linked.edit.old_object) == ("K-lies-in", "guessed", "Japan")
    assert {"Spanish", "Chilean peso", "Santiago"} <= ends


def test_of_two_facts_about_such_an_object_neither_is_taken() -> None:
    """Of a person both birthplace and citizenship could be meant."""
    edit = FactEdit(subject="Albert Einstein", template="{} is at", new_object="Chile")
    choice = link_edit(sample_store(), edit, CATALOGUE).relation
    held = [t for t in sample_store().outgoing("Q937") if t.object.type == "country"]
    assert len(held) > 1 and choice.id is None


@pytest.mark.parametrize("subject", ["Mount Fuji", "Eiffel Tower"])
def test_nothing_follows_by_way_of_a_neighbour_of_chile(subject: str) -> None:
    found = to_chile(subject)
    assert not {"Peruvian sol", "Buenos Aires", "Lima"} & {item.new.label for item in found.forward if item.new}
    assert all("P47" not in [t.relation.id for t in item.path_new[:-1]] for item in found.forward)


@pytest.mark.parametrize(
    ("relations", "label"),
    [
        (["P131", "P17"], "country"),
        (["P131", "P17", "P38"], "currency of the country"),
        (["K-lies-in", "P38"], "currency of the country"),
        (["P36", "P30"], "continent of the capital"),
        (["P112", "P27"], "country of citizenship of the founder"),
        (["P131", "P206"], "body of water of the city"),
        (["P131", "P17", "P35"], "head of state of the country"),
        (["P170", "P509"], "cause of death of the creator"),
        (["P27", "P1549"], "name for people of the country of citizenship"),
    ],
)
def test_a_label_says_the_path(relations: list[str], label: str) -> None:
    assert path_label(CATALOGUE, relations) == label


def test_no_label_has_an_empty_place() -> None:
    labels = {path_label(CATALOGUE, [spec.id, "P31"]) for spec in CATALOGUE}
    assert len(labels) > 100
    assert [label for label in labels if "{" in label] == []
