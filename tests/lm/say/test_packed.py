"""A token in a tree has the states it would have in a text of its own."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from kgmet.base.errors import EmptyTextError
from kgmet.lm.run import growing_kv_cache
from kgmet.lm.say.packed import ask_packed, ask_sides, score_packed, unchanged
from kgmet.lm.say.score import generate, next_logits, score_answers
from tests.tiny_models import FAMILY_KINDS, tiny_lm

PAIRS = [
    ("The Eiffel Tower is located in the city of", "Paris"),
    ("The Eiffel Tower is located in the city of", "Rome and more of it"),
    ("The Eiffel Tower is located in", "France"),
    ("The Louvre is located in the city of", "Paris"),
    ("Big Ben", "London"),
    ("Big Ben", "London"),
    ("The", "capital of Germany is Berlin"),
]


@pytest.mark.parametrize("kind", FAMILY_KINDS)
@pytest.mark.parametrize("bos", [False, True])
def test_scores_are_those_of_single_texts(kind: str, bos: bool) -> None:
    lm = tiny_lm(kind, bos=bos)
    for packed, alone in zip(score_packed(lm, PAIRS), score_answers(lm, PAIRS), strict=True):
        assert packed.logprob == pytest.approx(alone.logprob, abs=2e-4)
        assert (packed.prompt, packed.answer, packed.n_token) == (alone.prompt, alone.answer, alone.n_token)
        assert (packed.is_first, packed.rank, packed.n_hit) == (alone.is_first, alone.rank, alone.n_hit)


@pytest.mark.parametrize("max_token", [1, 12, 1000])
def test_it_does_not_matter_how_many_are_laid_out_together(max_token: int) -> None:
    lm = tiny_lm()
    for few, many in zip(score_packed(lm, PAIRS, max_token=max_token), score_packed(lm, PAIRS), strict=True):
        assert few.logprob == pytest.approx(many.logprob, abs=1e-4)


def test_an_answer_without_a_token_is_refused() -> None:
    with pytest.raises(EmptyTextError):
        score_packed(tiny_lm(), [("Big Ben", "")])


PROMPTS = ["The Eiffel Tower is located in the city of", "Big Ben", "Big Ben", "The capital of Italy is", "In"]


@pytest.mark.parametrize("kind", FAMILY_KINDS)
@pytest.mark.parametrize("bos", [False, True])
def test_one_pass_says_what_each_prompt_alone_does(kind: str, bos: bool) -> None:
    lm = tiny_lm(kind, bos=bos)
    asked = ask_packed(lm, PROMPTS, PAIRS, max_new_tokens=6)
    alone = torch.cat([next_logits(lm, [prompt]) for prompt in PROMPTS])
    torch.testing.assert_close(asked.logits, alone, rtol=1e-3, atol=1e-3)
    assert asked.texts == tuple(generate(lm, [prompt], max_new_tokens=6)[0] for prompt in PROMPTS)
    for packed, single in zip(asked.scores, score_answers(lm, PAIRS), strict=True):
        assert packed.logprob == pytest.approx(single.logprob, abs=2e-4)
        assert (packed.is_first, packed.rank, packed.n_hit) == (single.is_first, single.rank, single.n_hit)


@pytest.mark.parametrize("max_token", [1, 12, 1000])
def test_what_is_written_does_not_depend_on_what_is_laid_out_together(max_token: int) -> None:
    lm = tiny_lm()
    apart = ask_packed(lm, PROMPTS, PAIRS, max_new_tokens=9, max_token=max_token)
    assert apart.texts == ask_packed(lm, PROMPTS, max_new_tokens=9).texts


def test_a_text_that_ends_leaves_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    written = [lm.tokenizer(text)["input_ids"] for text in ask_packed(lm, PROMPTS, max_new_tokens=8).texts]
    end = written[0][2]
    monkeypatch.setattr("kgmet.lm.say.packed.end_tokens", lambda _lm: {end})
    for before, text in zip(written, ask_packed(lm, PROMPTS, max_new_tokens=8).texts, strict=True):
        expected = before[: before.index(end) + 1] if end in before else before
        assert text == lm.tokenizer.decode(expected)


def test_nothing_is_written_unless_asked_for() -> None:
    assert ask_packed(tiny_lm(), PROMPTS).texts == ("",) * len(PROMPTS)
    assert ask_packed(tiny_lm(), []).texts == ()


def test_a_long_text_is_not_changed_by_what_is_dropped_when_short_ones_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes that nobody reads any more leave the cache; the rest keeps its place and its states."""
    dropped: list[int] = []
    keep = growing_kv_cache.keep_tokens

    def counting(cache: DynamicCache, kept: torch.Tensor) -> bool:
        dropped.append(cache.get_seq_length() - len(kept))
        return keep(cache, kept)

    monkeypatch.setattr(growing_kv_cache, "keep_tokens", counting)
    lm = tiny_lm()
    names = ("Rome", "Oslo", "Big Ben", "Paris")
    prompts = ["In the", *(f"{name} is a place that lies near the city of" for name in names)]
    lengths = [24, 2, 3, 2, 3]
    (asked,) = ask_sides(lm, prompts, sides=[unchanged], max_new_tokens=lengths)
    alone = [generate(lm, [text], max_new_tokens=n)[0] for text, n in zip(prompts, lengths, strict=True)]
    assert list(asked.texts) == alone
    assert dropped
    assert min(dropped) > 0
