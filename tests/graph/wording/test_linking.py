from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.triple import Entity, Triple
from kgmet.graph.wording.guess_relation import SURE
from kgmet.graph.wording.linking import _types_of_name, guess_relation, link_edit, link_entity
from kgmet.graph.wording.name_kinds import kind_of_name

CATALOGUE = RelationCatalogue.load()
TOWER = Entity(id="Q243", label="Eiffel Tower", type="landmark", aliases=("La Tour Eiffel",))
PARIS, TOKYO = Entity(id="Q90", label="Paris", type="city"), Entity(id="Q1490", label="Tokyo", type="city")
FRANCE, JAPAN = Entity(id="Q142", label="France", type="country"), Entity(id="Q17", label="Japan", type="country")
GEORGIA = Entity(id="Q230", label="Georgia", type="country", description="country in the Caucasus")
STATE = Entity(id="Q1428", label="Georgia", type="state", description="state of the United States")
ATLANTA = Entity(id="Q23556", label="Atlanta", type="city")
TBILISI = Entity(id="Q994", label="Tbilisi", type="city")
APPLE = Entity(id="Q89", label="apple", type="food")
FIRM = Entity(id="Q312", label="Apple Inc.", type="company", aliases=("Apple",))


def fact(subject: Entity, relation: str, obj: Entity) -> Triple:
    return Triple(subject=subject, relation=CATALOGUE.spec(relation).relation, object=obj)


STORE = MemoryStore(
    [
        fact(TOWER, "P131", PARIS),
        fact(TOWER, "P17", FRANCE),
        fact(PARIS, "P17", FRANCE),
        fact(FRANCE, "P36", PARIS),
        fact(TOKYO, "P17", JAPAN),
        fact(JAPAN, "P36", TOKYO),
        fact(GEORGIA, "P36", TBILISI),
        fact(STATE, "P36", ATLANTA),
        fact(STATE, "P47", Entity(id="Q812", label="Florida", type="state")),
    ],
    entities=[APPLE, FIRM],
)


@pytest.mark.parametrize("typed", ["Eiffel Tower", "The Eiffel Tower", "eiffel tower", "la tour eiffel"])
def test_spellings_of_one_subject(typed: str):
    linked = link_edit(
        STORE, FactEdit(subject=typed, template="{} is located in the city of", new_object="tokyo"), CATALOGUE
    )
    assert (linked.edit.subject_id, linked.edit.relation) == ("Q243", "P131")
    assert (linked.edit.new_object_id, linked.edit.old_object_id, linked.edit.old_object) == ("Q1490", "Q90", "Paris")
    assert linked.notes == ()
    assert (linked.edit.subject, linked.edit.new_object) == (typed, "tokyo")


def test_linking_does_not_make_another_edit():
    edit = FactEdit(subject="Eiffel Tower", template="{} is located in the city of", new_object="Tokyo")
    assert link_edit(STORE, edit, CATALOGUE).edit.id == edit.id


def test_both_georgias_are_offered_and_chosen_by_kind_hint_or_neighbour():
    assert [match.entity.id for match in link_entity(STORE, "georgia")] == ["Q1428", "Q230"]
    assert link_entity(STORE, "Georgia", expected_types={"country"})[0].entity.id == "Q230"
    assert link_entity(STORE, "Georgia (country)")[0].entity.id == "Q230"
    assert link_entity(STORE, "Georgia (Caucasus)")[0].entity.id == "Q230"
    assert link_entity(STORE, "Georgia [state]")[0].entity.id == "Q1428"
    assert link_entity(STORE, "Georgia", near=["Q994"])[0].entity.id == "Q230"
    assert {match.entity.description for match in link_entity(STORE, "Georgia")} == {
        GEORGIA.description,
        STATE.description,
    }


def test_the_relation_chooses_between_things_of_one_name():
    assert link_entity(STORE, "Apple")[0].entity == APPLE
    edit = FactEdit(subject="Apple", template="{} has its headquarters in the city of", new_object="Tokyo")
    linked = link_edit(STORE, edit, CATALOGUE)
    assert linked.edit.subject_id == FIRM.id and linked.edit.relation == "P159"
    assert {match.entity.id for match in linked.subject} == {APPLE.id, FIRM.id}


