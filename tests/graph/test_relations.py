"""Laws of the relation catalogue."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from kgmet.base.errors import BrokenArtifactError, ConfigError, UnknownRelationError
from kgmet.graph.relations import MIN_CLOZE, MIN_QUESTIONS, RelationCatalogue

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
        "cloze": ["The capital of {} is", "{} has the capital", "{} is governed from"],
        "questions": ["What is the capital of {}?", "Which city is the capital of {}?"],
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
    assert len(ids) >= 60
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
    assert catalogue.spec("P36").cloze == ("The capital of {} is", "{} has the capital", "{} is governed from")
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
        ({"cloze": ["The capital of {} is"] * 3}, "twice"),
        ({"cloze": ["The capital is", "{} a", "{} b"]}, "exactly one"),
        ({"cloze": ["{} and {}", "{} a", "{} b"]}, "exactly one"),
        ({"cloze": ["{} a ", "{} b", "{} c"]}, "outer blanks"),
        ({"questions": ["What is the capital of {}?"]}, "questions"),
        ({"phrase": "the capital"}, "phrase"),
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
