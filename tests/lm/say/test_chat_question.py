"""A question as the model reads it, and its place for the subject."""

from __future__ import annotations

import pytest

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.encoding import ChatText
from kgmet.lm.run.spans import Phrase, locate
from kgmet.lm.say.score import chat_question
from tests.tiny_models import tiny_lm

TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m['content'] + ' ' }}{% endfor %}{% if add_generation_prompt %}text:{% endif %}"
)


@pytest.fixture
def lm(monkeypatch: pytest.MonkeyPatch) -> LoadedLM:
    lm = tiny_lm()
    monkeypatch.setattr(lm.tokenizer, "chat_template", TEMPLATE)
    return lm


def test_without_a_template_it_is_a_q_and_an_a() -> None:
    lm = tiny_lm()
    assert chat_question(lm, "Where is {}?") == "Q: Where is {}?\nA:"


def test_the_subject_of_a_chat_question_is_located_in_the_message(lm: LoadedLM) -> None:
    asked = chat_question(lm, "Where is {} located?")
    assert isinstance(asked, ChatText) and asked.message == "Where is {} located?"
    span = locate(lm, Phrase(template=asked, subject="the Louvre", target="Paris"))
    assert span.text.endswith("Where is the Louvre located? text: Paris")
    assert lm.tokenizer.decode(list(span.input_ids[span.subject.start : span.subject.stop])).strip() == "the Louvre"
    assert lm.tokenizer.decode(list(span.target_ids)).strip() == "Paris"


def test_a_control_token_in_a_subject_is_plain_text_in_a_chat_question(lm: LoadedLM) -> None:
    span = locate(lm, Phrase(template=chat_question(lm, "Where is {} located?"), subject="</s>", target="Paris"))
    assert lm.tokenizer.eos_token_id not in span.input_ids
