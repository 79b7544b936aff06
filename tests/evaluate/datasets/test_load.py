"""Every schema is read, every broken record is named, every faulty one has a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kgmet.base.errors import BrokenArtifactError, ConfigError
from kgmet.evaluate.datasets.cases import AskKind
from kgmet.evaluate.datasets.load import OWN_CASES, FaultyRecords, load_dataset
from kgmet.graph.relations import RelationCatalogue
from tests.evaluate.records import counterfact, mquake, written, zsre


def test_counterfact_expects_the_new_object_and_of_neighbours_the_true_one(tmp_path: Path) -> None:
    (case,) = load_dataset("mcf", written(tmp_path / "a.json", [counterfact()])).cases
    (rewrite,) = case.of(AskKind.EFFICACY)
    assert (rewrite.prompt, rewrite.expected, rewrite.rejected) == (
        "The Eiffel Tower is located in the city of",
        "Rome",
        "Paris",
    )
    assert {(ask.expected, ask.rejected) for ask in case.of(AskKind.PARAPHRASE)} == {("Rome", "Paris")}
    assert {(ask.expected, ask.rejected) for ask in case.of(AskKind.NEIGHBORHOOD)} == {("Paris", "Rome")}
    assert case.edits[0].relation == "P131"


def test_our_keys_beside_counterfacts(tmp_path: Path) -> None:
    more = {
        "neighborhood_answers": ["Paris", "Berlin"],
        "consequence_prompts": [{"prompt": "The Eiffel Tower is in", "target_new": "Italy", "target_true": "France"}],
        "triples": [{"subject": "Rome", "relation": "country", "target": "Italy"}],
        "reference_texts": ["The Colosseum is in Rome."],
    }
    (case,) = load_dataset("own", written(tmp_path / "a.json", [counterfact(**more)])).cases
    assert [ask.expected for ask in case.of(AskKind.NEIGHBORHOOD)] == ["Paris", "Berlin"]
    (consequence,) = case.of(AskKind.CONSEQUENCES)
    assert (consequence.expected, consequence.rejected) == ("Italy", "France")
    assert case.triples[0].target == "Italy"
    assert case.references == ("The Colosseum is in Rome.",)


def test_the_compact_schema_is_read_too(tmp_path: Path) -> None:
    row = {
        "case_id": 7,
        "prompt": "Big Ben is located in the city of",
        "subject": "Big Ben",
        "target_new": "Rome",
        "ground_truth": "London",
        "rephrase_prompt": "The city of Big Ben is",
        "locality_prompt": "Tower Bridge is in",
        "locality_ground_truth": "London",
    }
    (case,) = load_dataset("cf", written(tmp_path / "a.json", [row])).cases
    assert case.edits[0].template == "{} is located in the city of"
    assert [ask.kind for ask in case.asks] == [AskKind.EFFICACY, AskKind.PARAPHRASE, AskKind.NEIGHBORHOOD]


def test_zsre_asks_questions(tmp_path: Path) -> None:
    (case,) = load_dataset("zsre", written(tmp_path / "a.json", [zsre()])).cases
    assert all(ask.is_question for ask in case.asks)
    assert [(ask.kind.value, ask.expected) for ask in case.asks] == [
        ("efficacy", "Rome"),
        ("paraphrase", "Rome"),
        ("portability", "Italy"),
        ("locality", "Thames"),
    ]


def test_zsre_as_mend_has_it(tmp_path: Path) -> None:
    row = {
        "subject": "Big Ben",
        "src": "Which city is Big Ben in?",
        "rephrase": "Where is Big Ben?",
        "alt": "Rome",
        "answers": ["London"],
        "loc": "nq question: who built the tower",
        "loc_ans": "Barry",
    }
    (case,) = load_dataset("zsre", written(tmp_path / "a.json", [row])).cases
    assert case.of(AskKind.LOCALITY)[0].prompt == "who built the tower?"
    assert case.edits[0].old_object == "London"


def test_mquake_has_links_and_whole_chains(tmp_path: Path) -> None:
    (case,) = load_dataset("mquake", written(tmp_path / "a.json", [mquake()])).cases
    assert case.n_hop == 2
    assert [(ask.hop, ask.expected, ask.aliases) for ask in case.of(AskKind.HOP)] == [
        (1, "Rome", ()),
        (2, "Italy", ("Italia",)),
    ]
    assert {ask.aliases for ask in case.of(AskKind.MULTI_HOP)} == {("Italia",)}


def _chain_ends_elsewhere() -> dict[str, object]:
    row = mquake()
    row["new_answer"], row["new_answer_alias"] = "Spain", []
    return row


def _edits_one_fact_twice() -> dict[str, object]:
    row = mquake()
    other = json.loads(json.dumps(row["requested_rewrite"][0]))
    other["target_new"]["str"] = "Berlin"
    row["requested_rewrite"].append(other)
    return row


def _edit_is_not_in_the_chain() -> dict[str, object]:
    row = mquake()
    row["requested_rewrite"][0]["subject"] = "Tower Bridge"
    return row


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_chain_ends_elsewhere, "chain ends in 'Italy', its answer is 'Spain'"),
        (_edits_one_fact_twice, "to both 'rome' and 'Berlin'"),
        (_edit_is_not_in_the_chain, "which its chain does not use"),
    ],
)
def test_faulty_mquake_records_are_left_out_with_a_reason_unless_kept(make, reason: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    faulty = make() | {"case_id": 2}
    path = written(tmp_path / "a.json", [mquake(), faulty])
    dataset = load_dataset("mquake", path)
    assert [case.case_id for case in dataset.cases] == ["1"]
    assert reason in dataset.left_out[0].reason
    kept = load_dataset("mquake", path, faulty=FaultyRecords(dropped=False))
    assert [case.case_id for case in kept.cases] == ["1", "2"]
    assert kept.left_out == dataset.left_out


def test_a_chain_that_rests_on_what_another_record_edits_is_a_fault(tmp_path: Path) -> None:
    other = json.loads(json.dumps(mquake(2)))
    other["requested_rewrite"] = [
        {
            "prompt": "{} is in the country of",
            "relation_id": "P17",
            "target_new": {"str": "Spain"},
            "target_true": {"str": "Italy"},
            "subject": "Rome",
        }
    ]
    other["new_answer"], other["new_answer_alias"] = "Spain", []
    other["new_single_hops"][1]["answer"] = "Spain"
    other["orig"]["new_triples_labeled"] = [["Big Ben", "city", "Rome"], ["Rome", "country", "Spain"]]
    dataset = load_dataset("mquake", written(tmp_path / "a.json", [mquake(), other]))
    (fault,) = dataset.left_out
    assert fault.number == 2
    assert "an earlier record needs 'italy'" in fault.reason
    alone = load_dataset("mquake", tmp_path / "a.json", faulty=FaultyRecords(together=False))
    assert len(alone.cases) == 2
    assert not alone.left_out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"paraphrase_prompts": "one"}, ["record 2", "'paraphrase_prompts'", "a list of texts"]),
        ({"requested_rewrite": {"prompt": "{} is"}}, ["record 2", "requested_rewrite", "'target_new'"]),
        ({"consequence_prompts": [{"prompt": "x"}]}, ["record 2", "consequence_prompts 1", "'target_new'"]),
        ({"neighborhood_answers": ["Paris"]}, ["record 2", "2 neighborhood_prompts and 1"]),
    ],
)
def test_a_broken_record_is_named(change: dict[str, object], words: list[str], tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [counterfact(0), counterfact(1) | change])
    with pytest.raises(BrokenArtifactError) as caught:
        load_dataset("mcf", path)
    for word in words:
        assert word in str(caught.value)


def test_two_records_of_one_number_are_two_cases(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [counterfact(0), counterfact(1) | {"case_id": 0}])
    assert [case.case_id for case in load_dataset("mcf", path).cases] == ["0", "0#2"]


def test_a_fact_that_cannot_be_edited_is_left_out_and_listed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [zsre(), zsre(subject="Tower Bridge")])
    dataset = load_dataset("zsre", path)
    assert len(dataset.cases) == 1
    assert dataset.left_out[0].number == 2
    assert "Tower Bridge" in dataset.left_out[0].reason


def test_a_graph_beside_the_data_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "facts_dev.json", [counterfact(0), counterfact(1)])
    triples = [{"subject": "Berlin", "relation": "country", "target": "Germany"}]
    written(tmp_path / "facts_graph_dev.json", [{"case_id": 1, "triples": triples}])
    cases = load_dataset("mcf", path).cases
    assert cases[0].triples == ()
    assert cases[1].triples[0].target == "Germany"


def test_snippets_become_references(tmp_path: Path) -> None:
    row = counterfact(0)
    row["requested_rewrite"]["target_new"]["id"] = "Q220"
    snippets = [{"relation_id": "P131", "target_id": "Q220", "samples": [{"text": "Rome is old.", "name": "x"}]}]
    path = written(tmp_path / "a.json", [row])
    (case,) = load_dataset("mcf", path, references_path=written(tmp_path / "s.json", snippets)).cases
    assert case.references == ("Rome is old.",)


def test_a_neighbour_that_another_case_edits_is_not_asked_where_all_are_in_the_model_together(tmp_path: Path) -> None:
    first = counterfact(0) | {"neighborhood_prompts": ["The Louvre stands in", "Both BIG BEN and the Louvre stand in"]}
    second = counterfact(1) | {"neighborhood_prompts": ["The Eiffel Tower stands in", "The Eiffel Towers stand in"]}
    records = [first, second]
    path = written(tmp_path / "a.json", records)
    together = load_dataset("cf", path).cases
    assert [[ask.prompt for ask in case.of(AskKind.NEIGHBORHOOD)] for case in together] == [
        ["The Louvre stands in"],
        ["The Eiffel Towers stand in"],
    ]
    alone = load_dataset("cf", path, faulty=FaultyRecords(together=False)).cases
    assert [len(case.of(AskKind.NEIGHBORHOOD)) for case in alone] == [2, 2]
    assert [case.of(AskKind.EFFICACY) for case in together] == [case.of(AskKind.EFFICACY) for case in alone]


def test_the_limit_counts_records(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [counterfact(n) for n in range(5)])
    assert len(load_dataset("mcf", path, limit=3).cases) == 3
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        load_dataset("mcf", path, limit=0)


@pytest.mark.parametrize(("name", "words"), [("squad", "there are cf, mcf"), ("zsre", "--ds_path")])
def test_what_is_not_there_says_what_is(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_dataset(name)


def test_the_fingerprint_changes_with_a_text_and_not_with_the_file(tmp_path: Path) -> None:
    one = load_dataset("mcf", written(tmp_path / "a.json", [counterfact()])).fingerprint
    assert load_dataset("mcf", written(tmp_path / "b.json", [counterfact()])).fingerprint == one
    other = counterfact(paraphrase_prompts=["Once more. The Eiffel Tower is in"])
    assert load_dataset("mcf", written(tmp_path / "c.json", [other])).fingerprint != one


def test_the_cases_that_come_with_the_program() -> None:
    dataset = load_dataset("own", faulty=FaultyRecords(together=False))
    assert dataset.path == OWN_CASES
    assert not dataset.left_out
    assert len(dataset.cases) >= 300
    assert sum(bool(case.of(AskKind.CONSEQUENCES)) for case in dataset.cases) >= 150
    for case in dataset.cases:
        assert len(case.of(AskKind.PARAPHRASE)) == 2
        assert len(case.of(AskKind.NEIGHBORHOOD)) == 10
        assert case.triples
        assert all(ask.expected != ask.rejected for ask in case.asks)


def test_none_of_their_wordings_is_one_the_search_could_see() -> None:
    path = Path(__file__).parents[3] / "scripts" / "facts" / "case_wordings.json"
    seen = {" ".join(text.casefold().split()) for spec in RelationCatalogue.load() for text in spec.cloze}
    for relation, words in json.loads(path.read_text(encoding="utf-8")).items():
        asked = [words["prompt"], *words["paraphrases"], *words["neighbours"]]
        asked += [text for texts in words["consequences"].values() for text in texts]
        for text in asked:
            assert text.count("{}") == 1, (relation, text)
            assert " ".join(text.casefold().split()) not in seen, (relation, text)
