from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from kgmet.base.errors import BrokenArtifactError, ConfigError
from kgmet.fact import FactEdit
from kgmet.graph.reading.consequences import Consequence, ConsequenceConfig, EditConsequences, find_consequences
from kgmet.graph.stores.memory import MemoryStore
from tests.graph.small_world import CATALOGUE, edit, fact, facts, key, names, thing, world

TO_TOKYO = edit("Eiffel Tower", "P131", "Tokyo")


def look(what: FactEdit = TO_TOKYO, store: Any = None, **config: Any) -> EditConsequences:
    return find_consequences(world() if store is None else store, CATALOGUE, what, config=ConsequenceConfig(**config))


def ends(items: Iterable[Consequence]) -> set[tuple[str, str | None, str | None]]:
    return {
        (item.path_new[-1].relation.id if item.path_new else "", _label(item.old), _label(item.new)) for item in items
    }


def _label(entity: Any) -> str | None:
    return None if entity is None else entity.label


def test_every_chain_through_the_new_object_whose_end_differs_is_a_consequence() -> None:
    assert ends(look().forward) == {
        ("P17", "France", "Japan"),
        ("P30", "Europe", "Asia"),
        ("P37", "French", "Japanese"),
        ("P38", "euro", "yen"),
        ("P36", "Paris", "Tokyo"),
    }


def test_what_stays_the_same_is_no_consequence() -> None:
    found = ends(look(edit("Eiffel Tower", "P131", "Rome")).forward)
    assert ("P17", "France", "Italy") in found
    assert not {relation for relation, _, _ in found} & {"P30", "P38"}


def test_within_one_country_only_the_city_changes_and_the_country_is_kept() -> None:
    around = look(edit("Eiffel Tower", "P131", "Lyon"))
    assert around.forward == ()
    assert "Eiffel Tower P17 France" in names(item.triple for item in around.kept_own)
    assert names(around.outdated) == {"Eiffel Tower P131 Paris"}


def test_paths_are_chains_that_start_with_the_edited_fact() -> None:
    for item in look().forward:
        assert names(item.path_new[:1]) == {"Eiffel Tower P131 Tokyo"}
        assert names(item.path_old[:1]) == {"Eiffel Tower P131 Paris"}
        for path in (item.path_new, item.path_old):
            assert all(first.object == second.subject for first, second in pairwise(path))
        assert item.path_new[-1].object == item.new
        assert item.path_old[-1].object == item.old
        assert item.hops == len(item.path_new)


def test_relations_that_compose_give_the_direct_relation_and_its_prompts() -> None:
    country = next(item for item in look().forward if item.relation == "P17")
    assert "Eiffel Tower is located in the country of" in [country.text(text) for text in country.templates]
    language = next(item for item in look().forward if item.path_new[-1].relation.id == "P37")
    assert language.relation is None


def test_every_template_has_one_place_for_the_subject_and_names_neither_end() -> None:
    for what in (TO_TOKYO, edit("Spain", "P36", "Lyon"), edit("Berlin", "P17", "Japan")):
        around = look(what)
        for item in around.changed:
            for text in (*item.templates, *item.questions):
                assert text.count("{}") == 1
                assert text[:1] == text[:1].upper()
                assert "the the" not in text.casefold()
                for end in (item.old, item.new):
                    assert end is None or end.label not in text


def test_a_typed_article_is_capital_at_the_start_and_small_inside() -> None:
    around = look(edit("Eiffel Tower", "P131", "Tokyo", typed="The Eiffel Tower"))
    texts = [item.text(text) for item in around.forward for text in (*item.templates, *item.questions)]
    assert any(text.startswith("The Eiffel Tower ") for text in texts)
    assert any(" the Eiffel Tower" in text for text in texts)
    assert not any(" The " in text for text in texts)


def test_facts_of_the_subject_that_contradict_a_consequence_are_outdated_and_not_kept() -> None:
    around = look()
    assert names(around.outdated) == {"Eiffel Tower P131 Paris", "Eiffel Tower P17 France"}
    assert "Eiffel Tower P17 Japan" in names(around.implied)
    assert names(item.triple for item in around.kept_own) == {"Eiffel Tower P84 Stephen Sauvestre"}


def test_where_the_graph_cannot_tell_a_fact_is_neither_outdated_nor_kept() -> None:
    nowhere = edit("Eiffel Tower", "P131", "Springfield")
    around = look(nowhere, world(fact("Springfield", "P421", "Central Time")))
    assert names(around.undecided) == {"Eiffel Tower P17 France"}
    # In Berlin, therefore in Germany: the city speaks against the edited country.
    moved = look(edit("Reichstag", "P17", "Japan"))
    assert names(moved.undecided) == {"Reichstag P131 Berlin"}
    # Is Berlin still the capital of Germany when it lies in Japan?
    assert names(look(edit("Berlin", "P17", "Japan")).undecided) == {"Berlin P1376 Germany"}


