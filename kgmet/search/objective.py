"""Loss terms of a shift; each is named and recorded in the search curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.ranges import check_numbers
from kgmet.search.problem import Term

__all__ = ["TermWeights", "answer_nll", "kept_divergence", "length_penalty", "limited", "mean_within", "ordinary_norm"]

_MASSIVE = 100.0
"""Entries above this multiple of the median magnitude do not count in a state's length."""


@dataclass(frozen=True, kw_only=True)
class TermWeights:
    """Weights of the loss terms. The rewrite term has weight 1."""

    consequence: float = 1.0
    """Mean negative log-likelihood of the consequences; 0 leaves them out."""
    kept: float = 0.0
    """KL divergence on the subject's kept facts; 0 leaves them out."""
    anchor: float = 0.0625
    """KL divergence on "{} is a"."""
    length: float = 0.5
    """Penalty (‖shift‖ / ‖h‖)², with ‖h‖ the `ordinary_norm`. The published form divides a norm by a squared norm."""

    def __post_init__(self) -> None:
        """Check the range."""
        check_numbers(self, "target.weights", "consequence", "kept", "anchor", "length", least=0)

    def of(self, term: Term) -> float:
        """Return the weight of one term."""
        by_term: Mapping[Term, float] = {
            Term.REWRITE: 1.0,
            Term.CONSEQUENCE: self.consequence,
            Term.KEPT: self.kept,
            Term.ANCHOR: self.anchor,
        }
        return by_term[term]


def answer_nll(logprobs: Tensor, target: Tensor, row: Tensor, n_row: int) -> Tensor:
    """Return each row's mean negative log-likelihood per answer token, in nats.

    Args:
        logprobs: (n_position, d_vocab) at the positions that predict the answers' tokens.
        target: (n_position,) the answers' tokens.
        row: (n_position,) which row each position belongs to.
        n_row: number of rows.

    Returns:
        (n_row,); 0 for a row without positions.
    """
    return mean_within(-logprobs.gather(1, target[:, None])[:, 0], row, n_row)


def mean_within(values: Tensor, row: Tensor, n_row: int) -> Tensor:
    """Return the mean of values (n,) within each row, (n_row,), by row index (n,); 0 for an empty row."""
    none = values.new_zeros(n_row)
    return none.index_add(0, row, values) / none.index_add(0, row, torch.ones_like(values)).clamp(min=1)


def kept_divergence(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Return KL(reference ‖ now) of next-token distributions, in nats: two (n, d_vocab) of log-probabilities → (n,)."""
    return (reference.exp() * (reference - logprobs)).sum(-1)


def ordinary_norm(state: Tensor) -> Tensor:
    """Return ‖h‖ along the last axis without its massive entries: the unit of a shift's length.

    Two or three entries, the same for every text, may hold 99 % of a state's energy (Gemma 3 270M; arXiv:2402.17762).
    They say nothing about how far the others can move. In the default model only a text's first state has such entries.
    """
    size = state.abs()
    limit = _MASSIVE * size.median(-1, keepdim=True).values
    ordinary = torch.where((size <= limit) | (limit == 0), size, 0.0)
    norm: Tensor = torch.linalg.vector_norm(ordinary, dim=-1)
    return norm


def length_penalty(shift: Tensor, before: Tensor) -> Tensor:
    """Return (‖shift‖ / ‖before‖)² along the last axis, with the `ordinary_norm` of `before`."""
    return shift.pow(2).sum(-1) / ordinary_norm(before).pow(2)


def limited(shift: Tensor, longest: Tensor) -> Tensor:
    """Scale shifts down to the allowed length; the gradient is that of the limited shift.

    Args:
        shift: (n_edit, d_model).
        longest: (n_edit,).
    """
    return shift * (longest / torch.maximum(shift.norm(dim=-1), longest))[:, None]
