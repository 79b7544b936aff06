"""`FreeStore`: free directions of a model's layers; on an accelerator those of one setting at a time.

At width 14,336 one layer's directions take 0.4 to 0.8 GB on a GPU. So what is not asked for moves to the CPU, and is
dropped there once it takes more than what was asked for, or 1 GB: it can be made again.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Protocol, TypeAlias
from weakref import WeakValueDictionary

import torch

from kgmet.base.memory import Movable, moved_if_it_fits
from kgmet.base.progress import Progress, Stage, note

__all__ = ["FreeStore", "Place", "Placed"]

Place: TypeAlias = tuple[int, Hashable]
"""A layer and a setting."""
_CPU = torch.device("cpu")
_LEAST_KEPT = 1_000_000_000
"""Bytes of other settings' directions that are kept in any case."""


class Placed(Movable, Protocol):
    """A value that lies on a device: `NullSpace` or `DampedNullSpace`."""

    @property
    def device(self) -> torch.device:
        """Where it lies."""

    @property
    def n_byte(self) -> int:
        """Its size."""


class FreeStore:
    """Values by layer and setting, the latest asked for last. Not thread-safe: its owner has a lock."""

    def __init__(self) -> None:
        self._kept: dict[Place, Placed] = {}
        self._in_use: WeakValueDictionary[Place, Placed] = WeakValueDictionary()
        """Values on an accelerator that somebody still holds; taken again rather than copied there twice."""

    def __contains__(self, place: Place) -> bool:
        """Return whether there is a value of a layer and a setting."""
        return place in self._kept

    def add(self, place: Place, value: Placed) -> None:
        """Keep a value, on the CPU."""
        self._kept[place] = value.to(_CPU)

    def leave_devices(self, staying: Collection[Place] = ()) -> None:
        """Move every value to the CPU but those that stay where they are."""
        for place in self._kept:
            if place not in staying:
                self._kept[place] = self._kept[place].to(_CPU)

    def on_devices(self, asked: Mapping[Place, torch.device], progress: Progress) -> dict[int, Placed]:
        """Return layer → value on its device; where that has no room, on the CPU with a remark."""
        self.leave_devices(asked)
        found = {}
        for place, device in asked.items():
            value = self._kept.pop(place)
            if value.device != device:
                value = self._moved(place, value, device, progress)
            self._kept[place] = found[place[0]] = value
        self._drop_oldest(asked)
        return found

    def _drop_oldest(self, asked: Collection[Place]) -> None:
        others = [place for place in self._kept if place not in asked]
        held = sum(self._kept[place].n_byte for place in others)
        allowed = max(_LEAST_KEPT, sum(self._kept[place].n_byte for place in asked))
        for place in others:
            if held <= allowed:
                return
            held -= self._kept.pop(place).n_byte

    def _moved(self, place: Place, value: Placed, device: torch.device, progress: Progress) -> Placed:
        held = self._in_use.get(place)
        if held is not None and held.device == device:
            return held
        value = moved_if_it_fits(value, device)
        if value.device != device:
            what = f"The free directions of layer {place[0]}"
            note(progress, Stage.SPECTRUM, f"{what} do not fit on {device}; the CPU keeps them and solves there.")
        else:
            self._in_use[place] = value
        return value
