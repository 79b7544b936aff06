"""`make_room`: a preallocated key/value cache, so that generation does not copy it for every token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

__all__ = ["PathCache", "make_room"]


def make_room(cache: DynamicCache, n_token: int) -> None:
    """Extend a filled cache by room for `n_token` tokens; sliding-window layers stay as they are."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            keys, values = layer.keys, layer.values
            assert keys is not None and values is not None
            stores = [_with_room(keys, n_token), _with_room(values, n_token)]
            cache.layers[number] = _RoomyLayer(stores, keys.shape[-2])


class PathCache:
    """Cache with a row for each text on each side, filled from the caches of the trees they were laid out in.

    Rows of one side are neighbours. A row's first tokens are its text's, the others up to the longest text's end are
    copies of one of them, which no mask may show. There is room for `n_new` more tokens, and it grows if needed.
    """

    def __init__(self, *, n_side: int, n_text: int, longest: int, n_new: int) -> None:
        self.cache = DynamicCache()
        self._n_side, self._n_text, self._longest, self._n_new = n_side, n_text, longest, n_new

    def take(self, tree: DynamicCache, paths: Sequence[Sequence[int]], texts: Sequence[int]) -> None:
        """Copy the keys and values of texts at these places of a tree's cache, which has a row for each side.

        Args:
            tree: the cache.
            paths: the places of each text's tokens.
            texts: the numbers of the texts.
        """
        places = torch.tensor([[*path, *[path[0]] * (self._longest - len(path))] for path in paths], dtype=torch.long)
        is_new = not self.cache.layers
        for number, layer in enumerate(tree.layers):
            assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
            if is_new:
                self.cache.layers.append(_RoomyLayer([self._store(layer.keys), self._store(layer.values)], 0))
            roomy = self.cache.layers[number]
            assert isinstance(roomy, _RoomyLayer)
            for store, states in zip(roomy.stores, (layer.keys, layer.values), strict=True):
                by_side = store.view(self._n_side, self._n_text, *store.shape[1:])
                by_side[:, list(texts), :, : self._longest] = states[:, :, places.to(states.device)].transpose(1, 2)
            roomy.show(self._longest)

    def _store(self, states: Tensor) -> Tensor:
        _, n_head, _, width = states.shape
        shape = (self._n_side * self._n_text, n_head, self._longest + self._n_new, width)
        return torch.empty(shape, dtype=states.dtype, device=states.device)


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Cache layer whose keys and values are the filled beginnings of two larger tensors."""

    def __init__(self, stores: list[Tensor], length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device, self.is_initialized = stores[0].dtype, stores[0].device, True
        self.stores = stores
        self.show(length)

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the new tokens."""
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if end > self.stores[0].shape[-2]:
            self.stores = [_with_room(store[..., :begin, :], end) for store in self.stores]
        for store, states in zip(self.stores, (key_states, value_states), strict=True):
            store[..., begin:end, :] = states
        return self.show(end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        length = self.get_seq_length()
        self.stores = [store[indices] for store in self.stores]
        self.show(length)

    def show(self, length: int) -> tuple[Tensor, Tensor]:
        """Set the number of filled tokens, and return keys and values."""
        self.keys, self.values = (store[..., :length, :] for store in self.stores)
        return self.keys, self.values


def _with_room(filled: Tensor, n_token: int) -> Tensor:
    *rest, length, width = filled.shape
    store = torch.empty(*rest, length + n_token, width, dtype=filled.dtype, device=filled.device)
    store[..., :length, :] = filled
    return store
