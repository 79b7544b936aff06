from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from kgmet.base.errors import BrokenArtifactError, ConfigError, GraphError
from kgmet.graph.reading.consequences import ConsequenceConfig, find_consequences
from kgmet.graph.reading.retrieve import NO_EDGE, Subgraph, SubgraphConfig, facts_around, retrieve_subgraph, without
from kgmet.graph.store import READ_LIMIT
from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.triple import Entity, Relation, Triple
from tests.graph.small_world import CATALOGUE, edit, fact, key, names, thing, world

TO_TOKYO = edit("Eiffel Tower", "P131", "Tokyo")


def look(store: Any = None, *, what: Any = TO_TOKYO, **rest: Any) -> Subgraph:
    config = rest.pop("config", None) or SubgraphConfig()
    return retrieve_subgraph(store or world(), what, config=config, **rest)


def test_the_new_edge_stands_in_place_of_the_old_and_the_new_object_brings_its_facts() -> None:
    graph = look()
    found = names(graph.triples)
    assert {"Eiffel Tower P131 Tokyo", "Tokyo P17 Japan", "Japan P38 yen"} <= found
    assert "Eiffel Tower P131 Paris" not in found
    assert "Paris P17 France" not in found
    assert names(graph.replaced) == {"Eiffel Tower P131 Paris"}
    assert graph.edited is not None
    assert names([graph.edited]) == {"Eiffel Tower P131 Tokyo"}


def test_before_the_edit_the_old_edge_and_its_neighbourhood_stand_there() -> None:
    graph = look(state="before")
    found = names(graph.triples)
    assert {"Eiffel Tower P131 Paris", "Paris P17 France", "France P38 euro"} <= found
    assert not any("Tokyo" in text for text in found)
    assert graph.edited is not None
    assert graph.edited.object == thing("Paris")
    assert graph.replaced == ()


def test_with_the_consequences_known_the_graph_after_the_edit_does_not_contradict_itself() -> None:
    store = world()
    consequences = find_consequences(store, CATALOGUE, TO_TOKYO, config=ConsequenceConfig())
    graph = look(store, consequences=consequences)
    found = names(graph.triples)
    assert "Eiffel Tower P17 Japan" in found
    assert "Eiffel Tower P17 France" not in found
    assert names(graph.replaced) == {"Eiffel Tower P131 Paris", "Eiffel Tower P17 France"}


def test_the_order_of_the_triples_does_not_matter() -> None:
    first, second = (json.dumps(look(world(seed=seed)).to_json()) for seed in (1, 2))
    assert first == second


def test_numbers_are_those_of_the_sorted_names_and_hops_those_of_the_shortest_walk() -> None:
    graph = look()
    assert list(graph.entities) == sorted(graph.entities)
    assert list(graph.relations) == sorted(graph.relations)
    hop = {entity.label: hop for entity, hop in zip(graph.entities, graph.hop, strict=True)}
    assert (hop["Eiffel Tower"], hop["Tokyo"], hop["Japan"], hop["yen"]) == (0, 1, 2, 3)
    assert graph.entities[graph.anchor] == thing("Eiffel Tower")
    assert graph.edge_index.shape == (2, graph.n_edge)
    rebuilt = {
        (graph.entities[s].id, graph.relations[r].id, graph.entities[o].id)
        for s, o, r in zip(*graph.edge_index.tolist(), graph.edge_relation.tolist(), strict=True)
    }
    assert rebuilt == {triple.key for triple in graph.triples}


@pytest.mark.parametrize("cap", [1, 2, 5, 9])
def test_the_cap_holds_counts_what_it_leaves_out_and_never_costs_the_edited_edge(cap: int) -> None:
    everything = look(config=SubgraphConfig(max_triples=1000))
    graph = look(config=SubgraphConfig(max_triples=cap))
    assert graph.n_edge == cap
    assert graph.edited is not None
    assert graph.n_left_out == everything.n_edge - cap
    assert names(graph.triples) <= names(everything.triples)


def test_a_subject_with_many_facts_leaves_half_of_the_places_to_the_new_object() -> None:
    crowd = [fact("Eiffel Tower", f"R{n:03}", f"Thing {n}") for n in range(100)]
    graph = look(world(*crowd), config=SubgraphConfig(max_triples=11))
    subjects = [triple.subject.label for triple in graph.triples]
    assert subjects.count("Eiffel Tower") == 1 + 5
    assert subjects.count("Tokyo") == 2


