"""Properties of gradient × activation, on every family."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from kgmet.inspect.attribution import Component, attribute, largest, take_out
from kgmet.inspect.sweep import Part, part_module
from kgmet.inspect.traced_prompt import TracedPrompt
from kgmet.lm.load.loaded import LoadedLM, wrap_lm
from kgmet.lm.run.spans import Phrase
from kgmet.lm.run.tracing import hooked
from kgmet.lm.say.score import next_tokens
from kgmet.write.patch import attached
from tests.inspect.looked import drawn, random_patch
from tests.passes import passes
from tests.tiny_models import FAMILY_KINDS, N_LAYER, tiny_lm, tiny_model, tiny_tokenizer

every_family = pytest.mark.parametrize("kind", FAMILY_KINDS)
TOWER = TracedPrompt(
    phrase=Phrase(template="{} is located in the city of", subject="The Eiffel Tower"), answer="Rome", rival="Paris"
)
N_HEAD = 4
NORMED = ("gemma2", "gemma3", "olmo2")
"""Families with a normalisation behind attention and MLP: what is scaled before it is scaled back by it."""


def answer_logits(lm: LoadedLM, prompt: TracedPrompt) -> torch.Tensor:
    ids = torch.tensor([lm.tokenizer(prompt.text)["input_ids"]])
    with torch.no_grad():
        return lm.model(ids, use_cache=False).logits[0, -1].float()


@every_family
@pytest.mark.parametrize("rival", ["Paris", None])
def test_parts_taken_out_in_one_pass_fall_as_far_as_each_in_its_own(kind: str, rival: str | None) -> None:
    lm = tiny_lm(kind)
    patch = random_patch(lm)
    found = attribute(lm, replace(TOWER, rival=rival), patches=[patch])
    parts = [Component(layer=1, head=0), Component(layer=1, head=2), Component(layer=1), Component(layer=0, head=3)]
    apart = [take_out(lm, found, [part], patches=[patch])[0] for part in parts]
    with passes(lm) as lowest, passes(lm, 1) as above:
        together = take_out(lm, found, parts, patches=[patch])
    # The text as it is, and each part's row from the part's layer on.
    assert [[n_row for n_row, _ in seen] for seen in (lowest, above)] == [[1 + 1], [1 + 4]]
    assert [one.component for one in together] == parts
    assert [one.fall for one in together] == pytest.approx([one.fall for one in apart], rel=1e-4, abs=1e-5)
    assert len({round(one.fall, 6) for one in together}) == len(parts)
    assert take_out(lm, found, []) == ()


@every_family
def test_heads_add_up_to_the_attention_output(kind: str) -> None:
    lm = tiny_lm(kind)
    found = attribute(lm, TOWER)
    assert found.heads.shape == (N_LAYER, N_HEAD)
    torch.testing.assert_close(found.heads.sum(1), found.attention, rtol=1e-3, atol=1e-4)
    assert found.heads.abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "phi"])
def test_a_bias_of_the_output_projection_belongs_to_no_head(kind: str) -> None:
    model = tiny_model(kind, seed=3)
    lm = wrap_lm(model, tiny_tokenizer(), name=f"tiny {kind} with biases")
    without = attribute(lm, TOWER)
    bias = part_module(lm, Part.ATTENTION, 1).get_parameter("bias")
    bias.copy_(drawn(len(bias), seed=1))
    found = attribute(lm, TOWER)
    rest = found.attention - found.heads.sum(1)
    assert abs(float(rest[1])) > 1e-4
    torch.testing.assert_close(rest[[0, 2, 3]], torch.zeros(3), atol=1e-4, rtol=0)
    assert not torch.allclose(found.heads, without.heads)


@every_family
def test_the_measure_is_the_difference_of_the_two_logits(kind: str) -> None:
    lm = tiny_lm(kind)
    found = attribute(lm, TOWER)
    logits = answer_logits(lm, TOWER)
    expected = float(logits[found.source.answer] - logits[found.source.rival])
    assert found.measure == pytest.approx(expected, rel=1e-3, abs=1e-4)
    alone = attribute(lm, replace(TOWER, rival=None))
    assert alone.measure == pytest.approx(float(logits.log_softmax(-1)[found.source.answer]), rel=1e-3)


@every_family
def test_swapping_answer_and_rival_changes_the_sign_only(kind: str) -> None:
    lm = tiny_lm(kind)
    found, other = attribute(lm, TOWER), attribute(lm, replace(TOWER, answer="Paris", rival="Rome"))
    torch.testing.assert_close(found.heads, -other.heads, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.mlps, -other.mlps, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in FAMILY_KINDS if kind not in NORMED])
def test_a_contribution_is_the_slope_of_scaling_that_part(kind: str) -> None:
    """d m / d s at s = 1 of s · z is ⟨∂m/∂z, z⟩: what the first order means."""
    lm = tiny_lm(kind)
    found, step = attribute(lm, TOWER), 1e-2
    for layer in (0, N_LAYER - 1):
        for module, expected in (
            (part_module(lm, Part.MLP, layer), found.mlps[layer]),
            (part_module(lm, Part.ATTENTION, layer), found.attention[layer]),
        ):
            measured = []
            for scale in (1 + step, 1 - step):
                with hooked(module, lambda _given, output, scale=scale: output * scale):
                    logits = answer_logits(lm, TOWER)
                measured.append(float(logits[found.source.answer] - logits[found.source.rival]))
            slope = (measured[0] - measured[1]) / (2 * step)
            assert float(expected) == pytest.approx(slope, rel=0.05, abs=5e-3)


@pytest.mark.parametrize("kind", NORMED)
def test_behind_a_normalisation_the_contribution_is_that_of_what_it_gives(kind: str) -> None:
    lm, layer, step = tiny_lm(kind), 1, 1e-2
    found = attribute(lm, TOWER)
    for norm, expected in (
        (lm.family.norm_after_write(lm.model, layer), found.mlps[layer]),
        (lm.family.norm_after_attend(lm.model, layer), found.attention[layer]),
    ):
        assert norm is not None
        measured = []
        for scale in (1 + step, 1 - step):
            with hooked(norm, lambda _given, output, scale=scale: output * scale):
                logits = answer_logits(lm, TOWER)
            measured.append(float(logits[found.source.answer] - logits[found.source.rival]))
        assert float(expected) == pytest.approx((measured[0] - measured[1]) / (2 * step), rel=0.05, abs=5e-3)


@every_family
def test_taking_out_every_head_is_taking_out_the_attention(kind: str) -> None:
    """A head is taken out alone; the last one, once all others are 0, leaves nothing but the bias."""
    lm = tiny_lm(kind)
    found = attribute(lm, TOWER)
    module = part_module(lm, Part.ATTENTION, 1)
    seen = {}

    def keep(given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen["in"], seen["out"] = given[0], output

    with hooked(module, keep):
        answer_logits(lm, TOWER)
    width = seen["in"].shape[-1] // N_HEAD
    alone = torch.zeros_like(seen["in"])
    alone[..., :width] = seen["in"][..., :width]
    zero = module.forward(torch.zeros_like(alone))
    with hooked(module, lambda _given, output: output - (module.forward(alone) - zero)):
        logits = answer_logits(lm, TOWER)
    without = float(logits[found.source.answer] - logits[found.source.rival])
    (removal,) = take_out(lm, found, [Component(layer=1, head=0)])
    assert removal.fall == pytest.approx(found.measure - without, rel=1e-2, abs=1e-3)
    assert removal.estimate == pytest.approx(float(found.heads[1, 0]))


def test_the_largest_come_first_and_are_really_the_largest() -> None:
    found = attribute(tiny_lm(), TOWER)
    chosen = largest(found, 5)
    sizes = [abs(found.of(one)) for one in chosen]
    assert sizes == sorted(sizes, reverse=True)
    every = torch.cat([found.heads.flatten(), found.mlps]).abs().sort(descending=True).values[:5]
    torch.testing.assert_close(torch.tensor(sizes), every)
    assert len(largest(found, 1000)) == N_LAYER * (N_HEAD + 1)
    with pytest.raises(IndexError, match="layer 9"):
        take_out(tiny_lm(), found, [Component(layer=9)])


@every_family
def test_nothing_stays_behind(kind: str) -> None:
    lm = tiny_lm(kind)
    before = [(name, value.clone()) for name, value in lm.model.state_dict().items()]
    said = next_tokens(lm, [TOWER.text], k=5)
    patch = random_patch(lm)
    edited = attribute(lm, TOWER, patches=[patch])
    take_out(lm, edited, largest(edited, 3), patches=[patch])
    assert not [module for module in lm.model.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert all(torch.equal(value, lm.model.state_dict()[name]) for name, value in before)
    assert all(p.grad is None and not p.requires_grad for p in lm.model.parameters())
    assert next_tokens(lm, [TOWER.text], k=5) == said


def test_a_patch_counts_for_the_mlp_it_is_added_to() -> None:
    lm = tiny_lm()
    patch = random_patch(lm, layer=N_LAYER - 1)
    before, after = attribute(lm, TOWER), attribute(lm, TOWER, patches=[patch])
    with attached(patch, lm):
        logits = answer_logits(lm, TOWER)
    assert after.measure == pytest.approx(float(logits[after.source.answer] - logits[after.source.rival]), rel=1e-3)
    assert abs(float(after.mlps[-1] - before.mlps[-1])) > 1e-3
    assert after.total == pytest.approx(
        float(after.heads.sum() + after.mlps.sum()) + after.embedding, rel=1e-3, abs=1e-3
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_bfloat16(kind: str) -> None:
    found = attribute(tiny_lm(kind, dtype=torch.bfloat16), TOWER)
    assert torch.isfinite(found.heads).all() and torch.isfinite(found.mlps).all()
    assert found.measure == pytest.approx(attribute(tiny_lm(kind), TOWER).measure, rel=0.2, abs=0.2)


def test_a_head_that_adds_nothing_contributes_nothing() -> None:
    model = tiny_model("llama", seed=5)
    projection: nn.Linear = model.model.layers[2].self_attn.o_proj
    with torch.no_grad():
        projection.weight[:, 8:16] = 0
    lm = wrap_lm(model, tiny_tokenizer(), name="one head silent")
    found = attribute(lm, TOWER)
    assert float(found.heads[2, 1]) == 0
    assert take_out(lm, found, [Component(layer=2, head=1)])[0].fall == pytest.approx(0, abs=1e-5)
