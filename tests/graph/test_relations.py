"""Properties of the relation catalogue."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from kgmet.base.errors import BrokenArtifactError, ConfigError, UnknownRelationError
from kgmet.graph.relations import MIN_CLOZE, MIN_QUESTIONS, RelationCatalogue, spelled

CATALOGUE = RelationCatalogue.load()


def entry(**changes: Any) -> dict[str, Any]:
    """A right entry, changed."""
    row: dict[str, Any] = {
        "id": "P36",
        "label": "capital",
        "inverse_label": "capital of",
        "inverse": None,
        "is_functional": True,
        "is_inverse_functional": True,
        "subject_type": "country",
        "object_type": "city",
        "cloze": ["The capital of {} is", "{} has the capital", "{} is governed from", "The seat of power of {} is"],
        "questions": ["What is the capital of {}?", "Which city is the capital of {}?", "From where is {} governed?"],
        "negated": "The capital of {} is not",
        "yes_no": "Is {object} the capital of {}?",
        "phrase": "the capital of {}",
        "composes": {},
    }
    return {**row, **changes}


def load(tmp_path, *rows: Any) -> RelationCatalogue:
    path = tmp_path / "relations.json"
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return RelationCatalogue.load(path)


def test_the_bundled_catalogue_is_wide_and_in_order():
    ids = [spec.id for spec in CATALOGUE]
    assert len(ids) >= 170
    assert ids == sorted(set(ids))
    core = {"P17", "P19", "P27", "P30", "P36", "P37", "P38", "P50", "P131", "P159"}
    assert core <= set(ids)


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.id)
def test_every_relation_has_words_to_edit_and_to_probe_with(spec):
    assert len(spec.cloze) >= MIN_CLOZE
    assert len(spec.questions) >= MIN_QUESTIONS
    assert all(question.endswith("?") for question in spec.questions)
    assert not any(template.endswith((".", "?", "!", "}")) for template in spec.cloze)
    openings = ("{}", "The {}", "A {}")  # of animals and shapes the name is used without being one
    subject_first = [template for template in spec.cloze if template.startswith(openings)]
    assert len(subject_first) >= 2, "an edit is optimised on prompts that start with their subject"
    assert len(spec.cloze) - len(subject_first) >= 2, "and probed on some that do not"
    assert "{}" in spec.phrase and spec.phrase[0].islower()


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.id)
def test_every_relation_can_be_denied_and_asked_with_yes_or_no(spec):
    assert "not" in spec.negated.split() and spec.negated not in spec.cloze
    assert spec.yes_no.endswith("?") and spec.yes_no.count("{}") == spec.yes_no.count("{object}") == 1


def test_no_two_relations_share_a_name():
    owners: dict[str, set[str]] = {}
    for spec in CATALOGUE:
        for name in (spec.label, *spec.names):
            owners.setdefault(spelled(name), set()).add(spec.id)
    assert {name: ids for name, ids in owners.items() if len(ids) > 1} == {}


@pytest.mark.parametrize(
    ("name", "relation"),
    [
        ("P36", "P36"),
        ("wdt:P36", "P36"),
        ("http://www.wikidata.org/prop/direct/P36", "P36"),
        ("Country of citizenship", "P27"),
        ("place_of_birth", "P19"),
        ("dbo:placeOfBirth", "P19"),
        ("languages spoken, written or signed", "P1412"),
        ("located in the administrative territorial entity", "P131"),
        ("twinned administrative body", "P190"),
        ("country capital city", "P36"),
        ("company hq", "P159"),
        ("person native language", "P103"),
        ("superhero archnemesis", "K-archenemy"),
        ("director / manager", "P1037"),
        ("iucn conservation status", "P141"),
        ("city_country", "P17"),
    ],
)
def test_a_relation_goes_by_its_public_names(name, relation):
    found = CATALOGUE.named(name)
    assert found is not None and found.id == relation


def test_sides_of_a_shape_are_not_wikidata_s_victims_of_a_killer():
    assert CATALOGUE.named("P1345") is None
    assert CATALOGUE.named("number of sides").id == "K-sides"


def test_a_name_of_nothing_names_nothing():
    assert CATALOGUE.named("glorp") is None and CATALOGUE.named("") is None


def test_relations_of_one_family_say_the_same_of_other_kinds_of_thing():
    assert {spec.id for spec in CATALOGUE.family_of("P17")} == {"P131", "K-lies-in", "K-state", "P276"}
    assert CATALOGUE.family_of("P36") == CATALOGUE.family_of("nothing") == ()


# Public lists of relations: those of CounterFact and MQuAKE, the most frequent of zsRE, and LRE's factual ones.
_PUBLIC = (
    "P6 P17 P19 P20 P26 P27 P30 P35 P36 P37 P39 P40 P50 P69 P101 P103 P106 P108 P112 P127 P131 P136 P138 P140 P159 "
    "P169 P170 P175 P176 P178 P190 P264 P276 P286 P364 P407 P413 P449 P463 P488 P495 P641 P740 P800 P937 P1037 P1303 "
    "P1308 P1412 P22 P25 P53 P54 P57 P58 P59 P61 P65 P84 P86 P118 P123 P141 P162 P166 P171 P179 P241 P272 P275 P289 "
    "P376 P412 P509 P551 P569 P570 P571 P575 P576 P577 P607 P674 P703 P729 P1080 P3373 K-archenemy K-election-year "
    "K-evolves-into K-largest-city K-lead-singer K-real-name"
)


@pytest.mark.parametrize("relation", _PUBLIC.split())
def test_the_relations_of_public_data_sets_are_there_with_all_their_wordings(relation):
    assert relation in CATALOGUE
    spec = CATALOGUE.spec(relation)
    assert len(set(spec.cloze)) >= 4 and len(set(spec.questions)) >= 3
    assert "not" in spec.negated.split() and spec.negated.count("{}") == 1
    assert spec.yes_no.endswith("?") and "{}" in spec.yes_no and "{object}" in spec.yes_no


def test_composition_is_looked_up_and_unknown_pairs_compose_to_nothing():
    assert CATALOGUE.compose("P131", "P17") == "P17"
    assert CATALOGUE.compose("P131", "P30") == "P30"
    assert CATALOGUE.compose("P19", "P17") is None
    assert "P17" in CATALOGUE.spec("P19").composes
    assert CATALOGUE.compose("P36", "no such relation") is None
    assert CATALOGUE.compose("no such relation", "P36") is None


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.id)
def test_types_let_compositions_happen(spec):
    for second, result in spec.composes.items():
        onward = CATALOGUE.spec(second)
        assert spec.object_types & onward.subject_types, f"no object of {spec.id} is a subject of {second}"
        if result is not None:
            assert onward.object_types & CATALOGUE.spec(result).object_types
            assert spec.subject_types & CATALOGUE.spec(result).subject_types


def test_inverses_are_mutual():
    pairs = [(spec, CATALOGUE.spec(spec.inverse)) for spec in CATALOGUE if spec.inverse]
    assert pairs
    for spec, back in pairs:
        assert back.inverse == spec.id
        assert back.subject_types == spec.object_types
        assert back.object_types == spec.subject_types


def test_an_unknown_relation_is_named():
    assert "P0" not in CATALOGUE
    with pytest.raises(UnknownRelationError, match="'P0'"):
        CATALOGUE.spec("P0")


def test_a_file_of_one_s_own_reads_back_what_it_says(tmp_path):
    catalogue = load(tmp_path, entry())
    assert catalogue.spec("P36").cloze == tuple(entry()["cloze"])
    assert "P36" in catalogue and len(catalogue) == 1


def test_the_fingerprint_follows_the_words_and_not_the_order_of_the_file(tmp_path):
    one, two = entry(), entry(id="P1", label="other")
    there = load(tmp_path, one, two).fingerprint
    back = load(tmp_path, two, one).fingerprint
    reworded = load(tmp_path, entry(phrase="the seat of {}"), two).fingerprint
    assert there == back != reworded


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cloze": ["The capital of {} is"]}, "cloze"),
        ({"cloze": ["The capital of {} is"] * 4}, "twice"),
        ({"cloze": ["The capital is", "{} a", "{} b", "{} c"]}, "exactly one"),
        ({"cloze": ["{} and {}", "{} a", "{} b", "{} c"]}, "exactly one"),
        ({"cloze": ["{} a ", "{} b", "{} c", "{} d"]}, "outer blanks"),
        ({"questions": ["What is the capital of {}?"]}, "questions"),
        ({"phrase": "the capital"}, "phrase"),
        ({"negated": "It is not"}, "negated"),
        ({"yes_no": "Is it the capital of {}?"}, "yes_no"),
        ({"names": "seat"}, "names"),
        ({"family": 3}, "family"),
        ({"is_functional": 1}, "is_functional"),
        ({"label": ""}, "label"),
        ({"composes": ["P17"]}, "composes"),
        ({"composes": {"P17": "P17"}}, "'P17'"),
        ({"inverse": "P1376"}, "'P1376'"),
        ({"inverse": 1376}, "inverse"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(tmp_path, changes, said):
    with pytest.raises(ConfigError, match="P36") as caught:
        load(tmp_path, entry(**changes))
    assert said in str(caught.value)


def test_a_missing_field_and_a_second_entry_are_refused(tmp_path):
    row = entry()
    del row["phrase"]
    with pytest.raises(ConfigError, match="lacks the field 'phrase'"):
        load(tmp_path, row)
    with pytest.raises(ConfigError, match="two entries"):
        load(tmp_path, entry(), entry())


def test_one_sided_inverses_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="Make them agree"):
        load(tmp_path, entry(inverse="P1376"), entry(id="P1376"))
    with pytest.raises(ConfigError, match="which side"):
        load(tmp_path, entry(inverse="P1376", is_functional=False), entry(id="P1376", inverse="P36"))


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not json", "\udcff"])
def test_what_is_no_catalogue_is_refused(tmp_path, text):
    path = tmp_path / "relations.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BrokenArtifactError, match=r"relations\.json"):
        RelationCatalogue.load(path)


def test_the_bundled_file_lists_its_relations_in_order():
    rows = json.loads((files("kgmet.graph") / "relations.json").read_text(encoding="utf-8"))
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