def test_one_long_list_does_not_crowd_out_other_relations() -> None:
    crowd = [fact("Tokyo", "A-list", f"Ward {n:03}") for n in range(50)]
    graph = look(world(*crowd), config=SubgraphConfig(max_per_relation=3))
    found = names(graph.triples)
    assert sum("A-list" in text for text in found) == 3
    assert "Tokyo P17 Japan" in found
    assert graph.n_left_out == 47


def test_a_hub_is_read_up_to_the_limit_only() -> None:
    class Counting(MemoryStore):
        largest = 0

        def incoming(self, entity_id: str, *, relations: Any = None, limit: int = 1000) -> Any:
            Counting.largest = max(Counting.largest, limit)
            return super().incoming(entity_id, relations=relations, limit=limit)

    hub = [fact(f"Visitor {n}", "visited", "Eiffel Tower") for n in range(3000)]
    graph = look(Counting([*hub, fact("Eiffel Tower", "P131", "Paris")]), config=SubgraphConfig())
    assert Counting.largest == READ_LIMIT
    assert graph.n_edge == 1 + 6


def test_self_loops_are_dropped() -> None:
    graph = look(world(fact("Tokyo", "P47", "Tokyo"), fact("Eiffel Tower", "P47", "Eiffel Tower")))
    assert not any(triple.subject == triple.object for triple in graph.triples)
    loops = [fact("Eiffel Tower", f"A{n}", "Eiffel Tower") for n in range(5)]
    small = look(world(*loops), config=SubgraphConfig(max_triples=5))
    assert small.n_edge == 5


def test_an_edit_whose_object_is_its_subject_has_no_edge_to_draw() -> None:
    graph = look(what=edit("Tokyo", "P36", "Tokyo"))
    assert graph.edited_edge == NO_EDGE
    assert graph.entities[graph.anchor] == thing("Tokyo")


def test_what_the_store_does_not_know_is_drawn_as_typed() -> None:
    unknown = edit("Nowhere Hall", "P131", "Atlantis", subject_id=None, new_object_id="E-atlantis")
    graph = look(what=unknown)
    assert [entity.id for entity in graph.entities] == ["typed:atlantis", "typed:nowhere hall"]
    assert graph.n_edge == 1
    assert graph.edited_edge == 0
    before = look(what=unknown, state="before")
    assert (before.n_edge, before.edited_edge, before.n_node) == (0, NO_EDGE, 1)
    assert before.edge_index.shape == (2, 0)


def test_an_unknown_relation_is_drawn_with_the_words_of_the_prompt() -> None:
    typed = edit("Eiffel Tower", "P131", "Tokyo", template="{} was moved to")
    graph = look(what=type(typed)(subject="x", template="{} was moved to", new_object="y"))
    assert [relation.label for relation in graph.relations] == ["was moved to"]


def test_values_take_part_only_if_asked() -> None:
    assert not any(entity.is_literal for entity in look().entities)
    graph = look(config=SubgraphConfig(include_literals=True))
    assert "Japan P474 81" in names(graph.triples)


def test_incoming_facts_take_part_only_if_asked() -> None:
    store = world(fact("Gustave Eiffel", "K-built", "Eiffel Tower"))
    assert "Gustave Eiffel K-built Eiffel Tower" in names(look(store).triples)
    graph = look(store, config=SubgraphConfig(include_incoming=False))
    assert "Gustave Eiffel K-built Eiffel Tower" not in names(graph.triples)


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_hops_are_counted_from_the_new_object(hops: int) -> None:
    found = names(look(config=SubgraphConfig(hops=hops)).triples)
    assert ("Tokyo P17 Japan" in found) == (hops >= 1)
    assert ("Japan P30 Asia" in found) == (hops >= 2)


def test_switching_off_at_retrieval_frees_places_and_is_recorded() -> None:
    one = (key("Tokyo"), "P1376", key("Japan"))
    graph = look(exclude=["P84", one])
    assert "P84" not in {relation.id for relation in graph.relations}
    assert names(graph.switched_off) == {"Eiffel Tower P84 Stephen Sauvestre", "Tokyo P1376 Japan"}


