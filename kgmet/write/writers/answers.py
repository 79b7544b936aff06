"""`answers_nll`: how unlikely a model finds the answers that end some texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.suffixes import base_states, left_padded, token_positions
from kgmet.search.objective import answer_nll

__all__ = ["answers_nll"]


def answers_nll(lm: LoadedLM, texts: Sequence[tuple[Sequence[int], range]]) -> tuple[Tensor, Tensor]:
    """Return the negative log-likelihood per answer token of each text, (n_text,) in nats, and where it is read off.

    Differentiable in whatever is attached, where gradients are on.

    Args:
        lm: the model.
        texts: tokens of each, and the positions of its answer among them.

    Returns:
        The losses, and (n_position, 2): row and position of each predicting token in the batch, padded on the left.
    """
    ids, mask = left_padded([tokens[:-1] for tokens, _ in texts], device=lm.device)
    width = ids.shape[1]
    places = [
        (row, width - len(tokens) + position, tokens[position])
        for row, (tokens, target) in enumerate(texts)
        for position in target
    ]
    asked = torch.tensor(places, dtype=torch.long, device=lm.device)
    states = base_states(lm, ids, attention_mask=mask, position_ids=token_positions(mask), use_cache=False)
    logits = lm.vocabulary_logits(states[asked[:, 0], asked[:, 1]])
    return answer_nll(logits.log_softmax(-1), asked[:, 2], asked[:, 0], len(texts)), asked[:, :2]