def test_without_a_path_from_the_old_object_the_direct_fact_gives_the_old_end() -> None:
    store = world(without=("Paris", "P17", "France"))
    country = next(item for item in look(store=store).forward if item.relation == "P17")
    assert _label(country.old) == "France"
    assert names(country.path_old) == {"Eiffel Tower P17 France"}


def test_an_end_that_was_not_known_before_is_a_change_only_if_nothing_was() -> None:
    poor = world(without=("France", "P38", "euro"))
    assert "P38" not in {relation for relation, _, _ in ends(look(store=poor).forward)}
    bare = world(without=("Eiffel Tower", "P131", "Paris"))
    assert ("P38", None, "yen") in ends(look(store=bare).forward)


def test_a_list_of_many_right_answers_is_not_asked_about() -> None:
    many = [fact("Japan", "P37", f"Tongue {n}") for n in range(5)]
    assert not any(item.path_new[-1].relation.id == "P37" for item in look(store=world(*many)).forward)
    few = look(store=world(*many[:1]))
    language = next(item for item in few.forward if item.path_new[-1].relation.id == "P37")
    assert {_label(language.new), *map(_label, language.also)} == {"Japanese", "Tongue 0"}


def test_what_remains_beside_the_new_object_still_answers() -> None:
    # Picasso is also a citizen of Spain after he becomes one of Japan in place of France.
    both = world(fact("Pablo Picasso", "P27", "France"))
    moved = edit("Pablo Picasso", "P27", "Japan", old_object="France", old_object_id=key("France"))
    found = look(moved, both)
    capital = next(item for item in found.forward if item.path_new[-1].relation.id == "P36")
    assert (_label(capital.old), _label(capital.new)) == ("Paris", "Tokyo")
    assert [_label(entity) for entity in capital.also] == ["Madrid"]
    assert [_label(entity) for entity in capital.also_old] == ["Madrid"]
    # Of the continents nothing is lost: Europe was an answer before and still is one.
    assert "P30" not in {relation for relation, _, _ in ends(found.forward)}


def test_a_name_that_says_the_answer_is_no_neighbour() -> None:
    told = [fact("Paris Opera", "P131", "Paris"), fact("Parisian Hall", "P131", "Paris")]
    kept = {item.triple.subject.label for item in look(store=world(*told)).kept_neighbours}
    assert "Parisian Hall" in kept
    assert "Paris Opera" not in kept


def test_what_leads_back_to_the_subject_is_not_followed() -> None:
    # The country of the capital of Spain is Spain: nothing about France follows from moving the capital there.
    found = look(edit("Spain", "P36", "Lyon")).forward
    assert not any(item.path_new[1].relation.id == "P17" for item in found)
    hidden = look(edit("France", "P36", "Lyon"), world(without=("Paris", "P17", "France")))
    assert not any(item.new == thing("France") for item in hidden.forward)
    # Nor is a relation followed back: the capital of what Lyon is the capital of.
    mirrored = look(edit("Lyon", "P1376", "Germany")).forward
    assert mirrored
    assert not any(item.path_new[1].relation.id == "P36" for item in mirrored)


def test_what_holds_of_anything_is_no_consequence() -> None:
    # The capital of any country lies in that country; but the capital of a city's country need not be that city.
    citizen = look(edit("Joan Miro", "P27", "Japan"))
    assert not any([t.relation.id for t in item.path_new][1:] == ["P36", "P17"] for item in citizen.forward)
    assert ("P36", "Paris", "Tokyo") in ends(look().forward)


def test_mirror_facts_are_gained_and_lost() -> None:
    around = look(edit("Spain", "P36", "Lyon"))
    gained, lost = around.inverse_gained[0], around.inverse_lost[0]
    assert (gained.subject.label, _label(gained.old), _label(gained.new)) == ("Lyon", None, "Spain")
    assert "Lyon is the capital of" in [gained.text(text) for text in gained.templates]
    assert (lost.subject.label, _label(lost.old), _label(lost.new)) == ("Madrid", "Spain", None)
    assert "Madrid P1376 Spain" in names(around.outdated)
    assert "Lyon P1376 Spain" in names(around.implied)


