from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from kgmet.base.errors import BrokenArtifactError, ConfigError
from kgmet.fact import FactEdit
from kgmet.graph.phrasing import N_PROBE_WORDINGS, as_typed, fill, nest, noun_phrases, split_templates, word_chain
from kgmet.graph.reading.consequences import ConsequenceConfig, find_consequences
from kgmet.graph.reading.probe_prompts import (
    PROMPT_KINDS,
    GeneratedPrompt,
    QuestionConfig,
    generate_probes,
    paraphrases,
)
from kgmet.graph.triple import Entity
from tests.graph.small_world import CATALOGUE, edit, fact, thing, world

TO_TOKYO = edit("Eiffel Tower", "P131", "Tokyo", typed="The Eiffel Tower")


def probes(what: FactEdit = TO_TOKYO, store: Any = None, **config: int) -> tuple[GeneratedPrompt, ...]:
    store = world() if store is None else store
    consequences = find_consequences(store, CATALOGUE, what, config=ConsequenceConfig())
    return generate_probes(store, CATALOGUE, what, consequences, config=QuestionConfig(**config))


def of(kind: str, found: tuple[GeneratedPrompt, ...]) -> list[GeneratedPrompt]:
    return [probe for probe in found if probe.kind == kind]


def test_an_edit_gets_probes_of_every_kind_that_applies_in_order() -> None:
    kinds = [probe.kind for probe in (*probes(), *probes(edit("Spain", "P36", "Barcelona")))]
    assert set(kinds) == set(PROMPT_KINDS)
    found = [probe.kind for probe in probes()]
    assert found == sorted(found, key=PROMPT_KINDS.index)


def test_every_text_is_complete_and_holds_its_subject() -> None:
    for what in (TO_TOKYO, edit("Spain", "P36", "Barcelona"), edit("Berlin", "P17", "Japan")):
        for probe in probes(what):
            assert "{}" not in probe.text
            assert probe.text == probe.template.replace("{}", probe.subject)
            assert probe.expected
            assert probe.expected != probe.rejected
            assert not {probe.expected, *probe.aliases} & {probe.rejected, *probe.rejected_aliases}
            assert probe.text.endswith("?") == (probe.form == "question")


def test_the_rewrite_is_the_edits_own_prompt_and_no_paraphrase_repeats_it() -> None:
    found = probes()
    (rewrite,) = of("rewrite", found)
    assert (rewrite.text, rewrite.expected, rewrite.rejected) == (TO_TOKYO.prompt, "Tokyo", "Paris")
    others = of("paraphrase", found)
    assert len(others) == 2
    assert TO_TOKYO.prompt not in [probe.text for probe in others]
    assert {(probe.expected, probe.rejected) for probe in others} == {("Tokyo", "Paris")}


def test_no_probe_is_worded_like_anything_the_search_may_use() -> None:
    consequences = find_consequences(world(), CATALOGUE, TO_TOKYO, config=ConsequenceConfig())
    searched = {
        item.text(text)
        for item in (*consequences.changed, *consequences.kept)
        for text in split_templates(item.templates, N_PROBE_WORDINGS)[0]
    }
    searched |= set(split_templates(paraphrases(CATALOGUE, TO_TOKYO), N_PROBE_WORDINGS)[0])
    assert searched
    assert not searched & {probe.text for probe in probes() if probe.kind != "rewrite"}


def test_consequences_expect_the_new_end_and_reject_the_old() -> None:
    ends = {(probe.expected, probe.rejected) for probe in of("consequence", probes())}
    assert ends == {
        ("Japan", "France"), ("Asia", "Europe"), ("Japanese", "French"), ("yen", "euro"), ("Tokyo", "Paris")
    }  # fmt: skip


def test_multi_hop_questions_count_their_hops_and_show_their_path() -> None:
    questions = of("multi_hop", probes())
    assert {probe.hops for probe in questions} == {2, 3}
    for probe in questions:
        assert len(probe.path) == probe.hops
        assert probe.path[-1].object.label == probe.expected
    assert "What is the currency of the country of the city of the Eiffel Tower?" in {p.text for p in questions}


def test_later_hops_do_not_name_the_edited_subject() -> None:
    found = of("later_hop", probes(edit("Spain", "P36", "Barcelona")))
    assert {probe.form for probe in found} == {"cloze", "question"}
    assert not any("Spain" in probe.text for probe in found)
    assert {(probe.expected, probe.rejected) for probe in found} == {("Barcelona", "Madrid")}


def test_neighbours_expect_the_truth_and_reject_the_new_object_each_subject_once() -> None:
    found = of("neighbour", probes())
    assert {probe.rejected for probe in found} == {"Tokyo"}
    assert max(Counter(probe.subject for probe in found).values()) == 1
    assert ("Reichstag", "Berlin") in {(probe.path[0].subject.label, probe.expected) for probe in found}
    assert len({probe.template for probe in found}) == 2


def test_no_neighbour_is_both_protected_and_probed() -> None:
    consequences = find_consequences(world(), CATALOGUE, TO_TOKYO, config=ConsequenceConfig())
    protected = {item.id for item in consequences.protected_neighbours}
    probed = {probe.source_id for probe in of("neighbour", probes())}
    assert protected
    assert probed
    assert not protected & probed


def test_controls_are_facts_the_edit_leaves_alone() -> None:
    (control,) = of("control", probes())
    assert (control.path[0].relation.id, control.expected) == ("P84", "Stephen Sauvestre")
    assert not any(probe.expected == "France" for probe in of("control", probes()))
    told = world(fact("Berlin Hall", "P131", "Berlin"), fact("Berlin Hall", "P17", "Germany"))
    asked = of("control", probes(edit("Berlin Hall", "P84", "Joan Miro"), told))
    assert [probe.expected for probe in asked] == ["Germany"]


