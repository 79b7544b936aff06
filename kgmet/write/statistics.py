"""`KeyStatistics`: key moments and free directions of one model, loaded or estimated on first use.

The owner of the model keeps this value beside it; nothing is cached at module level.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Any, TypeVar

import torch

from kgmet.base.memory import is_out_of_memory
from kgmet.base.progress import Progress, Silent, Stage, note
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.placement import write_device
from kgmet.write.corpus import Corpus, bundled_corpus
from kgmet.write.moments import KeyMoment, estimate_key_moments, load_key_moment, make_key_moments, moments_ready
from kgmet.write.nullspace import Cutoff, DampedNullSpace, NullSpace

__all__ = ["KeyStatistics"]

T = TypeVar("T")
Free = TypeVar("Free", NullSpace, DampedNullSpace)


class KeyStatistics:
    """Moments by layer and free directions by (layer, cutoff) of one model and one corpus; thread-safe."""

    def __init__(self, lm: LoadedLM, corpus: Corpus | None = None) -> None:
        self.lm = lm
        self.corpus = corpus or bundled_corpus()
        self._moments: dict[int, KeyMoment] = {}
        self._free: dict[tuple[int, Hashable], NullSpace] = {}
        self._damped: dict[tuple[int, Hashable], DampedNullSpace] = {}
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

        return self._made(self._free, layers, cutoff, make, progress)

    def damped(
        self, layers: Sequence[int], cutoff: Cutoff, *, ratio: float, progress: Progress | None = None
    ) -> dict[int, DampedNullSpace]:
        """Return layer → free directions on its device, each penalised by how strongly ordinary keys use it."""

        def make(moment: KeyMoment, device: torch.device) -> DampedNullSpace:
            return DampedNullSpace.from_moment(moment, cutoff, ratio=ratio, device=device, progress=progress)

        return self._made(self._damped, layers, (cutoff, ratio), make, progress)

    def _made(
        self,
        held: dict[tuple[int, Hashable], Free],
        layers: Sequence[int],
        setting: Hashable,
        make: Callable[[KeyMoment, torch.device], Free],
        progress: Progress | None,
    ) -> dict[int, Free]:
        """Return the cached values of these layers under a setting; a moment is in memory only while it is needed."""
        with self._lock:
            missing = [layer for layer in layers if (layer, setting) not in held]
            unread = [layer for layer in missing if layer not in self._moments]
            self._moments |= make_key_moments(self.lm, unread, corpus=self.corpus, progress=progress)
            for layer in missing:
                moment = self._moments.get(layer) or load_key_moment(self.lm, layer, self.corpus)
                held[layer, setting] = self._placed(make, moment, progress or Silent())
            return {layer: held[layer, setting] for layer in layers}

    def _placed(self, make: Callable[[KeyMoment, torch.device], Free], moment: KeyMoment, progress: Progress) -> Free:
        """Make a value on the layer's device; if memory runs out, drop other settings' values, then use the CPU."""
        device = write_device(self.lm, moment.layer)
        for last_try in (False, True):
            try:
                return make(moment, device)
            except (RuntimeError, MemoryError) as error:
                if device.type == "cpu" or not is_out_of_memory(error):
                    raise
            if not last_try:
                self._forget_on(device, moment.layer)
        note(
            progress,
            Stage.SPECTRUM,
            f"The free directions of layer {moment.layer} do not fit on {device}; the CPU keeps them and solves there.",
        )
        return make(moment, torch.device("cpu"))

    def _forget_on(self, device: torch.device, layer: int) -> None:
        """Drop this layer's values under other settings from a device; they can be recomputed."""
        for held in (self._free, self._damped):
            for key in [key for key, value in held.items() if key[0] == layer and value.device == device]:
                del held[key]
