"""Probes are asked in one pass, and say what the model says to each alone."""

from __future__ import annotations

import pytest
import torch

from kgmet.lm.score import generate, next_logits, next_tokens, score_answers
from kgmet.probe.divergence import divergences
from kgmet.probe.prompts import ProbeKind, ProbePrompt
from kgmet.probe.run import Decoding, ask_probes, run_probes
from kgmet.write.patch import attached
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import patch_for

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
    results, logits = ask_probes(lm, PROMPTS, decoding=Decoding(max_new_tokens=5, top_k=3), batch_size=batch_size)
    for prompt, result, row in zip(PROMPTS, results, logits, strict=True):
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


def test_divergence_is_zero_without_a_change_and_worked_by_hand_with_one() -> None:
    lm = tiny_lm()
    before = ask_probes(lm, PROMPTS)[1]
    with attached(patch_for(lm), lm):
        after = ask_probes(lm, PROMPTS)[1]
    assert divergences(before, before) == [0.0] * len(PROMPTS)
    p, q = before.double().softmax(-1), after.double().softmax(-1)
    assert divergences(before, after) == pytest.approx((p * (p / q).log()).sum(-1).tolist(), rel=1e-6)
    assert min(divergences(before, after)) > 0


def test_no_probe_is_no_work() -> None:
    assert run_probes(tiny_lm(), []) == []
