"""The sample graph is what it says it is: checked fact by fact, without the script that wrote it."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from pathlib import Path

import pytest

from kgmet.fact import check_batch, load_edits
from kgmet.graph.relations import RelationCatalogue

FOLDER = Path(__file__).resolve().parent.parent / "sample_data"
CATALOGUE = RelationCatalogue.load()


def table(name: str, header: str) -> list[list[str]]:
    first, *lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    assert first.split("\t") == header.split()
    rows = [line.split("\t") for line in lines]
    assert all(len(row) == len(header.split()) for row in rows)
    return rows


TRIPLES = table("triples.tsv", "subject_id relation_id object_id source")
ENTITIES = {row[0]: row for row in table("entities.tsv", "id label type description aliases article")}
TYPES = {key: row[2] for key, row in ENTITIES.items()}


def by_relation() -> dict[str, dict[str, set[str]]]:
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for subject, relation, object_, _ in TRIPLES:
        found[relation][subject].add(object_)
    return found


OBJECTS = by_relation()


def name(entity_id: str) -> str:
    return f"{ENTITIES[entity_id][1]} ({entity_id})"


def test_it_is_large_enough_and_small_enough():
    assert len(TRIPLES) >= 20_000
    assert len({relation for _, relation, _, _ in TRIPLES}) >= 60
    kinds = defaultdict(int)
    for kind in TYPES.values():
        kinds[kind] += 1
    assert kinds["landmark"] >= 400 and kinds["company"] >= 300 and kinds["person"] >= 400
    assert kinds["element"] == 118 and kinds["country"] >= 193
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 6_000_000


@pytest.mark.parametrize(
    ("kind", "relation", "least"),
    [
        ("landmark", "P131", 400),
        ("landmark", "P17", 400),
        ("landmark", "P31", 400),
        ("company", "P159", 300),
        ("company", "P17", 300),
        ("company", "P112", 250),
        ("company", "P452", 300),
        ("company", "P1056", 300),
        ("person", "P19", 400),
        ("person", "P27", 400),
        ("person", "P103", 400),
        ("person", "P106", 400),
        ("person", "P800", 200),
        ("country", "P36", 190),
        ("country", "P38", 190),
        ("country", "P37", 180),
    ],
)
def test_what_was_asked_for_is_covered(kind, relation, least):
    assert sum(TYPES[subject] == kind for subject in OBJECTS[relation]) >= least


def test_triples_are_distinct_sorted_and_have_no_self_loops():
    keys = [tuple(row[:3]) for row in TRIPLES]
    assert keys == sorted(set(keys))
    assert not [key for key in keys if key[0] == key[2]]


def test_every_end_and_relation_is_known():
    used = {end for subject, _, object_, _ in TRIPLES for end in (subject, object_)}
    assert used == set(ENTITIES)
    assert {relation for _, relation, _, _ in TRIPLES} <= {spec.id for spec in CATALOGUE}


def test_a_relation_of_ours_is_in_use_and_others_have_a_public_id():
    """The catalogue also knows relations of public data sets that the graph has no facts of."""
    unused = [spec.id for spec in CATALOGUE if spec.id not in OBJECTS]
    assert len(unused) < len(list(CATALOGUE)) / 2
    assert [name for name in unused if not re.fullmatch(r"P[1-9]\d*|K-[a-z]+(-[a-z]+)*", name)] == []


def test_ids_are_well_formed_and_literals_say_their_kind():
    for entity_id, (_, label, kind, _, _, _) in ENTITIES.items():
        if entity_id.startswith("lit:"):
            assert entity_id == f"lit:{kind}:{label.replace(' ', '_')}"
        else:
            assert re.fullmatch(r"Q[1-9]\d*|K-[a-z0-9]+(-[a-z0-9]+)*", entity_id), entity_id
    literal_kinds = {kind for key, kind in TYPES.items() if key.startswith("lit:")}
    assert not literal_kinds & {kind for key, kind in TYPES.items() if not key.startswith("lit:")}


def test_labels_can_be_put_into_a_prompt():
    for entity_id, (_, label, kind, description, aliases, article) in ENTITIES.items():
        names = [label, *filter(None, aliases.split("|"))]
        for text in [*names, kind, *filter(None, [description])]:
            assert text and text == text.strip() == unicodedata.normalize("NFC", text), entity_id
            assert not any(unicodedata.category(c).startswith(("C", "Z")) and c != " " for c in text), entity_id
            assert "  " not in text
        assert len(set(names)) == len(names), entity_id
        assert article in {"", "the"}
        assert not label.startswith("the "), f"{entity_id}: the article belongs into its own column"


def test_no_two_things_of_one_kind_look_alike():
    seen = defaultdict(list)
    for entity_id, (_, label, kind, description, _, _) in ENTITIES.items():
        if kind != "city":
            seen[label, kind, description].append(entity_id)
    assert [ids for ids in seen.values() if len(ids) > 1] == []


def test_subjects_and_objects_are_of_the_relation_s_kinds():
    wrong = [
        f"{name(subject)} –{relation}→ {name(object_)}"
        for subject, relation, object_, _ in TRIPLES
        if TYPES[subject] not in CATALOGUE.spec(relation).subject_types
        or TYPES[object_] not in CATALOGUE.spec(relation).object_types
    ]
    assert wrong == []


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.id)
def test_functional_relations_have_one_value(spec):
    if spec.is_functional:
        assert {name(s): objects for s, objects in OBJECTS[spec.id].items() if len(objects) > 1} == {}
    if spec.is_inverse_functional:
        subjects = defaultdict(set)
        for subject, objects in OBJECTS[spec.id].items():
            for object_ in objects:
                subjects[object_].add(subject)
        assert {name(o): found for o, found in subjects.items() if len(found) > 1} == {}


@pytest.mark.parametrize("spec", [s for s in CATALOGUE if s.inverse], ids=lambda spec: spec.id)
def test_inverses_are_both_there(spec):
    missing = [
        f"{name(object_)} –{spec.inverse}→ {name(subject)}"
        for subject, objects in OBJECTS[spec.id].items()
        for object_ in objects
        if subject not in OBJECTS[spec.inverse].get(object_, ())
    ]
    assert missing == []


TRANSCONTINENTAL = {
    key for key, (_, label, *_) in ENTITIES.items() if label in {"Russia", "Turkey", "Egypt", "Indonesia"}
}
"""Countries whose parts lie in another continent than they do."""


@pytest.mark.parametrize("spec", [s for s in CATALOGUE if any(s.composes.values())], ids=lambda spec: spec.id)
def test_two_steps_and_one_step_say_the_same(spec):
    contradictions, agreements = [], 0
    for second, result in spec.composes.items():
        if result is None or not CATALOGUE.spec(result).is_functional:
            continue
        for subject, middles in OBJECTS[spec.id].items():
            by_two = {end for middle in middles for end in OBJECTS[second].get(middle, ())}
            by_one = OBJECTS[result].get(subject, set())
            # Lake Baikal lies in Russia, which lies in Europe; the lake does not.
            if by_two and by_one and not by_one <= by_two and not middles & TRANSCONTINENTAL:
                contradictions.append(f"{name(subject)}: {spec.id}∘{second} ≠ {result}")
            agreements += bool(by_two and by_one)
    assert contradictions == []
    assert agreements > 0


def test_every_source_is_explained():
    text = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `([a-z]+)` \|", text, flags=re.MULTILINE))
    assert {row[3] for row in TRIPLES} == explained


def test_the_stated_counts_are_the_counts():
    text = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    relations = len({relation for _, relation, _, _ in TRIPLES})
    literals = sum(key.startswith("lit:") for key in ENTITIES)
    verified = sum(key.startswith("Q") for key in ENTITIES)
    assert f"{len(TRIPLES):,} facts over {relations} relations" in text
    assert f"{len(ENTITIES):,} entities; {literals:,} are values, {verified:,} carry a verified Wikidata id" in text
    assert f"{len(load_edits(FOLDER / 'edits.json'))} edits" in text


@pytest.mark.parametrize(
    ("subject", "relation", "object_"),
    [
        ("Eiffel Tower", "P131", "Paris"),
        ("Eiffel Tower", "P17", "France"),
        ("Eiffel Tower", "P30", "Europe"),
        ("Colosseum", "P131", "Rome"),
        ("Taj Mahal", "P131", "Agra"),
        ("Japan", "P38", "yen"),
        ("United States", "P36", "Washington, D.C."),
        ("Brazil", "P37", "Portuguese"),
        ("Toyota", "P17", "Japan"),
        ("Albert Einstein", "P19", "Ulm"),
        ("Hamlet", "P50", "William Shakespeare"),
        ("Gold", "P246", "Au"),
        ("lion", "K-young", "cub"),
        ("Seattle", "K-state", "Washington"),
        ("Mount Everest", "P4552", "Himalayas"),
        ("Premier League", "P641", "football"),
    ],
)
def test_facts_that_everyone_knows(subject, relation, object_):
    said = {ENTITIES[o][1] for s, objects in OBJECTS[relation].items() if ENTITIES[s][1] == subject for o in objects}
    assert said == {object_}


def test_well_known_things_carry_their_wikidata_id():
    for entity_id, label in {
        "Q90": "Paris",
        "Q243": "Eiffel Tower",
        "Q142": "France",
        "Q937": "Albert Einstein",
    }.items():
        assert ENTITIES[entity_id][1] == label


def test_example_edits_agree_with_graph_and_catalogue():
    edits = load_edits(FOLDER / "edits.json")
    assert len(edits) >= 24
    assert check_batch(edits) == edits
    assert len({edit.relation for edit in edits}) >= 10
    for edit in edits:
        spec = CATALOGUE.spec(edit.relation or "")
        assert edit.template in spec.cloze
        assert edit.old_object_id in OBJECTS[spec.id][edit.subject_id or ""]
        assert edit.new_object_id not in OBJECTS[spec.id][edit.subject_id or ""]
        assert TYPES[edit.new_object_id or ""] in spec.object_types
        assert ENTITIES[edit.subject_id or ""][1] in edit.subject
        assert ENTITIES[edit.old_object_id or ""][1] == edit.old_object
        assert ENTITIES[edit.new_object_id or ""][1] == edit.new_object