def test_what_the_old_object_keeps_is_the_new_answer_of_the_lost_mirror_fact() -> None:
    lost = look().inverse_lost[0]
    assert (lost.subject.label, _label(lost.old), _label(lost.new)) == ("Paris", "Eiffel Tower", "Louvre")


def test_the_edited_fact_is_also_a_later_hop() -> None:
    around = look(edit("Spain", "P36", "Barcelona"))
    chains = {tuple(triple.relation.id for triple in item.path_new): item for item in around.later_hops}
    citizen = chains["P27", "P36"]
    assert citizen.subject.label in ("Pablo Picasso", "Joan Miro")
    assert (_label(citizen.old), _label(citizen.new)) == ("Madrid", "Barcelona")
    assert ("P19", "P17", "P36") in chains
    # In Malaga, therefore in Spain: one hop said in two.
    store = world(fact("Alcazaba", "P131", "Malaga"))
    around = look(edit("Spain", "P36", "Barcelona"), store, max_later_hops=40)
    assert {"P19"} == {item.path_new[0].relation.id for item in around.later_hops if item.hops == 3}
    for item in around.later_hops:
        assert 2 <= item.hops <= 4
        assert item.kind == "later_hop"
        assert names([around.later_hops[0].path_new[-1]]) == {"Spain P36 Barcelona"}
        assert not any("Spain" in text for text in (*item.templates, *item.questions))


def test_a_later_hop_starts_only_where_the_edited_subject_is_the_one_answer() -> None:
    around = look(edit("France", "P36", "Lyon"))
    starts = {item.subject.label for item in around.later_hops}
    assert starts
    assert "Marie Curie" not in starts


def test_four_hops_join_a_hop_before_and_a_hop_after() -> None:
    around = look(edit("Malaga", "P17", "Japan"), max_later_hops=40)
    assert ("P30", "Europe", "Asia") in ends(item for item in around.later_hops if item.hops == 3)
    assert not any(item.hops == 4 for item in around.later_hops)
    store = world(fact("Guernica", "P170", "Pablo Picasso"))
    around = look(edit("Malaga", "P17", "Japan"), store, max_later_hops=40)
    four = [item for item in around.later_hops if item.hops == 4]
    assert {item.subject.label for item in four} == {"Guernica"}


def test_neighbours_share_the_relation_and_half_of_them_the_old_object() -> None:
    around = look(max_neighbours=4)
    triples = [item.triple for item in around.kept_neighbours]
    assert names(triples[:1]) == {"Louvre P131 Paris"}
    assert len(triples) == 4
    assert {triple.relation.id for triple in triples} == {"P131"}
    assert len({triple.object.label for triple in triples}) == 4
    crowd = [fact(f"Hall {n}", *rest) for n in range(20) for rest in (("P131", "Paris"), ("P17", "France"))]
    shared = look(store=world(*crowd), max_neighbours=6).kept_neighbours
    assert [item.triple.object.label for item in shared].count("Paris") == 3


def test_no_neighbour_is_one_that_the_edit_moves_along() -> None:
    # Whatever stands in Berlin moves to Japan with it.
    around = look(edit("Berlin", "P17", "Japan"))
    kept = {item.triple.subject.label for item in around.kept_neighbours}
    moved = {item.subject.label for item in around.later_hops if item.relation == "P17"}
    assert {"Brandenburg Gate", "Reichstag"} <= moved
    assert not kept & (moved | {"Berlin"})
    assert "Paris" in kept


def test_neighbours_of_the_same_kind_come_first() -> None:
    around = look(edit("Eiffel Tower", "P17", "Japan"), max_neighbours=4)
    assert {item.triple.subject.type for item in around.kept_neighbours} == {"landmark"}


def test_the_new_object_is_no_neighbours_answer() -> None:
    assert not any(item.triple.object == thing("Tokyo") for item in look().kept_neighbours)


def test_the_order_of_the_triples_does_not_matter() -> None:
    first, second = (json.dumps(look(store=world(seed=seed)).to_json()) for seed in (1, 2))
    assert first == second


def test_ids_are_unique_and_stable() -> None:
    around, again = look(), look()
    ids = [item.id for item in (*around.changed, *around.kept)]
    assert len(set(ids)) == len(ids)
    assert ids == [item.id for item in (*again.changed, *again.kept)]


