"""`EditLedger`: which keys earlier edits have written, as a value, so that later edits leave them alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kgmet.write.solve import KeyMetric, KeySystem

__all__ = ["PROTECTED", "EditLedger", "WrittenKeys"]

PROTECTED = "kept/"
"""How the names of keys begin that an edit only kept."""
_MOST_LATEST = 32
"""Keys that may wait before a system is extended by them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class WrittenKeys:
    """Keys one layer must keep: `keys` (n_key, d_key), on the CPU, one name each; names make appending idempotent."""

    names: tuple[str, ...]
    keys: Tensor
    _systems: dict[tuple[str, float, float], KeySystem] = field(default_factory=dict, repr=False)

    def system(self, metric: KeyMetric, ridge: float, *, weight: float = 1.0) -> KeySystem:
        """The key system for these free directions and λ, each key counting `weight`; made once and then extended."""
        wanted = (metric.fingerprint, ridge, weight)
        system = self._systems.get(wanted, KeySystem(metric, ridge))
        if len(system) < len(self.names):
            system = system.appended(math.sqrt(weight) * self.keys[len(system) :])
        self._systems[wanted] = system
        return system

    def split_recent(self, metric: KeyMetric, ridge: float, *, weight: float = 1.0) -> tuple[KeySystem, Tensor]:
        """A system of the older of these keys, and the latest, (n_latest, d_key) times √weight, which it does not hold.

        Extending a system rewrites d_key² numbers, for one key as for thirty; so the latest wait until they are many.
        """
        system = self._systems.get((metric.fingerprint, ridge, weight))
        if system is None or len(self.names) - len(system) > _MOST_LATEST:
            system = self.system(metric, ridge, weight=weight)
        return system, math.sqrt(weight) * self.keys[len(system) :]

    def fresh(self, names: Sequence[str], keys: Tensor) -> tuple[list[str], Tensor]:
        """Those of `keys` (n_new, d_key) whose name is new, with their names."""
        known = set(self.names)
        rows = [row for row, name in enumerate(names) if name not in known]
        return [names[row] for row in rows], keys[rows].float()

    def appended(self, names: Sequence[str], keys: Tensor) -> WrittenKeys:
        """These keys and those of `keys` (n_new, d_key) whose name is new."""
        added, fresh = self.fresh(names, keys)
        return WrittenKeys(
            names=(*self.names, *added), keys=torch.cat([self.keys, fresh.cpu()]), _systems=dict(self._systems)
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class EditLedger:
    """Written keys by layer. Appending returns a new ledger; the old one stays valid."""

    written: Mapping[int, WrittenKeys] = field(default_factory=dict)
    patch_ids: tuple[str, ...] = ()

    def at(self, layer: int, d_key: int) -> WrittenKeys:
        """What was written to one layer; empty if nothing was."""
        empty = WrittenKeys(names=(), keys=torch.zeros(0, d_key, dtype=torch.float32, device="cpu"))
        return self.written.get(layer, empty)

    def appended(self, patch_id: str, keys: Mapping[int, tuple[Sequence[str], Tensor]]) -> EditLedger:
        """A ledger that also holds the edited ones of these keys: layer → (names, keys (n_key, d_key)).

        Keys that an edit only kept are not held for later ones: one of those may be about that very subject, and twenty
        keys an edit would soon leave no direction free.
        """
        written = dict(self.written)
        for layer, (names, tensor) in keys.items():
            own = [row for row, name in enumerate(names) if not name.startswith(PROTECTED)]
            written[layer] = self.at(layer, tensor.shape[1]).appended([names[row] for row in own], tensor[own])
        return EditLedger(written=written, patch_ids=(*self.patch_ids, patch_id))
