"""What the graph contributes to an edit is said, and a graph never drops out over a name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kgmet.base.errors import BrokenArtifactError
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.editors import EDITORS
from kgmet.editing.graph_part import GraphPart, graph_part
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store

CONFIG = EDITORS["KGMET"].config
TOWER = FactEdit(subject="Eiffel Tower", template="{} is located in the city of", new_object="Rome")


def prepared(edit: FactEdit) -> EditContext:
    return prepare_edit(edit, store=sample_store(), catalogue=RelationCatalogue.load(), config=CONFIG)


def part_of(edit: FactEdit) -> GraphPart:
    part = graph_part(prepared(edit), CONFIG)
    assert part is not None
    return part


def test_without_a_graph_there_is_no_part() -> None:
    assert graph_part(EditContext(edit=TOWER), CONFIG) is None


def test_a_given_relation_and_a_guessed_one_hold_the_same() -> None:
    guessed, given = part_of(TOWER), part_of(replace(TOWER, relation="P131"))
    assert (guessed.origin, given.origin, given.score) == ("guessed", "given", 1.0)
    assert guessed.score > 0.5
    same = ("relation", "consequences", "kept", "neighbours", "paraphrases", "triples", "is_subject_found")
    assert [getattr(guessed, name) for name in same] == [getattr(given, name) for name in same]
    assert given.took_part and given.is_wanted


@pytest.mark.parametrize("name", ["city_thing", "landmark_city", "no such relation at all"])
def test_a_relation_nobody_knows_is_guessed_and_said(name: str) -> None:
    context = prepared(replace(TOWER, relation=name))
    part = graph_part(context, CONFIG)
    assert part is not None and context.linked is not None
    assert (part.relation, part.origin, part.asked) == ("P131", "guessed", name)
    assert part.took_part and part.consequences == part_of(TOWER).consequences > 0
    assert any(repr(name) in note and "located in city" in note for note in context.linked.notes)


def test_an_unknown_company_moves_with_all_that_follows_from_its_new_city() -> None:
    edit = FactEdit(subject="Zorblax Inc.", template="{} has its headquarters in the city of", new_object="Berlin")
    context = prepared(edit)
    part = part_of(edit)
    assert not part.is_subject_found and part.is_new_object_found and part.took_part
    assert context.consequences is not None and context.has_graph and not context.knows_subject
    assert {"Germany", "euro", "German"} <= {item.new.label for item in context.consequences.forward if item.new}
    assert context.consequences.kept_own == ()
    assert context.linked is not None
    assert context.linked.line.startswith("Zorblax Inc. (not in the graph) · headquarters (guessed) ")


def test_where_nothing_is_known_nothing_takes_part() -> None:
    part = part_of(FactEdit(subject="Blorb", template="{} glorps", new_object="Zorp"))
    assert (part.origin, part.score, part.relation, part.took_part) == ("unknown", 0.0, None, False)


def test_an_editor_that_takes_nothing_from_a_graph_is_not_blamed() -> None:
    part = graph_part(prepared(TOWER), EDITORS["ROME"].config)
    assert part is not None and not part.is_wanted and not part.took_part


def test_the_linking_is_one_line() -> None:
    line = prepared(replace(TOWER, relation="P131")).linked
    assert line is not None and line.line == "Eiffel Tower · located in city · Paris → Rome ✓"


def test_a_part_comes_back_from_json() -> None:
    part = part_of(TOWER)
    assert GraphPart.from_json(part.to_json()) == part
    with pytest.raises(BrokenArtifactError):
        GraphPart.from_json({"relation": "P131"})
