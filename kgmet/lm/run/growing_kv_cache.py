"""`make_room`: a preallocated key/value cache, so that generation does not copy it for every token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

__all__ = ["keep_tokens", "make_room"]


def make_room(cache: DynamicCache, n_token: int) -> None:
    """Extend a filled cache by room for `n_token` tokens; sliding-window layers stay as they are."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[number] = _RoomyLayer(layer, n_token)


def keep_tokens(cache: DynamicCache, kept: Tensor) -> bool:
    """Drop all tokens but those with an index in `kept`; return whether this was possible for every layer."""
    layers = [layer for layer in cache.layers if isinstance(layer, _RoomyLayer)]
    if len(layers) < len(cache.layers):
        return False
    for layer in layers:
        layer.keep_tokens(kept)
    return True


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Cache layer whose keys and values are the filled beginnings of two larger tensors."""

    def __init__(self, filled: DynamicLayer, n_token: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        keys, values = filled.keys, filled.values
        assert keys is not None and values is not None
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._stores = [_with_room(keys, n_token), _with_room(values, n_token)]
        self._show(keys.shape[-2])

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the new tokens."""
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if end > self._stores[0].shape[-2]:
            self._stores = [_with_room(store[..., :begin, :], end) for store in self._stores]
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            store[..., begin:end, :] = states
        return self._show(end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        length = self.get_seq_length()
        self._stores = [store[indices] for store in self._stores]
        self._show(length)

    def keep_tokens(self, kept: Tensor) -> None:
        """Keep only the tokens at these positions, with as much room after them as before."""
        room = self._stores[0].shape[-2] - self.get_seq_length()
        kept = kept.to(self._stores[0].device)
        self._stores = [_with_room(store[..., kept, :], room) for store in self._stores]
        self._show(len(kept))

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (store[..., :length, :] for store in self._stores)
        return self.keys, self.values


def _with_room(filled: Tensor, n_token: int) -> Tensor:
    *rest, length, width = filled.shape
    store = torch.empty(*rest, length + n_token, width, dtype=filled.dtype, device=filled.device)
    store[..., :length, :] = filled
    return store
