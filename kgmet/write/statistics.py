"""`KeyStatistics`: key moments and free directions of one model, loaded or estimated on first use.

The owner of the model keeps this value beside it; nothing is cached at module level.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Any, TypeVar, cast

import torch

from kgmet.base.progress import Progress, Silent
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.placement import write_device
from kgmet.write.corpus import Corpus, bundled_corpus
from kgmet.write.free_store import FreeStore, Placed
from kgmet.write.moments import KeyMoment, estimate_key_moments, load_key_moment, make_key_moments, moments_ready
from kgmet.write.nullspace import Cutoff, DampedNullSpace, NullSpace

__all__ = ["KeyStatistics"]

T = TypeVar("T")


class KeyStatistics:
    """Moments by layer and free directions by (layer, cutoff) of one model and one corpus; thread-safe."""

    def __init__(self, lm: LoadedLM, corpus: Corpus | None = None) -> None:
        self.lm = lm
        self.corpus = corpus or bundled_corpus()
        self._moments: dict[int, KeyMoment] = {}
        self._free = FreeStore()
        self._lock = Lock()
        self._remembered: dict[Hashable, Any] = {}
        self._remember_lock = Lock()

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return another value of this model, such as its index of known facts; made on first use."""
        with self._remember_lock:
            if key not in self._remembered:
                self._remembered[key] = make()
            found: T = self._remembered[key]
            return found

    def is_ready(self, layers: Sequence[int]) -> bool:
        """Return whether everything is on disk, so that nothing must be estimated."""
        return moments_ready(self.lm, [layer for layer in layers if layer not in self._moments], self.corpus)

    def moments(self, layers: Sequence[int], *, progress: Progress | None = None) -> dict[int, KeyMoment]:
        """Return layer → second moment of its keys."""
        with self._lock:
            missing = [layer for layer in layers if layer not in self._moments]
            if missing:
                self._moments |= estimate_key_moments(self.lm, missing, corpus=self.corpus, progress=progress)
            return {layer: self._moments[layer] for layer in layers}

    def free(self, layers: Sequence[int], cutoff: Cutoff, *, progress: Progress | None = None) -> dict[int, NullSpace]:
        """Return layer → free directions under this cutoff, on the layer's device."""

        def make(moment: KeyMoment, device: torch.device) -> NullSpace:
            return NullSpace.from_moment(moment, cutoff, device=device, progress=progress)

        return cast(dict[int, NullSpace], self._made(layers, cutoff, make, progress))

    def damped(
        self, layers: Sequence[int], cutoff: Cutoff, *, ratio: float, progress: Progress | None = None
    ) -> dict[int, DampedNullSpace]:
        """Return layer → free directions on its device, each penalised by how strongly ordinary keys use it."""

        def make(moment: KeyMoment, device: torch.device) -> DampedNullSpace:
            return DampedNullSpace.from_moment(moment, cutoff, ratio=ratio, device=device, progress=progress)

        return cast(dict[int, DampedNullSpace], self._made(layers, (cutoff, ratio), make, progress))

    def _made(
        self,
        layers: Sequence[int],
        setting: Hashable,
        make: Callable[[KeyMoment, torch.device], Placed],
        progress: Progress | None,
    ) -> dict[int, Placed]:
        """Return these layers' values under a setting, on their devices.

        A moment is in memory only while it is needed. A finished value waits on the CPU until every layer has its own:
        eigenvectors in the making take more than all finished values together.
        """
        with self._lock:
            asked = {(layer, setting): write_device(self.lm, layer) for layer in layers}
            missing = [place for place in asked if place not in self._free]
            if missing:
                self._free.leave_devices()
            unread = [layer for layer, _ in missing if layer not in self._moments]
            self._moments |= make_key_moments(self.lm, unread, corpus=self.corpus, progress=progress)
            for layer, _ in missing:
                moment = self._moments.get(layer) or load_key_moment(self.lm, layer, self.corpus)
                self._free.add((layer, setting), make(moment, asked[layer, setting]))
            return self._free.on_devices(asked, progress or Silent())
