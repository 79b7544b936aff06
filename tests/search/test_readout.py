"""The short ways to a likelihood and a divergence give what whole distributions give, in every family."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.readout import Readout
from tests.tiny_models import FAMILY_KINDS, tiny_lm


def read(lm: LoadedLM, held: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """Three answers and two held distributions: what is read, and the gradient of a sum with weights."""
    states = states.clone().requires_grad_()
    nll, divergence = Readout(lm, torch.tensor([3, 0, 7]), held).of(states)
    found = torch.cat([nll, divergence])
    (slope,) = torch.autograd.grad(found @ torch.tensor([1.0, 0.5, 2.0, 1.0, 3.0]).to(found), states)
    return found.detach(), slope


class Whole(LoadedLM):
    """The same model, read from whole distributions."""

    linear_head = None


def whole(lm: LoadedLM) -> LoadedLM:
    return Whole(model=lm.model, tokenizer=lm.tokenizer, family=lm.family, name=lm.name, fingerprint=lm.fingerprint)


@pytest.mark.parametrize("kind", FAMILY_KINDS)
def test_both_ways_agree(kind: str) -> None:
    lm = tiny_lm(kind)
    generator = torch.Generator().manual_seed(0)
    states = 3 * torch.randn(5, lm.d_model, generator=generator)
    held = states[3:] + 0.3 * torch.randn(2, lm.d_model, generator=generator)
    for ours, theirs in zip(read(lm, held, states), read(whole(lm), held, states), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_nothing_moved_is_no_divergence() -> None:
    lm = tiny_lm("llama")
    states = torch.randn(5, lm.d_model, generator=torch.Generator().manual_seed(0))
    (_, divergence) = read(lm, states[3:], states)[0].split([3, 2])
    assert float(divergence.abs().max()) < 1e-5
