"""Properties of the hooks: they read and add what they say, in their own thread, and are gone afterwards."""

from __future__ import annotations

import threading

import pytest
import torch

from kgmet.lm.run.suffixes import left_padded
from kgmet.lm.run.tracing import StopForward, added, leaves, recorded, recorded_calls, shifted, stopped_after
from tests.tiny_models import tiny_lm

LM = tiny_lm("llama")
ROWS = [LM.tokenizer(text)["input_ids"] for text in ("The capital of Italy is", "Rome")]


def forward() -> torch.Tensor:
    """Logits (n_row, pos, d_vocab)."""
    ids, mask = left_padded(ROWS, device=LM.device)
    with torch.no_grad():
        return LM.model(ids, attention_mask=mask, use_cache=False).logits


def hooks() -> list[object]:
    """All hooks of all modules; transformers leaves some of its own on a model that was asked for hidden states."""
    return [
        hook
        for module in LM.model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


def test_a_leaf_changes_nothing_and_its_gradient_is_that_of_the_output() -> None:
    before, plain = hooks(), forward()
    layers = list(LM.layers)[1:3]
    ids, mask = left_padded(ROWS, device=LM.device)
    with torch.enable_grad(), leaves(layers) as zeros, recorded(layers) as outputs:
        logits = LM.model(ids, attention_mask=mask, use_cache=False).logits
        wanted = [output for output in outputs if output is not None]
        gradients = torch.autograd.grad(logits.square().sum(), [*zeros, *wanted])
    assert torch.equal(logits, plain)
    for of_zero, of_output in zip(gradients[:2], gradients[2:], strict=True):
        assert of_zero.abs().sum() > 0
        torch.testing.assert_close(of_zero, of_output)
    assert hooks() == before


def test_recording_changes_nothing_and_sees_layers_in_order() -> None:
    before = hooks()
    plain = forward()
    with recorded(list(LM.layers)) as seen:
        assert torch.equal(forward(), plain)
    with recorded(list(LM.layers), inputs=True) as given:
        forward()
    for layer in range(1, LM.n_layer):
        assert torch.equal(given[layer], seen[layer - 1])
    assert hooks() == before


def test_recorded_calls_can_be_replayed() -> None:
    with recorded_calls([LM.layers[1]]) as calls, recorded([LM.layers[1]]) as seen:
        forward()
    ((args, kwargs),) = calls
    with torch.no_grad():
        again = LM.layers[1](*args, **kwargs)
    assert torch.equal(again[0] if isinstance(again, tuple) else again, seen[0])


def test_a_shift_is_added_once_at_one_position_of_each_row() -> None:
    by = torch.randn(2, LM.d_model)
    positions = torch.tensor([1, 3])
    with recorded([LM.layers[1]]) as before:
        forward()
    with shifted(LM, layer=1, positions=positions, by=by), recorded([LM.layers[1]]) as after:
        forward()
    moved = after[0] - before[0]
    torch.testing.assert_close(moved[torch.arange(2), positions], by, rtol=1e-4, atol=1e-5)
    moved[torch.arange(2), positions] = 0
    assert not moved.any()
    with shifted(LM, layer=1, positions=positions, by=by[0]), recorded([LM.layers[1]]) as same:
        forward()
    torch.testing.assert_close((same[0] - before[0])[0, 1], by[0], rtol=1e-4, atol=1e-5)


def test_no_shift_is_no_change() -> None:
    plain = forward()
    with shifted(LM, layer=1, positions=torch.tensor([0, 0]), by=torch.zeros(LM.d_model)):
        assert torch.equal(forward(), plain)


def test_added_adds_the_product_of_the_factors() -> None:
    module = LM.family.write_module(LM.model, 1)
    x = torch.randn(3, 5, LM.d_key)
    given, taken = torch.randn(2, LM.d_key), torch.randn(2, LM.d_model)
    plain = module(x)
    with added(module, input_factor=given, output_factor=taken):
        torch.testing.assert_close(module(x), plain + x @ given.T @ taken, rtol=1e-5, atol=1e-5)
    assert torch.equal(module(x), plain)


def test_added_keeps_the_modules_dtype_and_its_own_precision() -> None:
    lm = tiny_lm("llama", dtype=torch.bfloat16)
    module = lm.family.write_module(lm.model, 1)
    x = torch.randn(3, lm.d_key).bfloat16()
    given, taken = torch.randn(1, lm.d_key), torch.randn(1, lm.d_model)
    plain = module(x)
    with added(module, input_factor=given, output_factor=taken):
        out = module(x)
    assert out.dtype is torch.bfloat16
    assert torch.equal(out, plain + (x.float() @ given.T @ taken).bfloat16())


def test_stopping_leaves_out_the_layers_above() -> None:
    before = hooks()
    with recorded(list(LM.layers)) as seen, stopped_after(LM, 1):
        forward()
    assert [tensor is not None for tensor in seen] == [True, True, False, False]
    assert hooks() == before


@pytest.mark.parametrize(
    "opened",
    [
        lambda: recorded([LM.layers[0]]),
        lambda: recorded_calls([LM.layers[0]]),
        lambda: shifted(LM, layer=0, positions=torch.zeros(2).long(), by=torch.zeros(LM.d_model)),
        lambda: stopped_after(LM, 0),
    ],
)
def test_an_error_inside_removes_the_hook(opened: object) -> None:
    before = hooks()
    with pytest.raises(ZeroDivisionError), opened():  # type: ignore[operator]
        1 / 0  # noqa: B018
    assert hooks() == before


def test_a_hook_works_in_its_own_thread_only() -> None:
    plain, seen_elsewhere = forward(), []
    shift = shifted(LM, layer=1, positions=torch.tensor([1, 1]), by=torch.ones(LM.d_model))
    with shift, stopped_after(LM, 2), recorded([LM.layers[0]]) as here, recorded_calls([LM.layers[0]]) as calls:
        other = threading.Thread(target=lambda: seen_elsewhere.append(forward()))
        other.start()
        other.join()
        assert here == [None]
        assert calls == []
    assert torch.equal(seen_elsewhere[0], plain)


def test_stop_forward_of_another_kind_is_not_swallowed() -> None:
    with pytest.raises(ValueError, match="mine"), stopped_after(LM, 1):
        raise ValueError("mine")
    assert issubclass(StopForward, Exception)
