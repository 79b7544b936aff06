"""Conformance: what an edit touches works alike in every family, each as a tiny random model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kgmet.base.errors import ConfigError, UnsupportedModelError
from kgmet.lm.load.family import FAMILIES, Layout, family_of
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase, locate_all
from kgmet.lm.run.suffixes import base_states, encode_suffixes, left_padded
from kgmet.lm.run.tracing import recorded, shifted
from tests.tiny_models import D_KEY, D_MODEL, FAMILY_KINDS, N_LAYER, tiny_lm, tiny_model

TEXTS = ["The Eiffel Tower is located in the city of", "Rome", "In the news today: The capital of Italy is"]
every_family = pytest.mark.parametrize("kind", FAMILY_KINDS)


def logits_of(lm: LoadedLM, rows: list[tuple[int, ...]]) -> Tensor:
    """Last-token logits (n_row, d_vocab) by the model's own forward."""
    ids, mask = left_padded(rows, device=lm.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        return lm.model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits[:, -1].float()


def rows_of(lm: LoadedLM, texts: list[str] = TEXTS) -> list[tuple[int, ...]]:
    """Token ids of each text, unpadded."""
    return [tuple(row) for row in lm.tokenizer(texts)["input_ids"]]


def test_every_row_of_the_table_is_tested() -> None:
    tested = {tiny_model(kind).config.model_type for kind in FAMILY_KINDS}
    assert tested == {kind for family in FAMILIES for kind in family.model_types}


@every_family
def test_widths_and_names_are_those_of_the_weights(kind: str) -> None:
    lm = tiny_lm(kind)
    assert (lm.n_layer, lm.d_model, lm.d_key) == (N_LAYER, D_MODEL, D_KEY)
    for layer in range(lm.n_layer):
        weight = lm.family.weight_out_in(lm.model, layer)
        assert weight.shape == (D_MODEL, D_KEY)
        stored = lm.model.state_dict()[f"{lm.family.write_name(layer)}.weight"]
        assert weight.data_ptr() == stored.data_ptr(), "a view of the stored weight, not a copy"


@every_family
def test_the_write_module_is_what_the_layout_says(kind: str) -> None:
    lm = tiny_lm(kind)
    module = lm.family.write_module(lm.model, 1)
    keys = torch.randn(5, D_KEY)
    bias = getattr(module, "bias", None)
    expected = keys @ lm.family.weight_out_in(lm.model, 1).T + (0 if bias is None else bias)
    torch.testing.assert_close(module(keys), expected)
    assert isinstance(module, nn.Linear) == (lm.family.layout is Layout.OUT_IN)


@every_family
def test_logits_from_last_states_are_the_models_own(kind: str) -> None:
    lm = tiny_lm(kind)
    ids, mask = left_padded(rows_of(lm), device=lm.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        states = base_states(lm, ids, attention_mask=mask, position_ids=positions, use_cache=False)
        ours = lm.vocabulary_logits(states[:, -1])
    torch.testing.assert_close(ours, logits_of(lm, rows_of(lm)), rtol=1e-5, atol=1e-5)


@every_family
@pytest.mark.parametrize("bos", [False, True])
def test_left_padding_changes_nothing(kind: str, bos: bool) -> None:
    lm = tiny_lm(kind, bos=bos)
    rows = rows_of(lm)
    together = logits_of(lm, rows)
    alone = torch.cat([logits_of(lm, [row]) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@every_family
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("bos", [False, True])
def test_resuming_above_a_layer_is_the_full_forward(kind: str, layer: int, bos: bool) -> None:
    """With a shift at the start token, rows of different length together, a subject at position 0 among them."""
    lm = tiny_lm(kind, bos=bos)
    phrases = [
        Phrase(template="{} is located in the city of", subject="The Eiffel Tower", prefix="It is well known. "),
        Phrase(template="{}", subject="R"),
        Phrase(template="The language spoken in the capital {} of Italy is", subject="Rome"),
    ]
    spans = locate_all(lm, phrases)
    rows, starts = [span.input_ids for span in spans], [span.lookup.position for span in spans]
    assert bos or starts[1] == 0
    by = torch.randn(len(rows), lm.d_model, generator=torch.Generator().manual_seed(1))
    suffixes = encode_suffixes(lm, rows, starts, layer=layer)
    hidden = suffixes.hidden.clone()
    hidden[:, 0] += by
    with torch.no_grad():
        resumed = lm.vocabulary_logits(suffixes.resume(hidden))
        plain = lm.vocabulary_logits(suffixes.final)
    for number, row in enumerate(rows):
        last = len(suffixes.paths[number]) - 1
        torch.testing.assert_close(plain[number, last][None], logits_of(lm, [row]), rtol=1e-4, atol=1e-4)
        with shifted(lm, layer=layer, positions=torch.tensor([starts[number]]), by=by[number]):
            expected = logits_of(lm, [row])
        torch.testing.assert_close(resumed[number, last][None], expected, rtol=1e-4, atol=1e-4)
        # A sliding window may be shorter than the suffix: its last token need not see the shift, its first always does.
        assert float((resumed - plain)[number, 0].abs().max()) > 1e-3, "the shift must matter for this to be a test"


@every_family
@pytest.mark.parametrize("bos", [False, True])
def test_texts_in_one_tree_are_resumed_as_each_is_alone(kind: str, bos: bool) -> None:
    """Two trees of different size; their texts share what is before the start token, what is after it, or neither."""
    lm = tiny_lm(kind, bos=bos)
    phrases = [
        Phrase(template="{} is in the city of", subject="The Eiffel Tower"),
        Phrase(template="{} is in the country of", subject="The Eiffel Tower"),
        Phrase(template="{} is in the city of", subject="The Eiffel Tower", prefix="It is well known. "),
        Phrase(template="{} is", subject="Rome"),
        Phrase(template="{}", subject="Rome"),
    ]
    together = [0, 0, 0, 1, 1]
    spans = locate_all(lm, phrases)
    rows, starts = [span.input_ids for span in spans], [span.lookup.position for span in spans]
    by = torch.randn(2, lm.d_model, generator=torch.Generator().manual_seed(1))
    suffixes = encode_suffixes(lm, rows, starts, layer=1, together=together)
    hidden = suffixes.hidden.clone()
    for tree, node in {(tree, path[0]) for tree, path in zip(suffixes.tree_of, suffixes.paths, strict=True)}:
        hidden[tree, node] += by[together[suffixes.tree_of.index(tree)]]
    with torch.no_grad():
        resumed = lm.vocabulary_logits(suffixes.resume(hidden))
    for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
        with shifted(lm, layer=1, positions=torch.tensor([start]), by=by[together[number]]):
            expected = logits_of(lm, [row])
        found = resumed[suffixes.tree_of[number], suffixes.paths[number][-1]]
        torch.testing.assert_close(found[None], expected, rtol=1e-4, atol=1e-4)


@every_family
def test_resuming_twice_gives_the_same(kind: str) -> None:
    lm = tiny_lm(kind)
    rows = rows_of(lm)
    suffixes = encode_suffixes(lm, rows, [len(row) // 2 for row in rows], layer=1)
    with torch.no_grad():
        first, second = suffixes.resume(suffixes.hidden), suffixes.resume(suffixes.hidden)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, suffixes.final, rtol=1e-5, atol=1e-5)


@every_family
def test_gradients_reach_the_shift_and_no_weight(kind: str) -> None:
    lm = tiny_lm(kind)
    rows = rows_of(lm)
    suffixes = encode_suffixes(lm, rows, [len(row) - 1 for row in rows], layer=1)
    hidden = suffixes.hidden.clone().requires_grad_()
    lm.vocabulary_logits(suffixes.resume(hidden)).logsumexp(-1).sum().backward()
    assert hidden.grad is not None
    assert bool((hidden.grad[:, 0].norm(dim=1) > 0).all())
    assert all(parameter.grad is None for parameter in lm.model.parameters())


@every_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_and_says_about_the_same(kind: str, dtype: torch.dtype) -> None:
    lm, exact = tiny_lm(kind, dtype=dtype), tiny_lm(kind)
    assert lm.dtype is dtype
    rows = rows_of(lm)
    suffixes = encode_suffixes(lm, rows, [len(row) - 1 for row in rows], layer=1)
    with torch.no_grad():
        half = lm.vocabulary_logits(suffixes.resume(suffixes.hidden))[:, 0]
    assert half.dtype is torch.float32
    full = logits_of(exact, rows)
    assert bool((torch.cosine_similarity(half, full) > 0.99).all())


@every_family
@pytest.mark.parametrize("layer", [-1, N_LAYER - 1, 99])
def test_a_layer_that_cannot_be_resumed_from_is_refused(kind: str, layer: int) -> None:
    lm = tiny_lm(kind)
    with pytest.raises(ConfigError, match=f"0 to {N_LAYER - 2}"):
        encode_suffixes(lm, rows_of(lm), [0] * len(TEXTS), layer=layer)


def test_the_recorded_key_is_the_input_of_the_projection() -> None:
    lm = tiny_lm("gpt2")
    module = lm.family.write_module(lm.model, 2)
    with recorded([module], inputs=True) as keys, recorded([module]) as outputs:
        logits_of(lm, rows_of(lm))
    assert keys[0] is not None
    assert outputs[0] is not None
    assert keys[0].shape[-1] == D_KEY
    torch.testing.assert_close(module(keys[0]), outputs[0])


def test_an_unknown_family_lists_those_there_are() -> None:
    class Config:
        model_type = "mamba"

    with pytest.raises(UnsupportedModelError, match=r"'mamba'.*gpt2.*llama"):
        family_of(Config())


def test_a_wrapped_model_without_the_modules_says_which() -> None:
    with pytest.raises(UnsupportedModelError, match=r"model\.layers"):
        tiny_lm("llama").family.decoder_layers(nn.Linear(2, 2))
