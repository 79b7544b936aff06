"""`KeyStatistics`: the key moments and free directions of one resident model, read or estimated when first asked for.

A value with a clear owner: whoever holds the model holds this beside it. Nothing is remembered at module level.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Any, TypeVar

from kgmet.base.progress import Progress
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.moments import Corpus, KeyMoment, bundled_corpus, estimate_key_moments, moments_ready
from kgmet.write.nullspace import Cutoff, DampedNullSpace, NullSpace

__all__ = ["KeyStatistics"]

T = TypeVar("T")


class KeyStatistics:
    """Moments by layer and free directions by (layer, cutoff) of one model and one corpus; safe to share by threads."""

    def __init__(self, lm: LoadedLM, corpus: Corpus | None = None) -> None:
        self.lm = lm
        self.corpus = corpus or bundled_corpus()
        self._moments: dict[int, KeyMoment] = {}
        self._free: dict[tuple[int, Cutoff], NullSpace] = {}
        self._damped: dict[tuple[int, Cutoff, float], DampedNullSpace] = {}
        self._lock = Lock()
        self._remembered: dict[Hashable, Any] = {}
        self._remember_lock = Lock()

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """Something else that belongs to this model, such as its index of known facts: made when first asked for."""
        with self._remember_lock:
            if key not in self._remembered:
                self._remembered[key] = make()
            found: T = self._remembered[key]
            return found

    def is_ready(self, layers: Sequence[int]) -> bool:
        """Whether nothing would have to be estimated."""
        return moments_ready(self.lm, [layer for layer in layers if layer not in self._moments], self.corpus)

    def moments(self, layers: Sequence[int], *, progress: Progress | None = None) -> dict[int, KeyMoment]:
        """Layer → second moment of its keys."""
        with self._lock:
            missing = [layer for layer in layers if layer not in self._moments]
            if missing:
                self._moments |= estimate_key_moments(self.lm, missing, corpus=self.corpus, progress=progress)
            return {layer: self._moments[layer] for layer in layers}

    def free(self, layers: Sequence[int], cutoff: Cutoff, *, progress: Progress | None = None) -> dict[int, NullSpace]:
        """Layer → free directions under this cutoff."""
        moments = self.moments(layers, progress=progress)
        with self._lock:
            for layer in layers:
                if (layer, cutoff) not in self._free:
                    self._free[layer, cutoff] = NullSpace.from_moment(moments[layer], cutoff)
            return {layer: self._free[layer, cutoff] for layer in layers}

    def damped(
        self, layers: Sequence[int], cutoff: Cutoff, *, ratio: float, progress: Progress | None = None
    ) -> dict[int, DampedNullSpace]:
        """Layer → free directions under this cutoff, each penalised by how strongly ordinary keys use it."""
        moments = self.moments(layers, progress=progress)
        with self._lock:
            for layer in layers:
                if (layer, cutoff, ratio) not in self._damped:
                    self._damped[layer, cutoff, ratio] = DampedNullSpace.from_moment(
                        moments[layer], cutoff, ratio=ratio
                    )
            return {layer: self._damped[layer, cutoff, ratio] for layer in layers}