def test_ids_the_person_chose_are_kept():
    edit = FactEdit(
        subject="Georgia", template="The capital of {} is", new_object="Paris", relation="capital", subject_id="Q230"
    )
    linked = link_edit(STORE, edit, CATALOGUE)
    assert linked.edit.subject_id == "Q230" and linked.edit.old_object_id == "Q994"
    assert [(spec.id, score) for spec, score in linked.relations] == [("P36", 1.0)]


def test_a_typed_old_object_that_the_graph_contradicts_is_said():
    edit = FactEdit(subject="France", template="The capital of {} is", new_object="Tbilisi", old_object="Tokyo")
    linked = link_edit(STORE, edit, CATALOGUE)
    assert linked.notes == ("You say the old object is 'Tokyo'; the graph says Paris.",)
    assert linked.edit.old_object_id == "Q1490"
    assert [match.entity.id for match in linked.old_object][:2] == ["Q90", "Q1490"]


def test_the_new_object_is_never_proposed_as_the_old_one():
    edit = FactEdit(subject="Eiffel Tower", template="{} is located in the city of", new_object="Paris")
    assert link_edit(STORE, edit, CATALOGUE).old_object == ()


def test_what_the_graph_does_not_know_is_said_and_left_open():
    edit = FactEdit(subject="Blorb", template="{} glorps", new_object="Zorp", old_object="Zurp")
    linked = link_edit(STORE, edit, CATALOGUE)
    ids = (linked.edit.subject_id, linked.edit.relation, linked.edit.new_object_id, linked.edit.old_object_id)
    assert ids == (None,) * 4
    assert len(linked.notes) == 3 and "'Blorb'" in linked.notes[0] and "'Zorp'" in linked.notes[1]


def test_a_beginning_is_proposed_but_not_chosen():
    edit = FactEdit(subject="Eiffel", template="{} is located in the city of", new_object="Tokyo")
    linked = link_edit(STORE, edit, CATALOGUE)
    assert linked.edit.subject_id is None and linked.subject[0].entity.id == "Q243"


def test_every_wording_of_the_catalogue_is_recognised():
    shared = [text for spec in CATALOGUE for text in {*spec.cloze, *spec.questions}]
    for spec in CATALOGUE:
        for template in (*spec.cloze, *spec.questions):
            guesses = guess_relation(CATALOGUE, template)
            assert guesses[0][1] == 1.0
            assert spec.id in [guess.id for guess, score in guesses if score == 1.0]
            if shared.count(template) == 1:
                assert guesses[0][0].id == spec.id, template


@pytest.mark.parametrize(
    ("template", "known", "relation"),
    [
        ("What city is the capital of {}?", {}, "P36"),
        ("{}, whose capital city is called", {"subject_types": {"country"}}, "P36"),
        ("{} lies in", {"object_types": ["continent"], "subject_types": {"country"}}, "P30"),
        ("{} is in", {"object_types": ["continent"], "subject_relations": ["P30"]}, "P30"),
        ("{} is located in", {"object_types": ["country"], "subject_types": {"landmark"}}, "P17"),
        ("{} is located in", {"object_types": ["city"], "subject_types": {"landmark"}}, "P131"),
        ("The founders of {} include", {}, "P112"),
        ("People in {} pay with the", {}, "P38"),
        ("Who makes {}?", {"object_types": ["company"]}, "P176"),
        ("What comes just before {}?", {}, "P155"),
        ("What comes just after {}?", {}, "P156"),
        ("It is well known that {} was laid to rest in", {}, "P119"),
        ("Everybody knows that {} tied the knot with", {}, "P26"),
        ("Where do shareholders say {} has its main office?", {}, "P159"),
        ("What ailment did doctors say {} suffered from?", {}, "P1050"),
        ("{} and its corners: how many sides has it?", {}, "K-sides"),
        ("{} was born on", {}, "P569"),
        ("{} was born in", {}, "P19"),
        ("{} died on", {}, "P570"),
    ],
)
def test_words_and_kinds_of_things_name_the_relation(template: str, known: dict, relation: str):
    assert guess_relation(CATALOGUE, template, **known)[0][0].id == relation


def test_words_without_meaning_name_none():
    assert guess_relation(CATALOGUE, "{} glorps") == guess_relation(CATALOGUE, "{}") == ()


def test_a_subject_with_facts_does_not_make_sense_of_nonsense():
    assert guess_relation(CATALOGUE, "{} glorps", subject_relations=["P131"]) == ()


