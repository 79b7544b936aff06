"""Divergence of the full next-token distribution caused by a patch."""

from __future__ import annotations

from torch import Tensor

__all__ = ["divergences"]


def divergences(before: Tensor, after: Tensor) -> list[float]:
    """Compute KL(before ‖ after) of each row of logits (n_prompt, d_vocab), in nats; at least 0."""
    return [_divergence(old, new) for old, new in zip(before, after, strict=True)]


def _divergence(before: Tensor, after: Tensor) -> float:
    old, new = (logits.double().log_softmax(-1) for logits in (before, after))
    return float((old.exp() * (old - new)).sum().clamp(min=0))
