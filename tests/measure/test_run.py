"""Probes are asked in one pass, and say what the model says to each alone."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from kgmet.base.errors import StaleArtifactError
from kgmet.lm.say.packed import Side
from kgmet.lm.say.score import generate, next_logits, next_tokens, score_answers
from kgmet.measure.divergence import divergences
from kgmet.measure.prompts import ProbeKind, ProbePrompt
from kgmet.measure.run import Decoding, ask_probes, run_probes
from kgmet.measure.sides import before_and_after
from kgmet.write.patch import attached
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import patch_for

PLAIN: tuple[Side, ...] = (lambda _row: nullcontext(),)
PROMPTS = (
    ProbePrompt(
        kind=ProbeKind.OWN, text="The Eiffel Tower is located in the city of", expected="Paris", rejected="Rome"
    ),
    ProbePrompt(kind=ProbeKind.OWN, text="The capital of Italy is", expected="Rome"),
    ProbePrompt(kind=ProbeKind.OWN, text="Big Ben"),
)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral-sliding", "gemma2"])
@pytest.mark.parametrize("batch_size", [1, 2, 48])
def test_a_probe_says_what_the_model_says_to_it_alone(kind: str, batch_size: int) -> None:
    lm = tiny_lm(kind)
    (side,) = ask_probes(lm, PROMPTS, PLAIN, decoding=Decoding(max_new_tokens=5, top_k=3), batch_size=batch_size)
    for prompt, result, row in zip(PROMPTS, side.results, side.logits, strict=True):
        assert result.answer == generate(lm, [prompt.text], max_new_tokens=5)[0]
        torch.testing.assert_close(row, next_logits(lm, [prompt.text])[0], rtol=1e-3, atol=1e-3)
        assert [token.text for token in result.top] == [t.text for t in next_tokens(lm, [prompt.text], k=3)[0]]
        for answer, score in ((prompt.expected, result.expected), (prompt.rejected, result.rejected)):
            assert (answer is None) == (score is None)
            if answer is not None and score is not None:
                alone = score_answers(lm, [(prompt.text, answer)])[0]
                assert score.logprob == pytest.approx(alone.logprob, abs=2e-4)
                assert score.rank == alone.rank


@pytest.mark.parametrize("how", [Decoding(chat=True), Decoding(temperature=1.0, seed=3)])
def test_other_decodings_change_what_is_written_and_nothing_else(how: Decoding) -> None:
    lm = tiny_lm()
    for plain, other in zip(run_probes(lm, PROMPTS), run_probes(lm, PROMPTS, decoding=how), strict=True):
        assert plain.expected == other.expected
        assert plain.top == other.top


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral-sliding", "gemma2"])
def test_both_sides_at_once_say_what_each_does_alone(kind: str) -> None:
    lm = tiny_lm(kind)
    patch = replace(patch_for(lm), updates=(replace(patch_for(lm).updates[0], weight_name=lm.family.write_name(1)),))
    before, after = ask_probes(lm, PROMPTS, before_and_after(patch, lm), decoding=Decoding(max_new_tokens=5))
    alone = [ask_probes(lm, PROMPTS, PLAIN, decoding=Decoding(max_new_tokens=5))[0]]
    with attached(patch, lm):
        alone += ask_probes(lm, PROMPTS, PLAIN, decoding=Decoding(max_new_tokens=5))
    assert not torch.allclose(before.logits, after.logits, atol=1e-2)
    for side, single in zip((before, after), alone, strict=True):
        torch.testing.assert_close(side.logits, single.logits, rtol=1e-3, atol=1e-3)
        for one, other in zip(side.results, single.results, strict=True):
            assert one.answer == other.answer
            assert (one.expected is None) == (other.expected is None)
            if one.expected is not None and other.expected is not None:
                assert one.expected.logprob == pytest.approx(other.expected.logprob, abs=1e-3)


def test_a_patch_of_another_model_is_refused() -> None:
    with pytest.raises(StaleArtifactError):
        before_and_after(replace(patch_for(tiny_lm()), model_fingerprint="another"), tiny_lm())


def test_divergence_is_zero_without_a_change_and_worked_by_hand_with_one() -> None:
    lm = tiny_lm()
    before, after = (side.logits for side in ask_probes(lm, PROMPTS, before_and_after(patch_for(lm), lm)))
    assert divergences(before, before) == [0.0] * len(PROMPTS)
    p, q = before.double().softmax(-1), after.double().softmax(-1)
    assert divergences(before, after) == pytest.approx((p * (p / q).log()).sum(-1).tolist(), rel=1e-6)
    assert min(divergences(before, after)) > 0


def test_no_probe_is_no_work() -> None:
    assert run_probes(tiny_lm(), []) == []
