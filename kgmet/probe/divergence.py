"""How much a patch moves the whole next-token distribution, not only one answer's share of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kgmet.lm.loaded import LoadedLM
from kgmet.lm.spans import Phrase, locate_all
from kgmet.lm.suffixes import base_states, left_padded
from kgmet.write.patch import EditPatch, attached

__all__ = ["next_token_divergence"]


def next_token_divergence(
    lm: LoadedLM,
    prompts: Sequence[str],
    *,
    before: Sequence[EditPatch],
    after: Sequence[EditPatch],
    batch_size: int = 32,
) -> list[float]:
    """KL(before ‖ after) of the next token after each prompt, in nats, with these patches attached; at least 0."""
    found: list[float] = []
    for begin in range(0, len(prompts), batch_size):
        chunk = prompts[begin : begin + batch_size]
        with attached(before, lm):
            old = _logprobs(lm, chunk)
        with attached(after, lm):
            new = _logprobs(lm, chunk)
        found += (old.exp() * (old - new)).sum(-1).clamp(min=0).tolist()
    return found


def _logprobs(lm: LoadedLM, prompts: Sequence[str]) -> Tensor:
    """Log-probabilities (n_prompt, d_vocab), float64, of the token after each prompt."""
    # A prompt that holds '{}' is no template here; keep `locate` from filling it.
    spans = locate_all(lm, [Phrase(template=prompt.replace("{}", "{ }")) for prompt in prompts])
    with torch.no_grad():
        ids, mask = left_padded([span.input_ids for span in spans], device=lm.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        states = base_states(lm, ids, attention_mask=mask, position_ids=positions, use_cache=False)
        return lm.vocabulary_logits(states[:, -1]).double().cpu().log_softmax(-1)
