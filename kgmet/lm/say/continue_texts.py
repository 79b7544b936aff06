"""`continue_texts`: batched generation with the same result as text by text.

A common prefix of the prompts (such as worked examples) is encoded once. Each text samples from its own generator, so
it does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.encoding import encode_texts
from kgmet.lm.run.suffixes import base_states, left_padded, token_positions
from kgmet.lm.say.score import end_tokens

if TYPE_CHECKING:
    from transformers import DynamicCache

__all__ = ["Continuation", "continue_texts", "encode_prompts"]


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """Length and decoding of continuations.

    `top_k` 0 is greedy; above 0 one of the k likeliest tokens is sampled (the ROME code uses 5). A text ends at the
    model's end token or once it contains `stop`.
    """

    max_new_tokens: int
    top_k: int = 0
    stop: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.max_new_tokens < 1 or self.top_k < 0:
            raise ConfigError(f"A continuation needs at least one token and top_k from 0, got {self}.")


def continue_texts(
    lm: LoadedLM,
    prompts: Sequence[str],
    *,
    how: Continuation,
    seeds: Sequence[int] | None = None,
    batch_size: int = 32,
) -> list[str]:
    """Continue each prompt; return the added text without special tokens, cut before `how.stop`.

    Args:
        lm: the model, with any attached patches.
        prompts: texts to continue.
        how: length and decoding.
        seeds: one per prompt, for sampling; by default 0.
        batch_size: prompts at a time.
    """
    seeds = seeds or [0] * len(prompts)
    rows = [list(encoded.ids) for encoded in encode_texts(lm, prompts)]
    # Texts of similar length share a batch, for less padding.
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    texts: dict[int, str] = {}
    for begin in range(0, len(order), batch_size):
        batch = order[begin : begin + batch_size]
        texts |= zip(batch, _continued(lm, [rows[n] for n in batch], [seeds[n] for n in batch], how), strict=True)
    return [texts[n] for n in range(len(rows))]


def encode_prompts(lm: LoadedLM, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, DynamicCache]:
    """Return last states (n_row, d_model) before the final norm, attention mask (n_row, pos) and key/value cache.

    The longest prefix that all rows share is run once, for one row.
    """
    # A sliding window counts positions, and the padding after the shared prefix would use them up.
    is_sliding = getattr(lm.config, "sliding_window", None) is not None
    shared = 0 if is_sliding else _n_shared(rows)
    cache = None
    if shared and len(rows) > 1:
        head = torch.tensor([list(rows[0][:shared])], dtype=torch.long, device=lm.device)
        cache = lm.base(head, attention_mask=torch.ones_like(head), use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(rows))
    else:
        shared = 0
    ids, mask = left_padded([row[shared:] for row in rows], device=lm.device)
    mask = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)
    positions = token_positions(mask)[:, shared:]
    states, cache = _run(lm, ids, mask, positions, cache)
    return states, mask, cache


def _run(
    lm: LoadedLM, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache | None
) -> tuple[Tensor, DynamicCache]:
    from transformers import DynamicCache

    cache = DynamicCache(config=lm.config) if cache is None else cache
    states = base_states(lm, ids, attention_mask=mask, position_ids=positions, cache=cache, use_cache=True)
    return states[:, -1], cache


def _continued(lm: LoadedLM, prompts: Sequence[list[int]], seeds: Sequence[int], how: Continuation) -> list[str]:
    from kgmet.lm.run.growing_kv_cache import make_room

    ends = end_tokens(lm)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    added: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))  # unfinished texts, in batch order
    with torch.no_grad():
        states, mask, cache = encode_prompts(lm, prompts)
        make_room(cache, how.max_new_tokens - 1)
        for step in range(how.max_new_tokens):
            logits = lm.vocabulary_logits(states).cpu()
            for row, token in zip(rows, _chosen(logits, [generators[row] for row in rows], how.top_k), strict=True):
                added[row].append(token)
            still = [n for n, row in enumerate(rows) if not _is_ended(lm, added[row], ends, how.stop)]
            if not still or step + 1 == how.max_new_tokens:
                break
            if len(still) < len(rows):
                rows = [rows[n] for n in still]
                chosen = torch.tensor(still, dtype=torch.long, device=mask.device)
                mask = mask[chosen]
                cache.batch_select_indices(chosen)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            ids = torch.tensor([added[row][-1] for row in rows], dtype=torch.long, device=lm.device)[:, None]
            states, cache = _run(lm, ids, mask, (mask.sum(1, keepdim=True) - 1), cache)
    texts = lm.tokenizer.batch_decode(added, skip_special_tokens=True)
    return [text.partition(how.stop)[0] if how.stop else text for text in texts]


def _is_ended(lm: LoadedLM, tokens: list[int], ends: set[int], stop: str | None) -> bool:
    return tokens[-1] in ends or bool(stop and stop in lm.tokenizer.decode(tokens))


def _chosen(logits: Tensor, generators: Sequence[torch.Generator], top_k: int) -> list[int]:
    """Choose one token id per row of (n_row, d_vocab): the likeliest, or a sample from the k likeliest."""
    if not top_k:
        return [int(token) for token in logits.argmax(-1)]
    top = logits.topk(min(top_k, logits.shape[-1]))
    draws = [
        int(torch.multinomial(values.softmax(-1), 1, generator=generator))
        for values, generator in zip(top.values, generators, strict=True)
    ]
    return [int(ids[draw]) for ids, draw in zip(top.indices, draws, strict=True)]


def _n_shared(rows: Sequence[Sequence[int]]) -> int:
    """Return the length of the common prefix of all rows; every row keeps at least one own token."""
    shortest = min(len(row) for row in rows)
    first = rows[0]
    count = 0
    while count < shortest - 1 and all(row[count] == first[count] for row in rows):
        count += 1
    return count