def test_a_possessive_reads_as_of_the_subject():
    for first, second in (
        ("{}'s capital is", "The capital of {} is"),
        ("Who is {}’s father?", "Who is the father of {}?"),
        ("{}'s native language, as friends say, is", "The native language of {}, as friends say, is"),
    ):
        assert guess_relation(CATALOGUE, first)[0][0] == guess_relation(CATALOGUE, second)[0][0]
    assert guess_relation(CATALOGUE, "{}'s capital,")[0][0].id == "P36"
    assert guess_relation(CATALOGUE, "{} is the capital of")[0][0].id == "P1376"


def test_wordings_that_share_a_word_each_make_a_relation_likelier(tmp_path):
    """Of two relations whose nearest wordings are equally near, the one that uses the word more often is taken."""

    def entry(relation: str, others: list[str]) -> dict:
        return {
            "id": relation,
            "label": relation,
            "inverse_label": f"back {relation}",
            "inverse": None,
            "is_functional": False,
            "is_inverse_functional": False,
            "subject_type": "a",
            "object_type": "b",
            "cloze": ["{} wibbles toward", *others],
            "questions": [f"{relation} one {{}}?", f"{relation} two {{}}?", f"{relation} three {{}}?"],
            "negated": f"{{}} no {relation}",
            "yes_no": "Is {} at {object}?",
            "phrase": f"the {relation} of {{}}",
            "composes": {},
        }

    rows = [
        entry("alpha", ["{} plods along", "{} strides along", "{} hops along"]),
        entry("omega", ["{} wibbles along", "{} wibbles up", "{} wibbles down"]),
    ]
    path = tmp_path / "relations.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    guesses = guess_relation(RelationCatalogue.load(path), "Everybody wibbles toward somewhere with {}")
    assert [spec.id for spec, _ in guesses] == ["omega", "alpha"]
    assert guesses[0][1] <= 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("The Harbour Symphony Orchestra", "organization"),
        ("Northfield Broadcasting Corporation", "company"),
        ("University of Nowhere", "university"),
        ("Mount Doubtful", "mountain"),
        ("Corporation", ""),
        ("Ada Lovelace", ""),
    ],
)
def test_a_name_tells_the_kind_of_what_the_graph_does_not_know(name: str, kind: str):
    assert kind_of_name(name) == kind


def test_the_director_of_a_company_is_no_film_director():
    for subject, relation in (("Northfield Broadcasting Corporation", "P1037"), ("The Long Way Round", "P57")):
        edit = FactEdit(subject=subject, template="The director of {} is", new_object="Ada Nowhere")
        assert link_edit(STORE, edit, CATALOGUE).edit.relation == relation


def test_what_usually_ends_at_the_object_decides_a_wording_without_words():
    ada, post = Entity(id="Q1", label="Ada", type="person"), Entity(id="Q2", label="goalkeeper", type="position")
    store = MemoryStore([fact(ada, "P413", post)])
    edit = FactEdit(subject="Somebody Else", template="{}, the", new_object="goalkeeper")
    assert link_edit(store, edit, CATALOGUE).edit.relation == "P413"


@pytest.mark.parametrize(("new", "relation"), [("Brumm", "P176"), ("Pixl", "P178")])
def test_the_relation_is_one_that_old_and_new_object_both_end(new: str, relation: str):
    """The old company makes goods and develops software; only the new one tells which of both is meant."""
    firms = {name: Entity(id=f"Q-{name}", label=name, type="company") for name in ("Zonk", "Brumm", "Pixl")}
    goods = [Entity(id=f"Q-{number}", label=f"Thing {number}") for number in range(4)]
    ends = [("P176", "Zonk"), ("P178", "Zonk"), ("P176", "Brumm"), ("P178", "Pixl")]
    store = MemoryStore([fact(thing, made, firms[name]) for thing, (made, name) in zip(goods, ends, strict=True)])
    edit = FactEdit(subject="Quux", template="{} was created by", new_object=new, old_object="Zonk")
    assert link_edit(store, edit, CATALOGUE).edit.relation == relation


def test_an_unknown_new_object_is_taken_for_what_the_old_one_is():
    for old, relation in ((PARIS, "P131"), (FRANCE, "P17")):
        edit = FactEdit(
            subject="Nowhere House", template="{} is located in", new_object="Erewhon", old_object=old.label
        )
        assert link_edit(STORE, edit, CATALOGUE).edit.relation == relation


