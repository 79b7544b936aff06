"""`Readout`: answer likelihoods and divergences of preserved distributions, from last-layer states.

With A the log-partition of the vocabulary and h the normed state, −log p(v) is A(h) − h·w_v − b_v. The divergence from
the distribution at h₀ is A(h) − A(h₀) − (h − h₀)·∇A(h₀). Neither needs the full softmax. Where the vocabulary
projection is not a plain matrix (capped logits, quantised or narrow weights), both are computed from full
distributions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.objective import kept_divergence

__all__ = ["Readout"]


class Readout:
    """Loss terms at given positions: answer tokens at some, preserved distributions at others.

    Args:
        lm: the model.
        tokens: (n_asked,) the answers' tokens.
        held: (n_held, d_model) unshifted last-layer states before the final norm, whose distributions are preserved.
    """

    def __init__(self, lm: LoadedLM, tokens: Tensor, held: Tensor) -> None:
        self._lm, self._tokens, self._head = lm, tokens, lm.linear_head
        with torch.no_grad():
            if self._head is None:
                self._logprobs = lm.vocabulary_logits(held).log_softmax(-1)
            else:
                self._before = lm.normed(held)
                self._value, self._slope = self._head.partition_and_slope(self._before)

    def of(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the negative log-likelihoods (n_asked,) and KL(before ‖ now) (n_held,), in nats.

        Args:
            states: (n_asked + n_held, d_model) like `held`; those that predict the answers' tokens come first.
        """
        n = len(self._tokens)
        if self._head is None:
            logprobs = self._lm.vocabulary_logits(states).log_softmax(-1)
            nll = -logprobs[:n].gather(1, self._tokens[:, None])[:, 0]
            return nll, kept_divergence(logprobs[n:], self._logprobs)
        normed = self._lm.normed(states)
        value = self._head.log_partition(normed)
        moved = ((normed[n:] - self._before) * self._slope).sum(-1)
        return value[:n] - self._head.logit(normed[:n], self._tokens), value[n:] - self._value - moved
