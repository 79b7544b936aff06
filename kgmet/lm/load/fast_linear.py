"""`use_fast_linear` and `product`: products with fixed weights, computed by oneDNN.

Torch multiplies float32 matrices by MKL, which leaves the AVX-512 units of other makers' x86 processors unused. oneDNN
uses them, reads the same weights where they are, and gives the same values up to rounding.
"""

from __future__ import annotations

import functools
import platform
import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["product", "suits_product", "use_fast_linear"]


def use_fast_linear(model: nn.Module) -> None:
    """Let oneDNN compute the products of a model's linear layers, where this machine and this torch can.

    Layers that someone else has already wrapped, such as those of a model spread over devices, stay as they are.
    """
    if not _is_available():
        return
    for module in model.modules():
        if type(module) is nn.Linear and "forward" not in vars(module):
            module.forward = types.MethodType(_forward, module)  # type: ignore[method-assign]


@functools.cache
def _is_available() -> bool:
    """Return whether oneDNN computes here what torch does."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    draw = torch.Generator().manual_seed(0)
    given, weight = (torch.randn(5, 33, generator=draw, dtype=torch.float32, device="cpu") for _ in range(2))
    try:
        with torch.no_grad():
            return bool(torch.allclose(product(given, weight), given @ weight.T, atol=1e-4))
    except (AttributeError, RuntimeError):  # a torch without this operator
        return False


def _forward(self: nn.Linear, given: Tensor) -> Tensor:
    """Compute the layer's output; replaces `nn.Linear.forward`."""
    weight, bias = self.weight, self.bias
    if not _can_multiply(given, weight):
        return functional.linear(given, weight, bias)
    if torch.is_grad_enabled() and given.requires_grad:
        output: Tensor = _Product.apply(given, weight, bias)  # type: ignore[no-untyped-call]
        return output
    return product(given, weight, bias)


def suits_product(given: Tensor, weight: Tensor) -> bool:
    """Return whether `product` computes the product of these, here and with torch's present settings."""
    return _is_available() and _can_multiply(given, weight)


def _can_multiply(given: Tensor, weight: Tensor) -> bool:
    return _suits(given) and _suits(weight) and not weight.requires_grad and bool(torch.backends.mkldnn.enabled)


def _suits(tensor: Tensor) -> bool:
    return tensor.dtype is torch.float32 and tensor.device.type == "cpu" and tensor.ndim > 1 and tensor.numel() > 0


def product(given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return given · weightᵀ + bias by oneDNN, not differentiable: (…, n_in), (n_out, n_in), (n_out,) → (…, n_out)."""
    output: Tensor = torch.ops.mkldnn._linear_pointwise(given, weight, bias, "none", [], "")
    return output


class _Product(torch.autograd.Function):
    """Autograd function of the product, with a fixed weight."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return product(given, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return product(gradient.contiguous(), weight.T), None, None