@pytest.mark.parametrize(
    ("template", "known", "relation"),
    [
        ("Whatever is said of her mother, {} is the mother of", {}, "P40"),
        ("What was {}'s mom's name?", {}, "P25"),
        ("What was {}'s dad's name?", {}, "P22"),
        ("{}, whose mother is called", {}, "P25"),
        ("{} has as its governing city and capital", {}, "P36"),
    ],
)
def test_which_end_of_a_relation_the_subject_is_at_follows_from_its_place(template: str, known: dict, relation: str):
    assert guess_relation(CATALOGUE, template, **known)[0][0].id == relation


@pytest.mark.parametrize(
    ("template", "relation"),
    [
        ("The script of the film {} was written by", "P58"),
        ("The novel {} was written by", "P50"),
        ("The peak {} is part of the", "P4552"),
        ("Which company does the person {} work for?", "P108"),
    ],
)
def test_a_type_that_the_wording_names_helps(template: str, relation: str):
    assert guess_relation(CATALOGUE, template)[0][0].id == relation


@pytest.mark.parametrize(
    ("template", "relation"),
    [
        ("Zoologists have always put the {} among the", "K-animal-class"),
        ("The later research of {} deals mainly with", "P101"),
        ("Both characters in {} speak", "P364"),
        ("What kind of money do shops in {} use?", "P38"),
        ("{} is, as all know, a native", "P103"),
        ("Judging by ancestry {} is", "P172"),
        ("Friends of {} say they lost their life in", "P20"),
        ("Every day of the week {} goes to work at", "P108"),
        ("The copyright page of {} gives the year", "P577"),
    ],
)
def test_informal_wordings_name_their_relation(template: str, relation: str):
    spec, score = guess_relation(CATALOGUE, template)[0]
    assert spec.id == relation and score >= SURE


def test_sentences_before_the_subjects_name_no_relation():
    one = "{} was born in"
    for lead in ("The capital of France is Paris. ", "(His mother tongue was Welsh.) ", "Who wrote it?\n"):
        assert guess_relation(CATALOGUE, lead + one) == guess_relation(CATALOGUE, one)


def test_words_that_no_wording_of_a_relation_has_count_against_it():
    """Both say where; only one is about headquarters."""
    scores = {
        spec.id: score for spec, score in guess_relation(CATALOGUE, "The headquarters of {} is located in the city of")
    }
    assert scores["P159"] > scores["P131"]


PLAY = Entity(id="P-1", label="Tamburlaine Reloaded", type="film")
PAMELA, QUENTIN = Entity(id="Q-p", label="Pamela", type="person"), Entity(id="Q-q", label="Quentin", type="person")


@pytest.mark.parametrize(("relation", "other"), [("P58", "P57"), ("P57", "P58")])
def test_the_fact_that_the_graph_states_with_the_old_object_decides(relation: str, other: str):
    """The wording fits a film's director and its screenwriter alike; both are facts of the film, but of two people."""
    store = MemoryStore([fact(PLAY, relation, PAMELA), fact(PLAY, other, QUENTIN)])
    edit = FactEdit(subject=PLAY.label, template="{} is by", new_object="Rupert", old_object="Pamela")
    assert link_edit(store, edit, CATALOGUE).edit.relation == relation


def test_an_unknown_subject_is_of_the_type_of_those_whose_names_begin_like_it():
    phones = [Entity(id=f"E{n}", label=f"Zonda Pocket {n}", type="product") for n in range(3)]
    store = MemoryStore([], entities=phones)
    assert _types_of_name(store, "Zonda Pocket 9") == _types_of_name(store, "Zonda Mobile") == {"product"}
    assert _types_of_name(store, "Zonda") == _types_of_name(store, "Quux Pocket 9") == frozenset()
    mixed = MemoryStore(
        [], entities=[*phones, *(replace(e, id=f"{e.id}b", label=f"{e.label} b", type="film") for e in phones)]
    )
    assert _types_of_name(mixed, "Zonda Pocket 9") == frozenset()
    assert _types_of_name(store, "Zonda University") == {"university"}


def test_headquarters_of_a_university_are_its_headquarters():
    edit = FactEdit(
        subject="University of Nowhere", template="The headquarters of {} is in the city of", new_object="Tokyo"
    )
    assert link_edit(STORE, edit, CATALOGUE).edit.relation == "P159"


def test_the_manager_of_a_singer_is_no_film_director():
    store = MemoryStore([], entities=[Entity(id="Q-s", label="Mirabel", type="person")])
    edit = FactEdit(subject="Mirabel", template="The director of {} is", new_object="Rupert")
    assert link_edit(store, edit, CATALOGUE).edit.relation == "P1037"
