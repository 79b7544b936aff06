"""`encode_suffixes`: compute once what does not depend on the shift, and resume from there.

A shift at the lookup token after layer L changes nothing before that token and nothing in layers up to L. So the tokens
before it are encoded once into a key/value cache, and the tokens from it on are run once up to layer L. Each search
step then runs only the layers above L on a few tokens. Texts of one edit share beginnings, before the lookup token and
after it, so both parts are laid out as trees (`token_tree`) with every common beginning once. This works for every
family because the call arguments of each layer are recorded and replayed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.token_tree import TokenLayout, lay_out, lowest_where_unseen
from kgmet.lm.run.tracing import hidden_of, recorded, recorded_calls

__all__ = [
    "FrozenPast",
    "Suffixes",
    "base_states",
    "cache_argument",
    "encode_suffixes",
    "frozen_past",
    "left_padded",
    "most_in_tree",
    "token_positions",
    "replayable",
    "trees_fit",
]


class FrozenPast:
    """Read-only cache layer with the keys and values of the preceding tokens.

    A batch with a multiple of the rows gets one copy after the other.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor] | None]) -> None:
        self._layers = layers

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return keys and values of all tokens of one layer: those before, then these."""
        past = self._layers[layer_idx]
        if past is None:
            return keys, values
        times = keys.shape[0] // past[0].shape[0]
        before = past if times == 1 else tuple(part.repeat(times, 1, 1, 1) for part in past)
        return torch.cat([before[0], keys], dim=-2), torch.cat([before[1], values], dim=-2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens there are before."""
        past = self._layers[layer_idx]
        return 0 if past is None else int(past[0].shape[-2])


@dataclass(frozen=True, eq=False, kw_only=True)
class Suffixes:
    """Texts that can be resumed after decoder layer `layer`.

    `hidden` (n_tree, n_node, d_model) is that layer's output; text `row` is in tree `tree_of[row]`, with its tokens
    from the start token on at `paths[row]`. Texts of one tree share the nodes of a common beginning, including the
    start token. `final`, of the same shape, is the last layer's output before the final norm, unshifted.
    """

    lm: LoadedLM
    layer: int
    hidden: Tensor
    final: Tensor
    tree_of: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]
    calls: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]

    def resume(self, hidden: Tensor) -> Tensor:
        """Run the layers above on the given states; differentiable in `hidden`.

        Args:
            hidden: (n_tree, n_node, d_model), in place of `self.hidden`.

        Returns:
            (n_tree, n_node, d_model): the last layer's output before the final norm.
        """
        for module, (args, kwargs) in zip(self.lm.layers[self.layer + 1 :], self.calls, strict=True):
            hidden = hidden_of(module(hidden, *args, **kwargs))
        return hidden


def encode_suffixes(
    lm: LoadedLM,
    rows: Sequence[Sequence[int]],
    starts: Sequence[int],
    *,
    layer: int,
    together: Sequence[int] | None = None,
) -> Suffixes:
    """Encode the tokens before each text's start token, and the rest up to `layer`.

    Args:
        lm: the model.
        rows: token ids, unpadded.
        starts: position of the start token of each text.
        layer: the decoder layer after which texts can be resumed; not the last one.
        together: the tree of each text: 0, 1, …; by default one tree per text, as also where a sliding window is too
            short for trees.

    Raises:
        ConfigError: if `layer` is out of range or the last.
    """
    if not 0 <= layer < lm.n_layer - 1:
        raise ConfigError(f"Layer {layer} cannot be resumed from: choose 0 to {lm.n_layer - 2} for this model.")
    together = range(len(rows)) if together is None else together
    past = lay_out([row[:start] for row, start in zip(rows, starts, strict=True)], together)
    leaves = [path[-1] if path else -1 for path in past.paths]
    rest = [row[start:] for row, start in zip(rows, starts, strict=True)]
    layout = lay_out(rest, together, origins=leaves, starts=starts)
    if trees_fit(lm, past.ids.shape[1] + layout.ids.shape[1]):
        return _encode_trees(lm, past, layout, layer)
    return _encode_padded(lm, rows, starts, layer)


def trees_fit(lm: LoadedLM, n_node: int) -> bool:
    """Return whether trees of so many tokens fit a sliding window, which counts positions, not depths."""
    window = _window(lm)
    return window is None or n_node <= window


def most_in_tree(lm: LoadedLM, n_node: int) -> int:
    """Return how many of so many tokens fit a sliding window with room for one more."""
    window = _window(lm)
    return n_node if window is None else min(n_node, window - 1)


def _window(lm: LoadedLM) -> int | None:
    window: int | None = getattr(lm.config, "sliding_window", None)
    return window


def _encode_trees(lm: LoadedLM, past: TokenLayout, layout: TokenLayout, layer: int) -> Suffixes:
    before = _seen_before(past, layout)
    mask = lowest_where_unseen(torch.cat([before, layout.sees], dim=2), dtype=lm.dtype, device=lm.device)
    cache = None
    with torch.no_grad():
        if past.ids.shape[1]:
            cache = lm.base(
                past.ids.to(lm.device),
                attention_mask=lowest_where_unseen(past.sees, dtype=lm.dtype, device=lm.device),
                position_ids=past.positions.to(lm.device),
                use_cache=True,
            ).past_key_values
        inputs = {"attention_mask": mask, "position_ids": layout.positions.to(lm.device)}
        return _recorded(lm, layout.ids.to(lm.device), cache, layer, layout.tree_of, layout.paths, inputs)


