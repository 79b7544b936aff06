"""What a model is told stands before the question, and the answers are judged as all others."""

from __future__ import annotations

import pytest

from kgmet.fact import FactEdit
from kgmet.graph.reading.consequences import find_consequences
from kgmet.graph.reading.probe_prompts import QuestionConfig, generate_probes
from kgmet.graph.reading.worlds import ConsequenceConfig
from kgmet.measure.ask import Decoding, ask, worded
from kgmet.measure.compare import compare_answers
from kgmet.measure.question import Form, Question, QuestionKind
from kgmet.measure.sides import before_and_after
from kgmet.measure.told import ask_told, fact_sentence, following_sentences, graph_sentences, told_question
from tests.graph.small_world import CATALOGUE, edit, world
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import patch_for

TOWER = FactEdit(subject="The Eiffel Tower", template="{} is in", new_object="Rome", old_object="Paris")
CLOZE = Question(kind=QuestionKind.OWN, text="The tower is in", expected="Rome", rejected="Paris")
CHAT = Question(kind=QuestionKind.OWN, text="Where is the tower?", form=Form.CHAT, expected="Rome", rejected="Paris")


@pytest.mark.parametrize(
    ("new", "sentence"),
    [("Rome", "The Eiffel Tower is in Rome."), ("Washington, D.C.", "The Eiffel Tower is in Washington, D.C.")],
)
def test_the_fact_is_one_sentence(new: str, sentence: str) -> None:
    assert fact_sentence(FactEdit(subject="The Eiffel Tower", template="{} is in", new_object=new)) == sentence


def test_what_follows_is_told_in_words_that_no_probe_asks() -> None:
    store, made = world(), edit("Eiffel Tower", "P131", "Rome")
    found = find_consequences(store, CATALOGUE, made, config=ConsequenceConfig())
    told = following_sentences(found)
    assert any(sentence.endswith(" Italy.") for sentence in told)
    assert any(sentence.endswith(" Italian.") for sentence in told)
    asked = {probe.text for probe in generate_probes(store, CATALOGUE, made, found, config=QuestionConfig())}
    assert not [text for text in asked for sentence in told if sentence.startswith(text)]
    assert following_sentences(found, leave=[item.id for item in found.forward]) == ()
    assert following_sentences(None) == ()


def test_the_graphs_facts_are_told_but_not_what_follows() -> None:
    store, made = world(), edit("Eiffel Tower", "P131", "Rome")
    found = find_consequences(store, CATALOGUE, made, config=ConsequenceConfig())
    told = graph_sentences(made, found, CATALOGUE)
    assert "Rome is located in the country of Italy." in told
    assert not [sentence for sentence in told if "Eiffel" in sentence]
    assert graph_sentences(made, None, CATALOGUE) == ()


def test_sentences_come_first_in_the_same_turn() -> None:
    assert told_question(CLOZE, ["It is so.", "And so."]).text == "It is so. And so. The tower is in"
    assert told_question(CHAT, ["It is so."]).text == "It is so. Where is the tower?"
    assert told_question(CHAT, ()) == CHAT


def test_answers_are_those_of_the_longer_text_and_belong_to_the_question() -> None:
    lm, decoding = tiny_lm(), Decoding(max_new_tokens=4, max_answer_tokens=4)
    sentences = [fact_sentence(TOWER)]
    told = ask_told(lm, [CLOZE, CHAT], sentences, decoding=decoding).answers
    assert [answer.question for answer in told] == [CLOZE, CHAT]
    for answer, question in zip(told, (CLOZE, CHAT), strict=True):
        longer = told_question(question, sentences)
        (alone,) = ask(lm, [longer], decoding=decoding)
        assert (answer.said, answer.p_expected) == (alone.said, pytest.approx(alone.p_expected, rel=1e-5))
        assert answer.expected is not None and answer.expected.prompt == worded(lm, longer)
    plain = ask(lm, [CLOZE, CHAT], decoding=decoding)
    assert [pair.before for pair in compare_answers(plain, told).pairs] == plain
    assert [a.p_expected for a in plain] != [a.p_expected for a in told]


def test_a_side_is_told_too() -> None:
    lm = tiny_lm()
    plain, edited = before_and_after(patch_for(lm), lm)
    without = ask_told(lm, [CLOZE], ["It is so."], side=plain)
    assert without == ask_told(lm, [CLOZE], ["It is so."])
    assert without != ask_told(lm, [CLOZE], ["It is so."], side=edited)
