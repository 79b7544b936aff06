"""`measure_facts`: the pairs (k, g) of each known fact's tokens at some layers, by one backward pass per batch.

k is the input of a layer's down-projection at a token and g the gradient of log p(answer | prompt) with respect to its
output there. Only the pairs with the largest ‖g‖‖k‖ of each fact are kept: the effect of an update is the sum of ``gᵀ
ΔW k`` over pairs, and most tokens contribute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.forecast.known import equal_batches, spans_of
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import EditSpan
from kgmet.lm.run.suffixes import base_states
from kgmet.lm.run.tracing import leaves, recorded
from kgmet.write.priced import FactPairs

__all__ = ["MeasuredFacts", "joined_pairs", "measure_facts"]


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
        layers: decoder layers.
        per_fact: most pairs kept of a fact, over all layers; 0 keeps all.
        dtype: in which pairs are kept.
        check: called before every batch; may raise.

    Raises:
        EmptyTextError: if an answer has no token of its own after its prompt.
    """
    spans = spans_of(lm, pairs)
    by_text: dict[tuple[int, ...], list[int]] = {}
    for number, span in enumerate(spans):
        by_text.setdefault(_asked(span), []).append(number)
    logprobs, kept = torch.zeros(len(pairs), dtype=torch.float32), torch.ones(len(pairs), dtype=torch.float32)
    parts: dict[int, list[FactPairs]] = {layer: [] for layer in layers}
    # A text shared by several answers is run once per answer, because the gradients differ.
    rows = sorted(((text, number) for text, owners in by_text.items() for number in owners), key=lambda r: len(r[0]))
    for batch in _batches(rows):
        check()
        owners = [number for _, number in batch]
        found = _measured(lm, [spans[number] for number in owners], layers)
        logprobs[owners] = found[0]
        chosen, share = _weightiest(found[1], found[2], per_fact)
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


def _batches(rows: Sequence[tuple[tuple[int, ...], int]]) -> Iterator[list[tuple[tuple[int, ...], int]]]:
    begin = 0
    for batch in equal_batches([text for text, _ in rows]):
        yield list(rows[begin : begin + len(batch)])
        begin += len(batch)


def _measured(
    lm: LoadedLM, spans: Sequence[EditSpan], layers: Sequence[int]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Measure log-probabilities (n_row,), keys and slopes (n_row, pos, width) per layer, for texts of one length."""
    ids = torch.tensor([_asked(span) for span in spans], dtype=torch.long, device=lm.device)
    modules = [lm.family.write_module(lm.model, layer) for layer in layers]
    with torch.enable_grad(), recorded(modules, inputs=True) as keys, leaves(modules) as zeros:
        states = base_states(lm, ids, use_cache=False)
        rows, places, tokens = _wanted(spans, states.device)
        table = lm.vocabulary_logits(states[rows, places]).log_softmax(-1)
        chosen = table.gather(1, tokens[:, None].to(table.device))[:, 0]
        slopes = torch.autograd.grad(chosen.sum(), zeros)
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


def _weightiest(keys: Sequence[Tensor], slopes: Sequence[Tensor], per_fact: int) -> tuple[Tensor, Tensor]:
    """Return a mask of the pairs to keep, (n_row, n_layer, pos), and their share of Σ ‖g‖²‖k‖², (n_row,)."""
    sizes = [k.float().norm(dim=-1) * g.float().norm(dim=-1) for k, g in zip(keys, slopes, strict=True)]
    weight = torch.stack([size.to(sizes[0].device) for size in sizes], dim=1).square()
    flat = weight.flatten(1)
    if not per_fact or flat.shape[1] <= per_fact:
        return torch.ones_like(weight, dtype=torch.bool), torch.ones(len(flat), dtype=torch.float32)
    best = flat.topk(per_fact, dim=1).indices
    chosen = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, best, True)
    share = (flat * chosen).sum(1) / flat.sum(1).clamp(min=1e-30)
    return chosen.view_as(weight), share.float().cpu()
