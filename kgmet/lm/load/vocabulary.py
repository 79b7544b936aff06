"""`LinearHead`: the log-partition of the vocabulary and its gradient, fast for a few states.

A likelihood needs only the log-partition A(h) = log Σ_v exp(h·w_v + b_v), whose gradient is the mean row Σ_v p_v w_v.
Both are computed in one pass, and nothing of the vocabulary's size is stored for the backward pass. The matrix is
processed in pieces, which fit the CPU cache: by oneDNN one after another where it is used, else as a batch of small
products, which uses all threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kgmet.lm.load.fast_linear import product, suits_product

__all__ = ["LinearHead"]

_ROWS = 512
"""Tokens per piece of a batch."""
_ROWS_OF_PRODUCT = 8192
"""Tokens per piece where oneDNN computes the products: each uses all threads by itself."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearHead:
    """A purely linear vocabulary projection ``states · weightᵀ + bias``: (d_vocab, d_model) and (d_vocab,)."""

    weight: Tensor
    bias: Tensor | None

    def logit(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Return the logit of one token for each state: (n, d_model) and (n,) → (n,)."""
        logit = (states * self.weight[tokens]).sum(-1)
        return logit if self.bias is None else logit + self.bias[tokens]

    def log_partition(self, states: Tensor) -> Tensor:
        """Return A(h), (n,), of states (n, d_model); differentiable once in the states."""
        value: Tensor = _LogPartition.apply(states, self)  # type: ignore[no-untyped-call]
        return value

    def partition_and_slope(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return A(h), (n,), and its gradient, (n, d_model), of states (n, d_model); neither is differentiable."""
        with torch.no_grad():
            return self._by_products(states) if suits_product(states, self.weight) else self._by_batches(states)

    def _by_products(self, states: Tensor) -> tuple[Tensor, Tensor]:
        pieces = torch.split(self.weight, _ROWS_OF_PRODUCT)
        biases: Sequence[Tensor | None] = [None] * len(pieces)
        if self.bias is not None:
            biases = torch.split(self.bias, _ROWS_OF_PRODUCT)
        logits = [product(states, piece, bias) for piece, bias in zip(pieces, biases, strict=True)]
        value = torch.stack([part.logsumexp(1) for part in logits]).logsumexp(0)
        slope = torch.zeros_like(states)
        for part, piece in zip(logits, pieces, strict=True):
            slope += product(part.sub_(value[:, None]).exp_(), piece.T)
        return value, slope

    def _by_batches(self, states: Tensor) -> tuple[Tensor, Tensor]:
        pieces = _pieces(self.weight)
        logits = [torch.bmm(states.expand(len(piece), *states.shape), piece.mT) for piece in pieces]
        if self.bias is not None:
            for part, bias in zip(logits, _pieces(self.bias), strict=True):
                part += bias[:, None]
        value = torch.stack([part.logsumexp((0, 2)) for part in logits]).logsumexp(0)
        slope = torch.zeros_like(states)
        for part, piece in zip(logits, pieces, strict=True):
            slope += torch.bmm(part.sub_(value[:, None]).exp_(), piece).sum(0)
        return value, slope


def _pieces(table: Tensor) -> list[Tensor]:
    """Return views (n_piece, `_ROWS`, …) of a table (d_vocab, …), and (1, the rest, …) where something is left over."""
    whole = len(table) // _ROWS * _ROWS
    views = table[:whole].reshape(whole // _ROWS, _ROWS, *table.shape[1:]), table[whole:][None]
    return [view for view in views if view.numel()]


class _LogPartition(torch.autograd.Function):
    """Autograd function for A(h), with its gradient computed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, head: LinearHead) -> Tensor:
        value, slope = head.partition_and_slope(states)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradient[:, None] * slope, None
