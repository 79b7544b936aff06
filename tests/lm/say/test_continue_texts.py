"""Texts and scores do not depend on the company they are in."""

from __future__ import annotations

import pytest
import torch

from kgmet.base.errors import ConfigError
from kgmet.evaluate.datasets.cases import Ask, AskKind, EvalCase
from kgmet.evaluate.runs.score import ScoreConfig, says_expected, score_cases
from kgmet.fact import FactEdit
from kgmet.lm.say.continue_texts import Continuation, continue_texts, encode_prompts
from kgmet.lm.say.score import generate
from kgmet.measure.metrics import TfIdf
from tests.tiny_models import tiny_lm

PROMPTS = [
    "The Eiffel Tower is located in",
    "Big Ben",
    "The capital of Germany is Berlin. The capital of Italy is",
    "In",
]
KINDS = ["llama", "gpt2", "mistral-sliding", "gemma2"]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_texts_are_those_of_transformers(kind: str) -> None:
    lm = tiny_lm(kind)
    how = Continuation(max_new_tokens=9)
    for prompt in PROMPTS:
        assert continue_texts(lm, [prompt], how=how) == generate(lm, [prompt], max_new_tokens=9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [0, 5])
def test_a_text_is_the_same_alone_and_in_a_batch(kind: str, top_k: int) -> None:
    lm = tiny_lm(kind)
    how = Continuation(max_new_tokens=9, top_k=top_k)
    together = continue_texts(lm, PROMPTS, how=how, seeds=[3, 1, 4, 1])
    alone = [continue_texts(lm, [p], how=how, seeds=[s])[0] for p, s in zip(PROMPTS, [3, 1, 4, 1], strict=True)]
    assert together == alone


def test_another_seed_draws_another_text() -> None:
    how = Continuation(max_new_tokens=12, top_k=5)
    texts = continue_texts(tiny_lm(), ["The city of"] * 6, how=how, seeds=range(6))
    assert len(set(texts)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_prompts_share_can_be_encoded_once(kind: str) -> None:
    lm = tiny_lm(kind)
    shared = "Question and answer. As the guide said, what follows is a short text. "
    rows = [lm.tokenizer(shared + text)["input_ids"] for text in ("Big Ben is in", "The Louvre is located in the city")]
    with torch.no_grad():
        together, _, _ = encode_prompts(lm, rows)
        alone = torch.cat([encode_prompts(lm, [row])[0] for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_a_text_ends_before_the_stop() -> None:
    lm = tiny_lm()
    whole = continue_texts(lm, ["The city"], how=Continuation(max_new_tokens=12))[0]
    stop = whole[4]
    assert continue_texts(lm, ["The city"], how=Continuation(max_new_tokens=12, stop=stop)) == [
        whole.partition(stop)[0]
    ]


def test_a_continuation_has_a_length() -> None:
    with pytest.raises(ConfigError, match="at least one token"):
        Continuation(max_new_tokens=0)


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        (" Rome, the capital of Italy", True),
        (" the city of rome", True),
        (" Romeo and Juliet", False),
        (" Paris, not Rome", False),
        (" Rome, not Paris", False),
        ("\n\nRome. Paris is elsewhere", True),
        (" the Eternal City", True),
        ("", False),
    ],
)
def test_naming_an_answer(text: str, is_named: bool) -> None:
    ask = Ask(kind=AskKind.EFFICACY, prompt="It is in", expected="Rome", rejected="Paris", aliases=("Eternal City",))
    assert says_expected(text, ask) is is_named


def _case(*asks: Ask, **more: object) -> EvalCase:
    edit = FactEdit(subject="Big Ben", template="{} is located in the city of", new_object="Rome", old_object="London")
    return EvalCase(case_id="1", edits=(edit,), asks=asks, **more)  # type: ignore[arg-type]


def _logprobs(prompt: str, answer: str) -> torch.Tensor:
    """Of each token of the answer, by the plain model; and whether it is the likeliest."""
    lm = tiny_lm()
    before = lm.tokenizer(prompt)["input_ids"]
    ids = torch.tensor([lm.tokenizer(f"{prompt} {answer}")["input_ids"]])
    assert ids[0, : len(before)].tolist() == before
    with torch.no_grad():
        table = lm.model(ids).logits[0].log_softmax(-1)
    target = ids[0, len(before) :]
    rows = table[len(before) - 1 : -1]
    return torch.stack([rows.gather(1, target[:, None])[:, 0], (rows.argmax(-1) == target).float()])


def test_scores_are_those_of_the_plain_model() -> None:
    ask = Ask(kind=AskKind.EFFICACY, prompt="Big Ben is located in the city of", expected="Rome", rejected="London too")
    (score,) = score_cases(tiny_lm(), [_case(ask)], config=ScoreConfig(n_generation=0))
    new, old = _logprobs(ask.prompt, "Rome"), _logprobs(ask.prompt, "London too")
    (result,) = score.asks
    assert result.logprob == pytest.approx(float(new[0].mean()), abs=1e-4)
    assert result.rejected_logprob == pytest.approx(float(old[0].mean()), abs=1e-4)
    assert result.preferred == bool(new[0].mean() > old[0].mean())
    assert result.accuracy == pytest.approx(float(new[1].mean()))
    assert result.first == bool(new[1].all())


def test_what_has_no_rejected_answer_cannot_be_preferred() -> None:
    ask = Ask(kind=AskKind.LOCALITY, prompt="Big Ben is", expected="Rome")
    (score,) = score_cases(tiny_lm(), [_case(ask)], config=ScoreConfig(n_generation=0))
    assert score.asks[0].preferred is None
    assert score.asks[0].said is False and score.asks[0].text


def test_several_cases_at_once_score_as_each_alone() -> None:
    one = _case(Ask(kind=AskKind.EFFICACY, prompt="Big Ben is in", expected="Rome", rejected="London"))
    other = _case(
        Ask(kind=AskKind.NEIGHBORHOOD, prompt="The Louvre is in", expected="Paris", rejected="Rome"),
        generation_prompts=("Big Ben is known for", "The city of"),
        references=("The Colosseum is in Rome.",),
    )
    lm, config = tiny_lm(), ScoreConfig(generation_tokens=8, free_tokens=4, chain_of_thought=False)
    tfidf = TfIdf(["The Colosseum is in Rome."])
    together = score_cases(lm, [one, other], config=config, tfidf=tfidf)
    alone = [score_cases(lm, [case], config=config, tfidf=tfidf)[0] for case in (one, other)]
    for a, b in zip(together, alone, strict=True):
        assert (a.texts, a.fluency, a.consistency) == (b.texts, b.fluency, b.consistency)
        for x, y in zip(a.asks, b.asks, strict=True):
            assert x.logprob == pytest.approx(y.logprob, abs=1e-4)
            assert (x.preferred, x.first, x.said) == (y.preferred, y.first, y.said)
    assert together[1].fluency is not None
    assert together[0].fluency is None


def test_generation_can_be_left_to_every_other_case() -> None:
    cases = [_case(generation_prompts=("Big Ben",)) for _ in range(4)]
    config = ScoreConfig(generation_interval=2, generation_tokens=6)
    scores = score_cases(tiny_lm(), cases, config=config, positions=[0, 1, 2, 3])
    assert [score.fluency is not None for score in scores] == [True, False, True, False]
