"""Probes are asked in one pass, and say what the model says to each alone."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from kgmet.base.errors import StaleArtifactError
from kgmet.lm.load.loaded import LoadedLM, wrap_lm
from kgmet.lm.say.packed import Side
from kgmet.lm.say.score import generate, next_logits, next_tokens, score_answers
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding, ask, ask_each_side, form_of, worded
from kgmet.measure.divergence import divergences
from kgmet.measure.question import Form, Question, QuestionKind
from kgmet.measure.sides import before_and_after
from kgmet.write.patch import attached
from tests.progress import Recorded
from tests.tiny_models import tiny_lm, tiny_model, tiny_tokenizer
from tests.workbench.sessions import patch_for
from tests.write.tiny_edits import random_patch

PLAIN: tuple[Side, ...] = (lambda _row: nullcontext(),)
PROMPTS = (
    Question(
        kind=QuestionKind.OWN, text="The Eiffel Tower is located in the city of", expected="Paris", rejected="Rome"
    ),
    Question(kind=QuestionKind.OWN, text="The capital of Italy is", expected="Rome"),
    Question(kind=QuestionKind.OWN, text="Big Ben"),
)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral-sliding", "gemma2"])
@pytest.mark.parametrize("batch_size", [1, 2, 48])
def test_a_probe_says_what_the_model_says_to_it_alone(kind: str, batch_size: int) -> None:
    lm = tiny_lm(kind)
    (side,) = ask_each_side(lm, PROMPTS, PLAIN, decoding=Decoding(max_new_tokens=5, top_k=3), batch_size=batch_size)
    for prompt, result, row in zip(PROMPTS, side.answers, side.logits, strict=True):
        assert result.said == generate(lm, [prompt.text], max_new_tokens=5)[0]
        torch.testing.assert_close(row, next_logits(lm, [prompt.text])[0], rtol=1e-3, atol=1e-3)
        assert [token.text for token in result.top] == [t.text for t in next_tokens(lm, [prompt.text], k=3)[0]]
        for answer, score in ((prompt.expected, result.expected), (prompt.rejected, result.rejected)):
            assert (answer is None) == (score is None)
            if answer is not None and score is not None:
                alone = score_answers(lm, [(prompt.text, answer)])[0]
                assert score.logprob == pytest.approx(alone.logprob, abs=2e-4)
                assert score.rank == alone.rank


def test_other_decodings_change_what_is_written_and_nothing_else() -> None:
    lm, how = tiny_lm(), Decoding(temperature=1.0, seed=3)
    for plain, other in zip(ask(lm, PROMPTS), ask(lm, PROMPTS, decoding=how), strict=True):
        assert plain.expected == other.expected
        assert plain.top == other.top


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral-sliding", "gemma2"])
def test_both_sides_at_once_say_what_each_does_alone(kind: str) -> None:
    lm = tiny_lm(kind)
    patch = replace(patch_for(lm), updates=(replace(patch_for(lm).updates[0], weight_name=lm.family.write_name(1)),))
    before, after = ask_each_side(lm, PROMPTS, before_and_after(patch, lm), decoding=Decoding(max_new_tokens=5))
    alone = [ask_each_side(lm, PROMPTS, PLAIN, decoding=Decoding(max_new_tokens=5))[0]]
    with attached(patch, lm):
        alone += ask_each_side(lm, PROMPTS, PLAIN, decoding=Decoding(max_new_tokens=5))
    assert not torch.allclose(before.logits, after.logits, atol=1e-2)
    for side, single in zip((before, after), alone, strict=True):
        torch.testing.assert_close(side.logits, single.logits, rtol=1e-3, atol=1e-3)
        for one, other in zip(side.answers, single.answers, strict=True):
            assert one.said == other.said
            assert (one.expected is None) == (other.expected is None)
            if one.expected is not None and other.expected is not None:
                assert one.expected.logprob == pytest.approx(other.expected.logprob, abs=1e-3)


def test_a_patch_of_another_model_is_refused() -> None:
    with pytest.raises(StaleArtifactError):
        before_and_after(replace(patch_for(tiny_lm()), model_fingerprint="another"), tiny_lm())


def test_divergence_is_zero_without_a_change_and_worked_by_hand_with_one() -> None:
    lm = tiny_lm()
    before, after = (side.logits for side in ask_each_side(lm, PROMPTS, before_and_after(patch_for(lm), lm)))
    assert divergences(before, before) == [0.0] * len(PROMPTS)
    p, q = before.double().softmax(-1), after.double().softmax(-1)
    assert divergences(before, after) == pytest.approx((p * (p / q).log()).sum(-1).tolist(), rel=1e-6)
    assert min(divergences(before, after)) > 0


def test_no_probe_is_no_work() -> None:
    assert ask(tiny_lm(), []) == []


TEMPLATE = "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }}\n{% endfor %}<assistant> "
MULTI_HOP = Question(kind=QuestionKind.MULTI_HOP, text="Which city?", form=Form.CHAT, expected="Rome", rejected="Paris")


def chatty(template: str = TEMPLATE) -> LoadedLM:
    lm = tiny_lm()
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.chat_template = template
    return replace(lm, tokenizer=tokenizer)


def test_questions_are_asked_in_chat_where_there_is_a_template_and_as_q_and_a_elsewhere() -> None:
    lm, plain = chatty(), tiny_lm()
    assert form_of(lm, MULTI_HOP) is Form.CHAT and worded(lm, MULTI_HOP) == "<user> Which city?\n<assistant> "
    assert form_of(plain, MULTI_HOP) is Form.QUESTION_AND_ANSWER
    assert worded(plain, MULTI_HOP) == "Q: Which city?\nA:"
    for one in (lm, plain):
        assert form_of(one, PROMPTS[0]) is Form.CLOZE and worded(one, PROMPTS[0]) == PROMPTS[0].text


def test_text_probability_and_rank_are_of_the_form_that_is_asked() -> None:
    for lm in (chatty(), tiny_lm()):
        (answer,) = ask(lm, [MULTI_HOP], decoding=Decoding(max_answer_tokens=6))
        text = worded(lm, MULTI_HOP)
        (score,) = score_answers(lm, [(text, "Rome")])
        assert answer.said == generate(lm, [text], max_new_tokens=6)[0]
        assert answer.expected is not None and answer.form is form_of(lm, MULTI_HOP)
        assert answer.expected.logprob == pytest.approx(score.logprob, abs=2e-4)
        assert answer.expected.rank == score.rank
        assert Answer.from_json(json.loads(json.dumps(answer.to_json()))) == answer


def test_a_template_does_not_bring_a_second_first_token() -> None:
    lm = chatty("{{ bos_token }}" + TEMPLATE)
    begin = lm.tokenizer.bos_token
    if begin and lm.tokenizer("a")["input_ids"][0] == lm.tokenizer.bos_token_id:
        assert not worded(lm, MULTI_HOP).startswith(begin)
    ids = lm.tokenizer(worded(lm, MULTI_HOP))["input_ids"]
    assert ids.count(lm.tokenizer.bos_token_id) == 1


def test_questions_may_be_answered_at_greater_length_than_clozes_are_continued() -> None:
    lm, how = chatty(), Decoding(max_new_tokens=3, max_answer_tokens=9)
    cloze, question = ask(lm, [PROMPTS[0], MULTI_HOP], decoding=how)
    assert cloze.said == generate(lm, [PROMPTS[0].text], max_new_tokens=3)[0]
    assert question.said == generate(lm, [worded(lm, MULTI_HOP)], max_new_tokens=9)[0]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral-sliding"])
def test_a_cloze_that_stops_where_its_sentence_ends_is_judged_the_same(kind: str) -> None:
    """Names with dots and questions are among them. What is written is the beginning of the longer text."""
    module = tiny_model(kind)
    newline = tiny_tokenizer()("\n")["input_ids"][0]
    module.get_output_embeddings().weight.data[newline] *= 4  # a model that ends sentences
    lm = wrap_lm(module, tiny_tokenizer(), name=kind)
    starts = [f"{name} {verb}" for name in ("The Eiffel Tower", "Big Ben", "A river", "3") for verb in ("is", "has")]
    questions = [
        Question(kind=QuestionKind.OWN, text=text, expected="D.C. x" if number % 2 else "Rome", rejected="Paris")
        for number, text in enumerate(starts)
    ]
    questions.append(Question.typed("Where is it?", expected="Rome"))
    sides = before_and_after(random_patch(lm), lm)
    whole = ask_each_side(lm, questions, sides, decoding=Decoding(max_new_tokens=30))
    judged = ask_each_side(lm, questions, sides, decoding=Decoding(max_new_tokens=30, only_judged=True))
    shorter = 0
    for side, other in zip(whole, judged, strict=True):
        for one, short in zip(side.answers, other.answers, strict=True):
            assert one.said.startswith(short.said)
            assert (one.text, one.verdict, one.expected) == (short.text, short.verdict, short.expected)
            shorter += len(short.said) < len(one.said)
    assert shorter or kind == "mistral-sliding"  # a window too short for trees: every text is written alone


def test_a_question_that_occurs_twice_is_asked_once() -> None:
    lm, counted = tiny_lm(), Recorded()
    order = [2, 0, 1, 0, 2, 2]
    (single,) = ask_each_side(lm, PROMPTS, PLAIN, decoding=Decoding(max_new_tokens=5))
    (many,) = ask_each_side(
        lm, [PROMPTS[n] for n in order], PLAIN, decoding=Decoding(max_new_tokens=5), progress=counted
    )
    assert [(event.done, event.total) for event in counted.events] == [(0, 3), (3, 3)]
    assert [answer.question for answer in many.answers] == [PROMPTS[n] for n in order]
    assert [answer.said for answer in many.answers] == [single.answers[n].said for n in order]
    torch.testing.assert_close(many.logits, single.logits[order], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("n", "ends"), [(1, [1]), (3, [3]), (5, [5]), (6, [3, 6]), (7, [3, 7]), (10, [5, 10])])
def test_a_small_last_batch_joins_the_others(n: int, ends: list[int]) -> None:
    """Batches of about four, the last one as large as the others: 5 → 5, 7 → 3 and 4, 10 → 5 and 5."""
    questions = [Question(kind=QuestionKind.OWN, text=f"Line {number} of the text") for number in range(n)]
    counted = Recorded()
    found = ask(tiny_lm(), questions, decoding=Decoding(max_new_tokens=1), progress=counted, batch_size=4)
    assert [answer.question for answer in found] == questions
    assert [event.done for event in counted.events] == [0, *ends]


def test_no_question_has_no_answer() -> None:
    (side,) = ask_each_side(tiny_lm(), [], PLAIN)
    assert side.answers == [] and side.logits.shape == (0, 0)
