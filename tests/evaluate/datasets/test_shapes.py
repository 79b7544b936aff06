"""Data as people have it: filled prompts, JSON lines, marks, nulls, repetitions, contradictions, other shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kgmet.base.errors import BrokenArtifactError
from kgmet.evaluate.datasets.cases import AskKind
from kgmet.evaluate.datasets.load import FaultyRecords, load_dataset
from tests.evaluate.records import mquake, zsre


def record(**changed: Any) -> dict[str, Any]:
    rewrite = {
        "prompt": "The mother tongue of {} is",
        "subject": "Ada Lark",
        "relation_id": "P103",
        "target_new": {"str": "English"},
        "target_true": {"str": "French"},
    }
    row = {"requested_rewrite": rewrite | changed.pop("rewrite", {}), "paraphrase_prompts": ["Ada Lark speaks"]}
    return row | changed


def mend(**changed: Any) -> dict[str, Any]:
    row = {"subject": "Ada Lark", "src": "Where was Ada Lark born?", "rephrase": "Ada Lark's birthplace?"}
    return row | {"alt": "Rome", "answers": ["Oslo"], "loc": "nq question: who won", "loc_ans": "Bo"} | changed


def written(tmp_path: Path, rows: list[Any], name: str = "data.json", mark: bytes = b"") -> Path:
    path = tmp_path / name
    text = (
        "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n" if "jsonl" in name else json.dumps(rows)
    )
    path.write_bytes(mark + text.encode())
    return path


def test_a_subject_that_is_filled_in_already_is_taken_out_again(tmp_path: Path) -> None:
    path = written(tmp_path, [record(rewrite={"prompt": "The mother tongue of Ada Lark is"})])
    assert load_dataset("cf", path).cases[0].edits[0].template == "The mother tongue of {} is"


def test_a_file_without_a_usable_case_says_why(tmp_path: Path) -> None:
    path = written(tmp_path, [record(rewrite={"prompt": "The mother tongue of Bo is"})])
    with pytest.raises(BrokenArtifactError, match=r"no case.*record 1.*'Ada Lark'"):
        load_dataset("cf", path)


def test_json_lines_with_blank_lines_line_separators_and_a_mark(tmp_path: Path) -> None:
    rows = [record(reference_texts=["one\u2028two"]), record(case_id=7)]
    for name in ("data.jsonl", "named_jsonl.json"):
        found = load_dataset("cf", written(tmp_path, rows, name, mark=b"\xef\xbb\xbf"))
        assert [case.case_id for case in found.cases] == ["1", "7"]
        assert found.cases[0].references == ("one\u2028two",)


def test_an_empty_list_and_another_value_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BrokenArtifactError, match="the list is empty"):
        load_dataset("cf", written(tmp_path, []))
    path = tmp_path / "object.json"
    path.write_text('{"cases": []}')
    with pytest.raises(BrokenArtifactError, match="must hold a JSON list of records, got dict"):
        load_dataset("cf", path)
    for wrapped, advice in (
        ({"data": [record()]}, "Give the list under 'data' alone"),
        ({"1": record()}, "Give its values as a list"),
        (record(), r"Put \[ and \] around them"),
    ):
        path.write_text(json.dumps(wrapped))
        with pytest.raises(BrokenArtifactError, match=advice):
            load_dataset("cf", path)
    path.write_text(" \n")
    with pytest.raises(BrokenArtifactError, match=r"object\.json is empty\. Give a JSON list"):
        load_dataset("cf", path)


def test_a_record_of_another_schema_is_told_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(BrokenArtifactError, match=r"lacks 'requested_rewrite', and 'target_new' too.*--ds_name zsre"):
        load_dataset("cf", written(tmp_path, [{"src": "Where is Big Ben?", "alt": "Rome"}]))


@pytest.mark.parametrize(
    ("name", "row", "other"),
    [
        ("mcf", zsre(), "zsre"),
        ("own", zsre(ground_truth="London"), None),
        ("own", mquake(), "mquake"),
        ("zsre", mquake(), "mquake"),
        ("mquake", record(), "mcf"),
        ("zsre", record(), "mcf"),
        ("mquake", mend(), "zsre"),
        ("zsre", {"prompt": "Where?"}, None),
    ],
)
def test_a_record_of_another_data_set_is_told_its_name(
    name: str, row: dict[str, Any], other: str | None, tmp_path: Path
) -> None:
    path = written(tmp_path, [row])
    if other is None and name == "own":
        assert load_dataset(name, path).cases, "the compact schema; its groups are not asked"
        return
    with pytest.raises(BrokenArtifactError) as caught:
        load_dataset(name, path)
    assert (f"looks like one of --ds_name {other}." in str(caught.value)) == (other is not None)


def test_null_and_blank_names_of_an_answer_are_left_out(tmp_path: Path) -> None:
    row = mquake(new_answer_alias=[None, "Roma", " "])
    for hop in row["new_single_hops"]:
        hop["answer_alias"] = [None, *hop["answer_alias"]]
    case = load_dataset("mquake", written(tmp_path, [row])).cases[0]
    assert {ask.aliases for ask in case.of(AskKind.MULTI_HOP)} == {("Roma",)}
    assert all(None not in ask.aliases for ask in case.asks)
    for wrong in ([3], "Roma"):
        with pytest.raises(BrokenArtifactError, match="'new_answer_alias' must be a list of texts"):
            load_dataset("mquake", written(tmp_path, [mquake(new_answer_alias=wrong)]))


def test_a_question_that_must_stay_is_read_beside_a_question(tmp_path: Path) -> None:
    row = {
        "prompt": "What is Ada Lark?",
        "subject": "Ada Lark",
        "target_new": "a bird",
        "rephrase_prompt": "Who is she?",
    }
    row |= {"locality_prompt": "What is Bo?", "locality_ground_truth": "a cat"}
    (ask,) = load_dataset("zsre", written(tmp_path, [row])).cases[0].of(AskKind.LOCALITY)
    assert (ask.prompt, ask.expected, ask.is_question) == ("What is Bo?", "a cat", True)
    with pytest.raises(BrokenArtifactError, match="'locality_ground_truth' must be text"):
        load_dataset("zsre", written(tmp_path, [row | {"locality_ground_truth": None}]))


def test_a_broken_line_is_named_once_and_null_is_said(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": 1}\n{"x":\n')
    with pytest.raises(BrokenArtifactError, match=r"data\.jsonl, line 2: not JSON"):
        load_dataset("cf", path)
    with pytest.raises(BrokenArtifactError, match="record 1, requested_rewrite: 'prompt' must be text, got null"):
        load_dataset("cf", written(tmp_path, [record(rewrite={"prompt": None})]))


def test_null_lists_count_as_empty_and_wrong_ones_are_named_with_their_key(tmp_path: Path) -> None:
    assert load_dataset("cf", written(tmp_path, [record(neighborhood_prompts=None)])).cases
    with pytest.raises(BrokenArtifactError, match="record 1: 'neighborhood_prompts' must be a list of texts, got '3'"):
        load_dataset("cf", written(tmp_path, [record(neighborhood_prompts=3)]))
    with pytest.raises(BrokenArtifactError, match="record 1: 'answers' must be text or a list of texts"):
        load_dataset("zsre", written(tmp_path, [mend(answers=[3])]))
    with pytest.raises(BrokenArtifactError, match="'case_id' must be text or a whole number"):
        load_dataset("cf", written(tmp_path, [record(case_id=[1])]))


def test_knowedits_groups_are_read_as_portability_in_mends_shape_too(tmp_path: Path) -> None:
    groups = {"Reasoning": [{"prompt": "Which country is it in?", "ground_truth": "Italy"}]}
    case = load_dataset("zsre", written(tmp_path, [mend(portability=groups)])).cases[0]
    assert [(ask.prompt, ask.expected) for ask in case.of(AskKind.PORTABILITY)] == [
        ("Which country is it in?", "Italy")
    ]


def test_a_question_that_is_repeated_counts_once(tmp_path: Path) -> None:
    path = written(tmp_path, [record(paraphrase_prompts=["Ada Lark speaks"] * 3)])
    assert len(load_dataset("cf", path).cases[0].of(AskKind.PARAPHRASE)) == 1


def test_the_portability_of_mends_shape_is_kept(tmp_path: Path) -> None:
    follows = {
        "Recalled Relation": "(Rome, country, Italy)",
        "New Question": "In which country?",
        "New Answer": "Italy",
    }
    case = load_dataset("zsre", written(tmp_path, [mend(portability=follows)])).cases[0]
    assert [(ask.prompt, ask.expected) for ask in case.of(AskKind.PORTABILITY)] == [("In which country?", "Italy")]


@pytest.mark.parametrize(
    "group",
    [
        [{"prompt": "p", "ground_truth": [["a", "b"]]}, {"prompt": "q", "ground_truth": "c"}],
        {"prompt": ["p", "q"], "ground_truth": [["a", "b"], "c"]},
    ],
)
def test_nested_groups_of_knowedit_are_read_in_both_shapes(group: Any, tmp_path: Path) -> None:
    row = {"subject": "Ada Lark", "prompt": "Where is Ada Lark?", "target_new": "Rome", "locality": {"Other": group}}
    asks = load_dataset("zsre", written(tmp_path, [row])).cases[0].of(AskKind.LOCALITY)
    assert [(ask.prompt, ask.expected, ask.aliases) for ask in asks] == [("p", "a", ("b",)), ("q", "c", ())]


def test_contradictions_in_sequence_are_noted_and_alone_they_are_none(tmp_path: Path) -> None:
    path = written(tmp_path, [record(), record(rewrite={"target_new": {"str": "Latin"}})])
    (note,) = load_dataset("cf", path).notes
    assert note.number == 2
    assert "to 'Latin'; record 1 changes it to 'English'" in note.reason
    assert not load_dataset("cf", path, faulty=FaultyRecords(together=False)).notes
