"""Properties of the log-partition: it matches the logits, its slope is its gradient, for any last piece."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kgmet.lm.load import fast_linear, vocabulary
from kgmet.lm.load.vocabulary import LinearHead
from tests.tiny_models import tiny_lm

SIZES = [5, 1024, 2500]


def head_of(d_vocab: int, *, bias: bool) -> LinearHead:
    """A random head in float64, with logits large enough for softmax to matter."""
    generator = torch.Generator().manual_seed(d_vocab)
    weight = torch.randn(d_vocab, 12, generator=generator, dtype=torch.float64)
    return LinearHead(
        weight=weight, bias=torch.randn(d_vocab, generator=generator, dtype=torch.float64) if bias else None
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("d_vocab", SIZES)
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_it_is_the_log_sum_of_all_exponentials_with_its_gradient(d_vocab: int, bias: bool, scale: float) -> None:
    head = head_of(d_vocab, bias=bias)
    states = (scale * torch.randn(4, 12, dtype=torch.float64)).requires_grad_()
    logits = nn.functional.linear(states, head.weight, head.bias)
    expected = logits.logsumexp(-1)
    weights = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    (slope,) = torch.autograd.grad(expected @ weights, states)
    found = head.log_partition(states)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(found @ weights, states)[0], slope, rtol=1e-10, atol=1e-10)
    tokens = torch.tensor([0, 4, 1, 4])
    torch.testing.assert_close(head.logit(states, tokens), logits.gather(1, tokens[:, None])[:, 0])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("d_vocab", [5, 8192, 20_000])
def test_in_float32_both_ways_to_compute_it_agree_with_float64(
    d_vocab: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = head_of(d_vocab, bias=bias)
    head = LinearHead(weight=exact.weight.float(), bias=None if exact.bias is None else exact.bias.float())
    states = torch.randn(3, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = exact.partition_and_slope(states)
    products = []
    monkeypatch.setattr(vocabulary, "product", lambda *given: products.append(given) or fast_linear.product(*given))
    for is_on in (True, False):
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", is_on)
        is_used = fast_linear.suits_product(states.float(), head.weight)
        for found, wanted in zip(head.partition_and_slope(states.float()), expected, strict=True):
            torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
        assert bool(products) is is_used
        products.clear()


def test_no_states_have_no_log_partition() -> None:
    assert head_of(2500, bias=True).log_partition(torch.zeros(0, 12, dtype=torch.float64)).shape == (0,)


def test_a_head_that_is_more_than_a_matrix_or_narrow_is_none() -> None:
    assert tiny_lm("gemma2").config.final_logit_softcapping is not None
    assert tiny_lm("gemma2").linear_head is None
    assert tiny_lm("llama", dtype=torch.bfloat16).linear_head is None
    biased, tied = tiny_lm("phi").linear_head, tiny_lm("llama3").linear_head
    assert biased is not None
    assert biased.bias is not None
    assert tied is not None
    assert tied.weight is tiny_lm("llama3").embedding.weight