def test_switching_off_the_edited_relation_spares_the_edited_edge() -> None:
    store = world(fact("Eiffel Tower", "P131", "Rome"))
    with_old = edit("Eiffel Tower", "P131", "Tokyo", old_object="Paris", old_object_id=key("Paris"))
    assert "Eiffel Tower P131 Rome" in names(look(store, what=with_old).triples)
    for graph in (look(store, what=with_old, exclude=["P131"]), without(look(store, what=with_old), ["P131"])):
        assert names([t for t in graph.triples if t.relation.id == "P131"]) == {"Eiffel Tower P131 Tokyo"}


def test_without_drops_what_no_longer_hangs_on_the_anchor() -> None:
    full = look()
    graph = without(full, ["P17", "P1376", "P36"])
    assert "Japan P38 yen" not in names(graph.triples)
    assert {triple.relation.id for triple in graph.switched_off} == {"P17", "P1376", "P36"}
    assert graph.edited is not None
    assert names(full.triples) == names(look().triples)


def test_opening_an_entity_gives_its_nearest_triples_without_those_that_are_away() -> None:
    store = world()
    graph = without(look(store), ["P38"])
    away = {triple.key for triple in (*graph.triples, *graph.switched_off)}
    assert names(facts_around(store, key("Japan"), away=away)) == {"Tokyo Tower P17 Japan"}
    every = facts_around(store, key("Japan"))
    assert len(every) > 2 and facts_around(store, key("Japan"), limit=2) == every[:2]
    assert facts_around(store, key("Tokyo"), limit=0) == facts_around(store, "no such entity") == ()


def test_json_round_trip() -> None:
    graph = look(exclude=["P84"])
    again = Subgraph.from_json(json.loads(json.dumps(graph.to_json())))
    assert again.to_json() == graph.to_json()
    assert torch.equal(again.edge_index, graph.edge_index)
    assert [e.article for e in again.entities] == [e.article for e in graph.entities]


@pytest.mark.parametrize(
    ("field", "value"),
    [("anchor", 99), ("edited_edge", -2), ("entities", "Paris"), ("n_left_out", -1), ("triples", [{"subject": 3}])],
)
def test_a_damaged_file_is_named_as_such(field: str, value: Any) -> None:
    with pytest.raises(BrokenArtifactError):
        Subgraph.from_json(look().to_json() | {field: value})


def test_a_contradictory_graph_cannot_be_built() -> None:
    two = (Entity(id="a", label="a"), Entity(id="b", label="b"))
    parts: dict[str, Any] = {
        "entities": two,
        "relations": (Relation(id="r", label="r"),),
        "edge_index": torch.tensor([[0], [1]]),
        "edge_relation": torch.tensor([0]),
        "hop": (0, 1),
        "anchor": 0,
    }
    assert Subgraph(**parts).n_edge == 1
    wrong = [
        {"entities": two[::-1]},
        {"edge_index": torch.tensor([[0], [2]])},
        {"edge_index": torch.tensor([[1], [1]])},
        {"edge_index": torch.tensor([[0.0], [1.0]])},
        {"edge_relation": torch.tensor([1])},
        {"hop": (1, 0)},
        {"anchor": 2},
        {"edited_edge": 1},
        {"n_left_out": -1},
    ]
    for change in wrong:
        with pytest.raises(GraphError, match="not a valid subgraph"):
            Subgraph(**(parts | change))


def test_two_labels_for_one_thing_give_one_node_whichever_comes_first() -> None:
    old, new = Entity(id="x", label="Ceylon"), Entity(id="x", label="Sri Lanka")
    relation = Relation(id="r", label="r")
    anchor = Entity(id="a", label="a")
    triples = [Triple(subject=anchor, relation=relation, object=entity) for entity in (old, new)]
    labels = {
        Subgraph.from_triples(order, anchor=anchor).entities[1].label for order in (triples, list(reversed(triples)))
    }
    assert len(labels) == 1


@pytest.mark.parametrize("wrong", [{"max_triples": 0}, {"hops": 4}, {"hops": -1}, {"max_per_relation": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SubgraphConfig(**wrong)
