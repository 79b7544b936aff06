"""Properties of scoring: log-probabilities are the model's own, token by token, however the prompts are batched."""

from __future__ import annotations

import math
import threading

import pytest
import torch

from kgmet.base.errors import EmptyTextError
from kgmet.lm.run.spans import Phrase, locate
from kgmet.lm.say.sampling import Sampling
from kgmet.lm.say.score import generate, next_tokens, score_answers
from tests.tiny_models import FAMILY_KINDS, tiny_lm

PAIRS = [
    ("The Eiffel Tower is located in the city of", "Rome"),
    ("The Eiffel Tower is located in the city of", "the city of Rome, in Italy, which is a country"),
    ("Rome", "is"),
    ("In the news today: the capital of Germany is", "Paris too"),
    ("A {} in a prompt", "is text"),
]
every_family = pytest.mark.parametrize("kind", FAMILY_KINDS)


def by_hand(kind: str, prompt: str, answer: str, *, bos: bool) -> tuple[float, bool]:
    """Sum of log-probabilities in one full, unpadded forward; and whether every token is the likeliest."""
    lm = tiny_lm(kind, bos=bos)
    span = locate(lm, Phrase(template=prompt.replace("{}", "{ }"), target=answer))
    assert span.target is not None
    with torch.no_grad():
        logits = lm.model(torch.tensor([span.input_ids]), use_cache=False).logits[0].float()
    table = logits.log_softmax(-1)
    asked = [(position - 1, span.input_ids[position]) for position in span.target]
    return sum(float(table[p, token]) for p, token in asked), all(int(table[p].argmax()) == t for p, t in asked)


@every_family
@pytest.mark.parametrize("bos", [False, True])
def test_scores_are_those_of_a_full_forward(kind: str, bos: bool) -> None:
    scores = score_answers(tiny_lm(kind, bos=bos), PAIRS)
    for (prompt, answer), score in zip(PAIRS, scores, strict=True):
        logprob, is_first = by_hand(kind, prompt, answer, bos=bos)
        assert (score.prompt, score.answer) == (prompt, answer)
        assert score.logprob == pytest.approx(logprob, abs=2e-3)
        assert score.is_first == is_first
        assert score.mean_logprob == pytest.approx(score.logprob / score.n_token)
        assert score.probability == pytest.approx(math.exp(score.logprob))


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_batching_changes_nothing(batch_size: int) -> None:
    scores = score_answers(tiny_lm("gpt2"), PAIRS, batch_size=batch_size)
    alone = [score_answers(tiny_lm("gpt2"), [pair])[0] for pair in PAIRS]
    assert [s.logprob for s in scores] == pytest.approx([a.logprob for a in alone], abs=1e-3)
    assert [s.rank for s in scores] == [a.rank for a in alone]


def test_the_likeliest_next_token_has_rank_1_and_is_first() -> None:
    lm = tiny_lm()
    prompt = "The capital of Italy is"
    top = next_tokens(lm, [prompt], k=400)[0]
    assert sum(token.probability for token in top) == pytest.approx(1, abs=1e-4)
    assert [t.probability for t in top] == sorted((t.probability for t in top), reverse=True)
    words = [token.text for token in top if token.text.startswith(" ") and token.text.strip().isalpha()]
    for word in words[:3]:
        score = score_answers(lm, [(prompt, word.strip())])[0]
        if score.n_token == 1:
            assert top[score.rank - 1].text == word
            assert score.probability == pytest.approx(top[score.rank - 1].probability, rel=1e-3)
            assert score.is_first == (score.rank == 1)


def test_an_empty_answer_is_an_error() -> None:
    with pytest.raises(EmptyTextError):
        score_answers(tiny_lm(), [("It is in", "")])


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
def test_greedy_generation_says_what_scoring_calls_first(kind: str) -> None:
    lm = tiny_lm(kind)
    prompts = ["The capital of Italy is", "Rome"]
    texts = generate(lm, prompts, max_new_tokens=5)
    assert texts == [generate(lm, [prompt], max_new_tokens=5)[0] for prompt in prompts]
    for prompt, text in zip(prompts, texts, strict=True):
        first = next_tokens(lm, [prompt], k=1)[0][0].text
        assert text.startswith(first) or first in ("<s>", "</s>", "<pad>")


def test_sampling_is_repeatable_and_touches_no_global_seed() -> None:
    lm = tiny_lm()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = (generate(lm, ["Rome is"], max_new_tokens=12, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert one == two != other
    assert torch.equal(torch.rand(1), expected)


def test_a_sampled_text_does_not_depend_on_what_is_asked_beside_it() -> None:
    lm, prompts = tiny_lm(), ["Rome is", "The capital of Italy is located in"]
    together = generate(lm, prompts, max_new_tokens=12, temperature=1.0, seed=4)
    assert together == [generate(lm, [one], max_new_tokens=12, temperature=1.0, seed=4)[0] for one in prompts]


def test_sampling_draws_tokens_by_their_probabilities() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0]], dtype=torch.float32)
    counts = torch.zeros(4, dtype=torch.float64)
    draw = Sampling(1, temperature=0.7, seed=1)
    n = 20_000
    for _ in range(n):
        counts[int(draw(logits, logits).argmax())] += 1
    expected = (logits[0].double() / 0.7).softmax(0)
    assert float((counts / n - expected).abs().max()) < 4 * 0.5 / n**0.5


def test_the_same_seed_gives_the_same_text_while_other_threads_sample() -> None:
    lm, done = tiny_lm(), threading.Event()
    expected = generate(lm, ["Rome is"], max_new_tokens=12, temperature=1.0, seed=1)

    def other(seed: int) -> None:
        while not done.is_set():
            generate(lm, ["Big Ben is"], max_new_tokens=3, temperature=1.0, seed=seed)
            torch.manual_seed(seed)

    threads = [threading.Thread(target=other, args=(seed,)) for seed in (7, 8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert generate(lm, ["Rome is"], max_new_tokens=12, temperature=1.0, seed=1) == expected
    finally:
        done.set()
        for thread in threads:
            thread.join()
