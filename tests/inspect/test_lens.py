"""Properties of the logit lens: its last layer is the model's own answer."""

from __future__ import annotations

import pytest

from kgmet.inspect.lens import read_lens
from kgmet.lm.say.score import next_tokens, score_answers
from kgmet.write.patch import attached
from tests.inspect.looked import random_patch, text_of
from tests.tiny_models import N_LAYER, tiny_lm


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_the_last_layer_says_what_the_model_says(kind: str) -> None:
    lm = tiny_lm(kind)
    patch, text = random_patch(lm), text_of()
    reading = read_lens(lm, patch, text, position=-1, k=4)
    with attached(patch, lm):
        said = next_tokens(lm, [text.text], k=4)[0]
        scores = score_answers(lm, [(text.text, answer) for answer in text.answers])
    assert [token.text for token in reading.after[-1].top] == [token.text for token in said]
    for ours, theirs in zip(reading.after[-1].top, said, strict=True):
        assert ours.probability == pytest.approx(theirs.probability, rel=1e-4)
    assert [answer.rank for answer in reading.after[-1].answers] == [score.rank for score in scores]
    assert len(reading.before) == len(reading.after) == len(reading.divergence) == N_LAYER


def test_without_a_patch_before_and_after_are_the_same() -> None:
    reading = read_lens(tiny_lm(), [], text_of(), position=2)
    assert reading.before == reading.after
    assert set(reading.divergence) == {0.0}


def test_divergence_is_zero_below_the_edit_and_positive_above() -> None:
    lm = tiny_lm()
    reading = read_lens(lm, random_patch(lm, layer=2), text_of(), position=-1)
    assert reading.divergence[:2] == (0.0, 0.0)
    assert all(value > 0 for value in reading.divergence[2:])


def test_positions_count_from_either_end_and_not_beyond() -> None:
    lm = tiny_lm()
    n_token = len(lm.tokenizer(text_of().text)["input_ids"])
    from_end = read_lens(lm, [], text_of(), position=-1)
    assert from_end == read_lens(lm, [], text_of(), position=n_token - 1)
    with pytest.raises(IndexError, match=str(n_token)):
        read_lens(lm, [], text_of(), position=n_token)


def test_the_likeliest_token_has_rank_one() -> None:
    lm = tiny_lm()
    best = next_tokens(lm, [text_of().text], k=1)[0][0].text.strip()
    text = text_of(old=best) if best else text_of()
    reading = read_lens(lm, [], text, position=-1)
    for row in reading.before:
        for token, answer in zip(reading.answer_tokens, row.answers, strict=True):
            if token == row.top[0].text:
                assert answer.rank == 1
                assert answer.probability == row.top[0].probability
            else:
                assert answer.probability <= row.top[0].probability
