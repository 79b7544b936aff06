"""`PeakBytes`: the most bytes of tensors that are alive at once, counted where torch makes them.

What a library takes to work in, and the memory of what was there before, are not counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["PeakBytes"]


class PeakBytes(TorchDispatchMode):
    """Counts new storages, from when an operation makes them to when the last tensor of them is gone."""

    def __init__(self, present: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive = {tensor.untyped_storage()._cdata for tensor in present}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and not value.is_meta:
                self._count(value)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, n_byte = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self.now += n_byte
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, n_byte)

    def _gone(self, key: int, n_byte: int) -> None:
        self._alive.discard(key)
        self.now -= n_byte
