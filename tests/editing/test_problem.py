"""Prompts of the search, by hand: questions in chat form and prompts that use the fact."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kgmet.base.errors import ConfigError
from kgmet.editing.config import EditConfig, HoldConfig
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.problem import build_problem, held_questions, held_uses
from kgmet.fact import FactEdit
from kgmet.graph.phrasing import N_PROBE_WORDINGS, split_templates
from kgmet.graph.relations import RelationCatalogue
from kgmet.search.problem import Term
from tests.graph.small_world import world

CATALOGUE = RelationCatalogue.load()
TOWER = FactEdit(
    subject="The Eiffel Tower", template="{} is located in the city of", new_object="Tokyo", old_object="Paris"
)


BIRTH = FactEdit(
    subject="Pablo Picasso", template="{} was born in the city of", new_object="Tokyo", old_object="Malaga"
)


def context(config: EditConfig, *, leave: tuple[str, ...] = (), edit: FactEdit = TOWER) -> EditContext:
    return prepare_edit(edit, store=world(), catalogue=CATALOGUE, config=config, leave=leave)


def held(**settings: object) -> EditConfig:
    return EditConfig(hold=HoldConfig(contexts=1, **settings))  # type: ignore[arg-type]


def texts(config: EditConfig) -> list[tuple[Term, str, str | None]]:
    prompts = build_problem(context(config), config).prompts
    return [(p.term, p.phrase(TOWER.subject).prompt, p.answer) for p in prompts if p.term is not Term.ANCHOR]


def test_by_default_nothing_is_asked_in_chat() -> None:
    assert texts(held()) == [(Term.REWRITE, "The Eiffel Tower is located in the city of", "Tokyo")]


def test_a_question_about_a_consequence_is_asked_with_its_new_answer() -> None:
    config = held(questions=2)
    asked = texts(config)[1:]
    items = held_questions(context(config), config)
    assert [answer for _, _, answer in asked] == ["Japan", "Asia"]
    assert [text for _, text, _ in asked] == [f"Q: {item.text(question)}\nA:" for item, question in items]
    assert {term for term, _, _ in asked} == {Term.CONSEQUENCE}


def test_no_question_of_the_search_is_one_of_the_first_three() -> None:
    config = held(questions=20)
    found = held_questions(context(config), config)
    assert found
    assert all(question not in item.questions[:3] for item, question in found)


def test_without_a_question_of_its_own_a_consequence_is_a_sentence_to_complete() -> None:
    config = held(questions=20)
    found = [pair for pair in held_questions(context(config, edit=BIRTH), config) if len(pair[0].questions) <= 3]
    assert found
    for item, message in found:
        opening, _, template = message.partition(": ")
        assert opening == "Complete this sentence"
        assert template in split_templates(item.templates, N_PROBE_WORDINGS)[0]


def test_a_reply_in_a_sentence_ends_where_the_answer_begins() -> None:
    ((_, text, answer),) = texts(held(questions=1, reply="sentence"))[1:]
    question, _, reply = text.partition("\nA: ")
    assert question.startswith("Q: ") and question.endswith("?")
    assert (reply, answer) == ("The Eiffel Tower is located in the country of", "Japan")


def test_own_questions_leave_out_the_one_that_probes_ask() -> None:
    (first, *rest) = CATALOGUE.spec("P131").questions
    asked = texts(held(own_questions=5))[1:]
    assert [text for _, text, _ in asked] == [f"Q: {text.replace('{}', 'the Eiffel Tower')}\nA:" for text in rest]
    assert first not in rest
    assert {(term, answer) for term, _, answer in asked} == {(Term.REWRITE, "Tokyo")}


def test_the_fact_is_used_in_an_index_and_among_three_by_colour() -> None:
    config = held(uses=2)
    names = [f.triple.subject.in_text for f in context(config).consequences.protected_neighbours]  # type: ignore[union-attr]
    first, second = (name[:1].upper() + name[1:] for name in names[:2])
    assert texts(config)[1:] == [
        (
            Term.CONSEQUENCE,
            "Tokyo is on page 6 and Paris is on page 72. The city of the Eiffel Tower is on page",
            "6",
        ),
        (
            Term.CONSEQUENCE,
            f"{first} is red, {second} is blue and the Eiffel Tower is green. The green one is located in the city of",
            "Tokyo",
        ),
    ]


def test_uses_need_a_graph() -> None:
    assert held_uses(EditContext(edit=TOWER), held(uses=2)) == ()


def test_a_consequence_the_user_left_out_is_not_asked() -> None:
    config = held(questions=1)
    ((item, _),) = held_questions(context(config), config)
    again = held_questions(context(config, leave=(item.id,)), config)
    assert item.id not in {other.id for other, _ in again}


def test_there_are_two_uses() -> None:
    with pytest.raises(ConfigError, match=r"hold\.uses"):
        HoldConfig(uses=3)


@pytest.mark.parametrize("name", ["questions", "own_questions", "uses"])
def test_a_number_below_zero_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(HoldConfig(), **{name: -1})
