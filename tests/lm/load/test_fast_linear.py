"""Linear layers by oneDNN give torch's own values and gradients, and leave every other layer as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kgmet.lm.load import fast_linear
from kgmet.lm.load.fast_linear import use_fast_linear
from tests.tiny_models import FAMILY_KINDS, tiny_lm


def fixed(layer: nn.Linear) -> nn.Linear:
    layer.requires_grad_(False)
    use_fast_linear(layer)
    return layer


def given(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float32)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what oneDNN is given."""
    seen: list[tuple[int, ...]] = []
    product = fast_linear.product

    def counting(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        seen.append(tuple(inputs.shape))
        return product(inputs, weight, bias)

    if not fast_linear._is_available():
        pytest.skip("this machine or this torch has no such operator")
    monkeypatch.setattr(fast_linear, "product", counting)
    return seen


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 33), (7, 33), (2, 3, 33)])
def test_values_and_gradients_are_those_of_torch(
    bias: bool, shape: tuple[int, ...], products: list[tuple[int, ...]]
) -> None:
    layer = fixed(nn.Linear(33, 20, bias=bias))
    one, other = given(*shape).requires_grad_(), given(*shape).requires_grad_()
    mine, plain = layer(one), functional.linear(other, layer.weight, layer.bias)
    torch.testing.assert_close(mine, plain, rtol=1e-5, atol=1e-5)
    slope = given(*plain.shape)
    slopes = [torch.autograd.grad(output, inputs, slope)[0] for output, inputs in ((mine, one), (plain, other))]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(layer(one), plain, rtol=1e-5, atol=1e-5)
    assert products == [shape, (*shape[:-1], 20), shape]


def test_inputs_that_are_not_contiguous_are_read_as_they_are(products: list[tuple[int, ...]]) -> None:
    layer = fixed(nn.Linear(33, 20))
    turned = given(5, 2, 33).transpose(0, 1)
    torch.testing.assert_close(layer(turned), functional.linear(turned, layer.weight, layer.bias))
    assert products == [(2, 5, 33)]


def test_other_dtypes_single_vectors_nothing_and_weights_that_learn_go_the_plain_way(
    products: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = fixed(nn.Linear(33, 20))
    assert layer(given(33)).shape == (20,)
    assert layer(given(0, 33)).shape == (0, 20)
    double = fixed(nn.Linear(33, 20).double())
    assert double(given(2, 33).double()).dtype is torch.float64
    learning = nn.Linear(33, 20)
    use_fast_linear(learning)
    assert torch.autograd.grad(learning(given(2, 33)).sum(), learning.weight)[0].any()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    layer(given(2, 33))
    assert products == []


def test_a_changed_or_copied_layer_computes_with_its_own_weight(products: list[tuple[int, ...]]) -> None:
    layer = fixed(nn.Linear(33, 20))
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.mul_(2)
        torch.testing.assert_close(
            twin(given(3, 33)) - twin.bias, 2 * (layer(given(3, 33)) - layer.bias), rtol=1e-4, atol=1e-5
        )
    assert len(products) == 2


def test_layers_that_are_wrapped_already_stay_so() -> None:
    layer = nn.Linear(33, 20)
    layer.forward = lambda input: input  # type: ignore[method-assign]
    use_fast_linear(layer)
    inputs = given(2, 33)
    assert layer(inputs) is inputs


@pytest.mark.parametrize("kind", FAMILY_KINDS)
def test_a_loaded_model_says_what_it_says_without(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm(kind)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        mine = lm.model(ids, use_cache=False).logits
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
        plain = lm.model(ids, use_cache=False).logits
    torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-4)