def test_the_best_known_relations_come_first_and_bounds_hold() -> None:
    assert [item.path_new[-1].relation.id for item in look(max_consequences=2).forward] == ["P17", "P30"]
    own_order = look(relations=("P38", "P17"), max_consequences=2)
    assert [item.path_new[-1].relation.id for item in own_order.forward] == ["P17", "P38"]
    three = look(relations=("P38", "P37"), max_consequences=3)
    assert [item.path_new[-1].relation.id for item in three.forward] == ["P38", "P37", "P17"]
    nothing = look(max_consequences=0, max_later_hops=0, max_inverse=0, max_kept_own=0, max_neighbours=0)
    assert nothing.changed == ()
    assert nothing.kept == ()


@pytest.mark.parametrize("hops", [2, 3])
def test_chains_are_no_longer_than_asked(hops: int) -> None:
    assert max(item.hops for item in look(max_hops=hops).forward) == hops


def test_nothing_follows_by_way_of_what_is_switched_off() -> None:
    def relations(*exclude: Any) -> set[str]:
        around = find_consequences(world(), CATALOGUE, TO_TOKYO, config=ConsequenceConfig(), exclude=exclude)
        return {relation for relation, _, _ in ends(around.forward)}

    assert relations("P38") == relations() - {"P38"}
    assert relations((key("Tokyo"), "P17", key("Japan"))) == set()
    around = find_consequences(world(), CATALOGUE, TO_TOKYO, config=ConsequenceConfig(), exclude=["P131"])
    assert around.forward
    assert around.kept_neighbours


def test_values_are_ends_only_if_asked() -> None:
    assert not any(item.new and item.new.is_literal for item in look().forward)
    assert ("P474", "33", "81") in ends(look(include_literals=True).forward)


def test_what_the_store_does_not_know_leads_to_less_and_never_to_an_error() -> None:
    unknown_subject = FactEdit(
        subject="Nowhere Hall", template="{} is in", new_object="Tokyo", relation="P131", new_object_id=key("Tokyo")
    )
    around = look(unknown_subject)
    assert ("P17", None, "Japan") in ends(around.forward)
    assert around.kept_neighbours
    unknown_object = look(edit("Eiffel Tower", "P131", "Atlantis"))
    assert unknown_object.forward == ()
    assert names(unknown_object.undecided) == {"Eiffel Tower P17 France"}
    nothing = look(FactEdit(subject="a", template="{} b", new_object="c"))
    assert (nothing.changed, nothing.kept) == ((), ())
    foreign = look(edit("Eiffel Tower", "K-unheard-of", "Tokyo"))
    assert foreign.forward == ()
    empty = look(TO_TOKYO, MemoryStore())
    assert (empty.forward, empty.kept) == ((), ())


def test_an_edit_to_what_the_graph_already_says_outdates_nothing() -> None:
    # A person may correct a model that is wrong about it; what follows is then known, but not what stood there before.
    around = look(edit("Eiffel Tower", "P131", "Paris", old_object_id=key("Paris")))
    assert around.outdated == ()
    assert around.inverse_lost == ()
    assert {item.old for item in around.forward} == {None}
    assert "Eiffel Tower P17 France" in names(item.triple for item in around.kept_own)


def test_cycles_end() -> None:
    ring = [fact("Tokyo", "P47", "Rome"), fact("Rome", "P47", "Tokyo"), fact("Japan", "P17", "Tokyo")]
    assert look(store=world(*ring), max_hops=4).forward


def test_each_reason_names_the_new_end_and_the_answer_before() -> None:
    for item in look().forward:
        assert item.new is not None
        assert item.old is not None
        assert item.reason.index(item.new.label) < item.reason.rindex(item.old.label)


def test_json_round_trip() -> None:
    for what in (TO_TOKYO, edit("Spain", "P36", "Lyon")):
        around = look(what)
        again = EditConsequences.from_json(json.loads(json.dumps(around.to_json())))
        assert again.to_json() == around.to_json()
        assert again == around


@pytest.mark.parametrize(
    "damage",
    [{"forward": [{"kind": "forward"}]}, {"subject": None}, {"surprise": 1}, {"kept_own": [{"kind": "stranger"}]}],
)
def test_a_damaged_file_is_named_as_such(damage: dict[str, Any]) -> None:
    with pytest.raises(BrokenArtifactError):
        EditConsequences.from_json(look().to_json() | damage)


@pytest.mark.parametrize("wrong", [{"max_hops": 1}, {"max_hops": 5}, {"max_consequences": -1}, {"max_inverse": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ConsequenceConfig(**wrong)


def test_the_small_world_is_consistent() -> None:
    # The tests above argue from it: a landmark's country is its city's.
    country = {t.subject: t.object for t in facts() if t.relation.id == "P17"}
    for triple in facts():
        if triple.relation.id == "P131":
            assert country[triple.subject] == country[triple.object]