def _seen_before(past: TokenLayout, layout: TokenLayout) -> Tensor:
    """Return a mask (n_tree, n_node, n_past) of the cached tokens that each token follows."""
    seen = torch.zeros(*layout.ids.shape, past.ids.shape[1], dtype=torch.bool)
    for number, tree in enumerate(layout.trees):
        for node, origin in enumerate(tree.origins):
            if origin >= 0:
                seen[number, node] = past.sees[number, origin]
    return seen


def _encode_padded(lm: LoadedLM, rows: Sequence[Sequence[int]], starts: Sequence[int], layer: int) -> Suffixes:
    """Encode every text separately, with the model's own masks."""
    device = lm.device
    past_ids, past_mask = left_padded([row[:start] for row, start in zip(rows, starts, strict=True)], device=device)
    ids, lengths = _right_padded([row[start:] for row, start in zip(rows, starts, strict=True)], device=device)
    positions = torch.tensor(starts, dtype=torch.long, device=device)[:, None] + torch.arange(
        ids.shape[1], device=device
    )
    with torch.no_grad():
        cache = None
        if past_ids.shape[1]:
            past_positions = token_positions(past_mask)
            cache = lm.base(
                past_ids, attention_mask=past_mask, position_ids=past_positions, use_cache=True
            ).past_key_values
        inputs = {"attention_mask": torch.cat([past_mask, torch.ones_like(ids)], dim=1), "position_ids": positions}
        paths = tuple(tuple(range(length)) for length in lengths)
        return _recorded(lm, ids, cache, layer, tuple(range(len(rows))), paths, inputs)


def _recorded(
    lm: LoadedLM,
    ids: Tensor,
    cache: Any,
    layer: int,
    tree_of: tuple[int, ...],
    paths: tuple[tuple[int, ...], ...],
    inputs: dict[str, Tensor],
) -> Suffixes:
    frozen = frozen_past(cache)
    with recorded_calls(list(lm.layers[layer + 1 :])) as calls:
        final = base_states(lm, ids, cache=cache, use_cache=cache is not None, **inputs)
    first = calls[0][0][0] if calls[0][0] else calls[0][1]["hidden_states"]
    return Suffixes(
        lm=lm,
        layer=layer,
        hidden=first.detach(),
        final=final,
        tree_of=tree_of,
        paths=paths,
        calls=tuple(replayable(args, kwargs, frozen) for args, kwargs in calls),
    )


def base_states(lm: LoadedLM, ids: Tensor, *, cache: Any = None, **inputs: Any) -> Tensor:
    """Return the last layer's output before the final norm, (n_row, pos, d_model)."""
    with recorded([lm.layers[-1]]) as seen:
        lm.base(ids, **cache_argument(lm, cache), **inputs)
    assert seen[0] is not None
    return seen[0]


def cache_argument(lm: LoadedLM, cache: Any) -> dict[str, Any]:
    """Return a key and value cache as the argument of the model's forward pass; empty for no cache.

    transformers 5.24 renamed the argument from ``past_key_values`` to ``cache``, model by model.
    """
    if cache is None:
        return {}
    return {_cache_name(type(lm.base).forward): cache}


@functools.cache  # asked before every generated token
def _cache_name(forward: Callable[..., Any]) -> str:
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"


def left_padded(rows: Sequence[Sequence[int]], *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the token ids (n_row, pos) padded on the left with 0, and their mask, 1 where a token is."""
    width = max((len(row) for row in rows), default=0)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        if row:
            ids[number, width - len(row) :] = torch.tensor(row, dtype=torch.long)
            mask[number, width - len(row) :] = 1
    return ids.to(device), mask.to(device)


def token_positions(mask: Tensor) -> Tensor:
    """Return the position of each token in its own row (n_row, pos), given the mask of `left_padded`; padding has 0."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def _right_padded(rows: Sequence[Sequence[int]], *, device: torch.device) -> tuple[Tensor, tuple[int, ...]]:
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row, dtype=torch.long)
    return ids.to(device), tuple(len(row) for row in rows)


def frozen_past(cache: Any) -> FrozenPast | None:
    """Copy the prefix's keys and values before the suffix is appended, when a sliding window drops the oldest."""
    if cache is None:
        return None
    return FrozenPast([(entry.keys, entry.values) for entry in cache.layers])


def replayable(
    args: tuple[Any, ...], kwargs: dict[str, Any], past: FrozenPast | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a layer's recorded call arguments for replay with other hidden states; the cache becomes `past`."""
    from transformers.cache_utils import Cache

    def swap(value: Any) -> Any:
        return past if isinstance(value, Cache) else value

    kwargs = {name: swap(value) for name, value in kwargs.items() if name != "hidden_states"}
    return tuple(swap(value) for value in args[1:]), kwargs
