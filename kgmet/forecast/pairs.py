"""`measure_facts`: the pairs (k, g) of each known fact's tokens at some layers, by one backward pass per batch.

k is the input of a layer's down-projection at a token and g the gradient of log p(answer | prompt) with respect to its
output there. Only the pairs with the largest ‖g‖‖k‖ of each fact are kept: the effect of an update is the sum of ``gᵀ
ΔW k`` over pairs, and most tokens contribute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.forecast.known import spans_of
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import EditSpan
from kgmet.lm.run.suffixes import base_states
from kgmet.lm.run.tracing import leaves, recorded
from kgmet.write.priced import FactPairs

__all__ = ["MeasuredFacts", "joined_pairs", "measure_facts", "padded_batches"]

_MAX_TOKEN = 1536
"""Most tokens per batch."""
_PASS = 48
"""Tokens whose products cost as much as reading every weight once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasuredFacts:
    """Facts with their answers' log-probabilities, (n_fact,) in nats, their tokens, and their pairs by layer.

    `kept` (n_fact,) is the share of each fact's Σ ‖g‖²‖k‖² that its kept pairs carry.
    """

    logprobs: Tensor
    tokens: tuple[tuple[int, ...], ...]
    pairs: Mapping[int, FactPairs]
    kept: Tensor


def measure_facts(
    lm: LoadedLM,
    pairs: Sequence[tuple[str, str]],
    layers: Sequence[int],
    *,
    per_fact: int,
    dtype: torch.dtype = torch.bfloat16,
    check: Callable[[], None] = lambda: None,
) -> MeasuredFacts:
    """Measure the pairs of (prompt, answer) facts at `layers`.

    Args:
        lm: the model, with any attached patches.
        pairs: prompts and answers.
        layers: decoder layers; without any, only the log-probabilities are measured, without a backward pass.
        per_fact: most pairs kept of a fact, over all layers; 0 keeps all.
        dtype: in which pairs are kept.
        check: called before every batch; may raise.

    Raises:
        EmptyTextError: if an answer has no token of its own after its prompt.
    """
    spans = spans_of(lm, pairs)
    logprobs, kept = torch.zeros(len(pairs), dtype=torch.float32), torch.ones(len(pairs), dtype=torch.float32)
    parts: dict[int, list[FactPairs]] = {layer: [] for layer in layers}
    # A text shared by several answers is run once per answer, because the gradients differ.
    lengths = [len(_asked(span)) for span in spans]
    for owners in padded_batches(lengths, most=_MAX_TOKEN):
        check()
        found = _measured(lm, [spans[number] for number in owners], layers)
        logprobs[owners] = found[0]
        if not layers:
            continue
        n_token = torch.tensor([lengths[number] for number in owners], dtype=torch.long)
        chosen, share = _weightiest(found[1], found[2], n_token, per_fact)
        kept[owners] = share
        for place, layer in enumerate(layers):
            row, token = chosen[:, place].nonzero(as_tuple=True)
            parts[layer].append(
                FactPairs(
                    keys=found[1][place][row, token].to(dtype).cpu(),
                    slopes=found[2][place][row, token].to(dtype).cpu(),
                    fact=torch.tensor(owners, dtype=torch.long)[row.cpu()],
                    token=token.cpu(),
                )
            )
    return MeasuredFacts(
        logprobs=logprobs,
        tokens=tuple(_asked(span) for span in spans),
        pairs={layer: joined_pairs(found, lm) for layer, found in parts.items()},
        kept=kept,
    )


def joined_pairs(parts: Sequence[FactPairs], lm: LoadedLM | None = None, *, offsets: Sequence[int] = ()) -> FactPairs:
    """Join the pairs of several parts, sorted by fact; each part's facts are numbered from its offset."""
    if not parts:
        assert lm is not None
        none = torch.zeros(0, dtype=torch.long)
        return FactPairs(
            keys=torch.zeros(0, lm.d_key, dtype=torch.float32),
            slopes=torch.zeros(0, lm.d_model, dtype=torch.float32),
            fact=none,
            token=none,
        )
    moved = [part.fact.long() + (offsets[n] if offsets else 0) for n, part in enumerate(parts)]
    fact = torch.cat(moved)
    order = fact.argsort(stable=True)
    return FactPairs(
        keys=torch.cat([part.keys for part in parts])[order],
        slopes=torch.cat([part.slopes for part in parts])[order],
        fact=fact[order],
        token=torch.cat([part.token for part in parts])[order],
    )