def test_further_right_answers_are_aliases_and_never_rejected() -> None:
    store = world(fact("Japan", "P37", "Ainu"))
    language = [probe for probe in of("consequence", probes(store=store)) if "language" in probe.text]
    assert all({"Ainu", "Japanese"} <= {probe.expected, *probe.aliases} for probe in language)
    currency = [probe for probe in of("consequence", probes()) if probe.expected == "yen"]
    assert all("the yen" in probe.aliases for probe in currency)


def test_an_edit_without_a_graph_still_has_its_own_prompt() -> None:
    alone = probes(FactEdit(subject="A", template="{} loves", new_object="B", old_object="C"))
    assert [(probe.kind, probe.text, probe.expected, probe.rejected) for probe in alone] == [
        ("rewrite", "A loves", "B", "C")
    ]


def test_labels_with_braces_stay_as_they_are() -> None:
    odd = edit("Set {}", "P131", "Tokyo", subject_id=None)
    assert of("paraphrase", probes(odd))[0].text.count("Set {}") == 1


@pytest.mark.parametrize(("kind", "setting"), [("neighbour", "n_neighbours"), ("later_hop", "n_later_hops")])
def test_bounds_hold(kind: str, setting: str) -> None:
    for n in (0, 1, 2):
        assert len(of(kind, probes(edit("Spain", "P36", "Barcelona"), **{setting: n}))) == n


def test_the_same_question_gives_the_same_probes() -> None:
    assert probes(store=world(seed=1)) == probes(store=world(seed=2))


def test_json_round_trip() -> None:
    for probe in probes():
        assert GeneratedPrompt.from_json(json.loads(json.dumps(probe.to_json()))) == probe
    with pytest.raises(BrokenArtifactError):
        GeneratedPrompt.from_json(probes()[0].to_json() | {"kind": "riddle"})


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_questions"):
        QuestionConfig(n_questions=-1)


@pytest.mark.parametrize("n", range(2, 9))
@pytest.mark.parametrize("n_probe_only", [1, 2, 5, 20])
@pytest.mark.parametrize("seed", [0, 3])
def test_a_split_shares_out_everything_once_and_leaves_something_to_search(
    n: int, n_probe_only: int, seed: int
) -> None:
    templates = [f"{{}} {i}" for i in range(n)]
    search, probe = split_templates([*templates, templates[0]], n_probe_only, seed=seed)
    assert sorted((*search, *probe)) == templates
    assert len(probe) == min(n_probe_only, n - 1)
    assert list(search) == sorted(search)
    assert seed or templates[0] in search


def test_a_single_template_is_for_measuring() -> None:
    assert split_templates(["{} is"], 2) == ((), ("{} is",))
    assert split_templates([], 2) == ((), ())


@pytest.mark.parametrize(
    ("template", "phrase", "text"),
    [
        ("The capital of {} is", "the country of {}", "The capital of the country of {} is"),
        ("{} is located in the", "the city where {} is located", "The city where {} is located is in the"),
        ("{} uses the", "{}'s currency", "{}'s currency uses the"),
        ("The {} is a kind of", "the animal of {}", "The animal of {} is a kind of"),
    ],
)  # fmt: skip
def test_phrases_nest(template: str, phrase: str, text: str) -> None:
    assert nest(template, phrase) == text


@pytest.mark.parametrize(
    ("typed", "entity", "start", "inside"),
    [
        ("The Eiffel Tower", thing("Eiffel Tower"), "The Eiffel Tower is", "See the Eiffel Tower"),
        ("the Eiffel Tower", thing("Eiffel Tower"), "The Eiffel Tower is", "See the Eiffel Tower"),
        ("Eiffel Tower", thing("Eiffel Tower"), "Eiffel Tower is", "See Eiffel Tower"),
        ("The Hague", Entity(id="Q36600", label="The Hague"), "The Hague is", "See The Hague"),
        ("The Foo", Entity(id="typed:the foo", label="The Foo"), "The Foo is", "See the Foo"),
        ("The", Entity(id="typed:the", label="The"), "The is", "See The"),
        ("eBay", Entity(id="Q58024", label="eBay"), "eBay is", "See eBay"),
    ],
)
def test_a_typed_name_keeps_its_letters_but_for_its_article(
    typed: str, entity: Entity, start: str, inside: str
) -> None:
    named = as_typed(typed, entity)
    assert (fill("{} is", named), fill("See {}", named)) == (start, inside)


def test_an_article_is_not_said_twice() -> None:
    assert fill("The {} is", thing("Eiffel Tower")) == "The Eiffel Tower is"
    assert fill("In the {} there", thing("Eiffel Tower")) == "In the Eiffel Tower there"


@pytest.mark.parametrize("first", [spec.id for spec in CATALOGUE])
def test_every_chain_the_catalogue_allows_can_be_said(first: str) -> None:
    spec = CATALOGUE.spec(first)
    assert all(phrase.count("{}") == 1 for phrase in noun_phrases(spec))
    for second in spec.composes:
        templates, questions = word_chain(CATALOGUE, (first, second), n_templates=20, n_questions=20)
        assert len(templates) >= 3
        assert len(questions) >= 2
        for text in (*templates, *questions):
            assert text.count("{}") == 1
            assert "  " not in text
            assert "the the" not in text.casefold()
            assert text[0].isupper() or text.startswith("{}")
