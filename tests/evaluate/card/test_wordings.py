"""Negated, yes/no and reversed forms of every relation read like English, or there are none."""

from __future__ import annotations

import re

import pytest

from kgmet.evaluate.card.wordings import (
    choice_question,
    negated_prompts,
    old_sentence,
    plain_question,
    reversed_question,
    yes_no_question,
)
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue, RelationSpec
from kgmet.graph.triple import Entity
from kgmet.measure.told import fact_sentence, triple_sentence
from tests.graph.small_world import CATALOGUE, fact, thing

TOWER = Entity(id="tower", label="Eiffel Tower", article="the")
EDIT = FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Rome")
EVERY = pytest.mark.parametrize("spec", list(RelationCatalogue.load()), ids=lambda spec: spec.id)
_TWICE = re.compile(r"\b(\w+) \1\b", re.IGNORECASE)


def check_reads_well(text: str) -> None:
    """What can be told without a reader: blanks, brackets, capitals, words that stand twice."""
    assert text == " ".join(text.split())
    assert not re.search(r"[{}]", text)
    assert text[0].isupper() or text[0].isdigit()
    assert not _TWICE.search(text.replace("that that", "that"))


@EVERY
def test_every_relation_has_negated_prompts_that_read_well(spec: RelationSpec) -> None:
    edit = FactEdit(subject="Xanadu", template=spec.cloze[0], new_object="Yonder", relation=spec.id)
    prompts = negated_prompts(edit, Entity(id="x", label="Xanadu"), spec)
    assert prompts
    assert len(set(prompts)) == len(prompts)
    for prompt in prompts:
        check_reads_well(prompt)
        assert "Xanadu" in prompt
        assert len(re.findall(r"\b(?:not|cannot)\b", prompt)) == 1
        assert not prompt.endswith((",", "?", "."))


@EVERY
def test_every_relation_has_questions_that_read_well(spec: RelationSpec) -> None:
    edit = FactEdit(subject="Xanadu", template=spec.cloze[0], new_object="Yonder", relation=spec.id)
    subject = Entity(id="x", label="Xanadu")
    asked = yes_no_question(edit, subject, "Yonder", spec)
    assert asked is not None
    for text in (asked, plain_question(edit, subject, spec)):
        check_reads_well(text)
        assert text.endswith("?")
        assert "Xanadu" in text
    assert "Yonder" in asked
    assert re.match(r"(?:Is|Are|Was|Were|Does|Do|Did|Has|Have|Can|In|At|On|Could)\b", asked)


@EVERY
def test_a_reversed_question_asks_for_the_subject_or_there_is_none(spec: RelationSpec) -> None:
    text = reversed_question(spec, "Yonder")
    if text is not None:
        check_reads_well(text)
        assert re.match(r"(?:Who|What|Which|Who or what)\b.* Yonder\?$", text)


def test_most_relations_have_a_reversed_question() -> None:
    without = [spec.id for spec in CATALOGUE if reversed_question(spec, "Yonder") is None]
    assert len(without) < 0.1 * len(CATALOGUE), without


def test_the_forms_of_one_fact() -> None:
    spec = CATALOGUE.spec("P131")
    assert fact_sentence(EDIT) == "The Eiffel Tower is located in the city of Rome."
    assert old_sentence(EDIT, "Paris") == "The Eiffel Tower is located in the city of Paris."
    assert negated_prompts(EDIT, TOWER, spec)[:3] == (
        "The Eiffel Tower is not located in the city of",
        "The Eiffel Tower is not in the city of",
        "The Eiffel Tower cannot be found in the city of",
    )
    assert yes_no_question(EDIT, TOWER, "Rome", spec) == "Is the Eiffel Tower in the city of Rome?"
    assert reversed_question(spec, "Rome") == "What is located in the city of Rome?"
    assert reversed_question(CATALOGUE.spec("P19"), "Rome") == "Who was born in the city of Rome?"
    assert reversed_question(CATALOGUE.spec("P1376"), "Italy") == "Which city is the capital of Italy?"
    assert triple_sentence(fact("Rome", "P1376", "Italy"), CATALOGUE) == "Rome is the capital of Italy."
    assert triple_sentence(fact("Rome", "nothing known", "Italy"), CATALOGUE) is None


def test_without_a_relation_the_forms_come_from_the_prompt_or_there_are_none() -> None:
    assert negated_prompts(EDIT, TOWER, None) == ("The Eiffel Tower is not located in the city of",)
    assert (
        yes_no_question(EDIT, TOWER, "Rome", None) == "Is it true that the Eiffel Tower is located in the city of Rome?"
    )
    assert plain_question(EDIT, TOWER, None).startswith("How does this sentence go on? The Eiffel Tower is located")
    made = FactEdit(subject="Ada", template="The teacher of {} is", new_object="Bob")
    person = Entity(id="ada", label="Ada")
    assert negated_prompts(made, person, None) == ("The teacher of Ada is not",)
    assert yes_no_question(made, person, "Bob", None) == "Is it true that the teacher of Ada is Bob?"
    other = FactEdit(subject="Ada", template="{} married", new_object="Bob")
    assert negated_prompts(other, person, None) == ()
    asked = FactEdit(subject="Ada", template="Who taught {}?", new_object="Bob")
    assert yes_no_question(asked, person, "Bob", None) is None
    assert negated_prompts(asked, person, None) == ()
    assert plain_question(asked, person, None) == "Who taught Ada?"


def test_a_choice_lists_three_objects_and_that_one_does_not_know() -> None:
    assert choice_question("Where?", ["Rome", "Paris", "Oslo"]) == (
        "Where?\nA. Rome\nB. Paris\nC. Oslo\nD. I am not sure\nAnswer with one letter."
    )
    with pytest.raises(ValueError, match="three options"):
        choice_question("Where?", ["Rome", "Paris"])


def test_a_subject_in_the_middle_keeps_its_article_small() -> None:
    edit = FactEdit(subject="The Louvre", template="The city in which {} stands is", new_object="Rome")
    assert negated_prompts(edit, thing("Louvre"), CATALOGUE.spec("P131"))[0] == (
        "The Louvre is not located in the city of"
    )