def _asked(span: EditSpan) -> tuple[int, ...]:
    """Return the tokens without the answer's last one, which predicts nothing."""
    assert span.target is not None
    return span.input_ids[: span.target.stop - 1]


def padded_batches(lengths: Sequence[int], *, most: int) -> list[list[int]]:
    """Return batches of texts, by number, with the fewest tokens; a batch costs as much as `_PASS` more.

    Args:
        lengths: the texts' lengths; a batch is padded to its longest.
        most: most tokens per batch, padding included; a longer text has a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda number: lengths[number])
    best: list[tuple[int, int]] = [(0, 0)]  # the fewest tokens of the first texts, and where their last batch begins
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        first = min(end - 1, max(0, end - most // max(longest, 1)))
        best.append(min((best[begin][0] + _PASS + (end - begin) * longest, begin) for begin in range(first, end)))
    found: list[list[int]] = []
    end = len(order)
    while end:
        begin = best[end][1]
        found.append(order[begin:end])
        end = begin
    return found[::-1]


def _measured(
    lm: LoadedLM, spans: Sequence[EditSpan], layers: Sequence[int]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Measure log-probabilities (n_row,), keys and slopes (n_row, pos, width) per layer.

    Texts are padded after their end, which no token before it sees; slopes are zero there.
    """
    texts = [_asked(span) for span in spans]
    width = max(map(len, texts))
    padded = [[*text, *[0] * (width - len(text))] for text in texts]
    ids = torch.tensor(padded, dtype=torch.long, device=lm.device)
    modules = [lm.family.write_module(lm.model, layer) for layer in layers]
    differentiable = torch.set_grad_enabled(bool(modules))
    with differentiable, recorded(modules, inputs=True) as keys, leaves(modules) as zeros:
        states = base_states(lm, ids, use_cache=False)
        rows, places, tokens = _wanted(spans, states.device)
        table = lm.vocabulary_logits(states[rows, places]).log_softmax(-1)
        chosen = table.gather(1, tokens[:, None].to(table.device))[:, 0]
        slopes = torch.autograd.grad(chosen.sum(), zeros) if zeros else ()
    logprobs = torch.zeros(len(spans), dtype=torch.float32).index_add_(0, rows.cpu(), chosen.detach().float().cpu())
    return logprobs, [key.detach() for key in keys if key is not None], [slope.detach() for slope in slopes]


def _wanted(spans: Sequence[EditSpan], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return row, predicting position and id of every answer token."""
    found = [
        (row, position - 1, span.input_ids[position])
        for row, span in enumerate(spans)
        for position in (span.target or range(0))
    ]
    rows, places, tokens = torch.tensor(found, dtype=torch.long, device=device).T
    return rows, places, tokens


def _weightiest(
    keys: Sequence[Tensor], slopes: Sequence[Tensor], n_token: Tensor, per_fact: int
) -> tuple[Tensor, Tensor]:
    """Return a mask of the pairs to keep, (n_row, n_layer, pos), and their share of Σ ‖g‖²‖k‖², (n_row,).

    Only the first `n_token` (n_row,) positions of a row count.
    """
    sizes = [k.float().norm(dim=-1) * g.float().norm(dim=-1) for k, g in zip(keys, slopes, strict=True)]
    weight = torch.stack([size.to(sizes[0].device) for size in sizes], dim=1).square()
    is_token = torch.arange(weight.shape[2], device=weight.device) < n_token.to(weight.device)[:, None]
    counts = is_token[:, None].expand_as(weight).flatten(1)
    flat = weight.flatten(1)
    if not per_fact or flat.shape[1] <= per_fact:
        return counts.view_as(weight), torch.ones(len(flat), dtype=torch.float32)
    best = flat.masked_fill(~counts, -1).topk(per_fact, dim=1).indices
    chosen = torch.zeros_like(counts).scatter_(1, best, True) & counts
    share = (flat * chosen).sum(1) / (flat * counts).sum(1).clamp(min=1e-30)
    return chosen.view_as(weight), share.float().cpu()
