"""CrispEdit's projection, and the gradients it is made from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kgmet.lm.run.tracing import hooked
from kgmet.write.corpus import Corpus
from kgmet.write.curvature import Curvature, output_moments
from tests.tiny_models import tiny_lm
from tests.write.worked import drawn

LINES = tuple(
    f"The {a} of {b} is in the city." for a in ("tower", "gate") for b in ("Paris", "Rome", "Tokyo", "Big Ben")
)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_the_flat_part_is_the_formula(share: float) -> None:
    outputs, keys, change = drawn(30, 5, seed=1), drawn(30, 7, seed=2), drawn(5, 7, seed=3).float()
    s, a = outputs.T @ outputs / 30, keys.T @ keys / 30
    strengths, u_s = torch.linalg.eigh(s)
    spreads, u_a = torch.linalg.eigh(a)
    products = torch.outer(strengths, spreads)
    inner = u_s.T @ change.double() @ u_a
    steep, carried = torch.zeros_like(products, dtype=torch.bool), 0.0
    for place in products.flatten().argsort(descending=True):
        if carried >= share * float(products.sum()):
            break
        steep.view(-1)[place] = True
        carried += float(products.flatten()[place])
    wanted = u_s @ (inner * ~steep) @ u_a.T
    found = Curvature.of(s, a, share=share).flat_part(change)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(Curvature.of(s, a, share=share).flat_part(found), found, rtol=1e-4, atol=1e-5)


def test_output_moments_are_those_of_texts_taken_one_by_one(own_cache_folder: Path) -> None:
    lm, corpus = tiny_lm(), Corpus(name="test", lines=LINES)
    found = output_moments(lm, (1, 2), corpus=corpus)
    assert len(list((own_cache_folder / "moments").iterdir())) == 2
    again = output_moments(lm, (1, 2), corpus=corpus)
    total, n_token = torch.zeros(lm.d_model, lm.d_model).double(), 0
    for text in LINES[::4]:
        ids = torch.tensor([lm.tokenizer(text)["input_ids"]])
        probe = torch.zeros(1, ids.shape[1], lm.d_model, requires_grad=True)
        with hooked(lm.family.write_module(lm.model, 1), lambda _inputs, output, probe=probe: output + probe):
            logits = lm.model(ids).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
        gradient = torch.autograd.grad(loss, probe)[0][0, :-1].double()
        total, n_token = total + gradient.T @ gradient, n_token + len(gradient)
    torch.testing.assert_close(found[1], total / n_token, rtol=1e-3, atol=1e-6)
    assert torch.equal(found[1], again[1])
