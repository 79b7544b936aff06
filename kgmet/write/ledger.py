"""`EditLedger`: which keys earlier edits have written, as a value, so that later edits leave them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kgmet.write.solve import KeyMetric, KeySystem

__all__ = ["EditLedger", "WrittenKeys"]


@dataclass(frozen=True, eq=False, kw_only=True)
class WrittenKeys:
    """Keys one layer must keep: `keys` (n_key, d_key) with one name each; names make appending idempotent."""

    names: tuple[str, ...]
    keys: Tensor
    _systems: dict[tuple[str, float], KeySystem] = field(default_factory=dict, repr=False)

    def system(self, metric: KeyMetric, ridge: float) -> KeySystem:
        """The key system for these free directions and λ; made once and then extended."""
        wanted = (metric.fingerprint, ridge)
        if wanted not in self._systems:
            empty = KeySystem(metric, ridge)
            self._systems[wanted] = empty.appended(self.keys) if len(self.names) else empty
        return self._systems[wanted]

    def appended(self, names: Sequence[str], keys: Tensor) -> WrittenKeys:
        """These keys and those of `keys` (n_new, d_key) whose name is new."""
        known = set(self.names)
        fresh = [row for row, name in enumerate(names) if name not in known]
        added = keys[fresh].float().cpu()
        systems = {which: system.appended(added) for which, system in self._systems.items()} if fresh else self._systems
        return WrittenKeys(
            names=(*self.names, *(names[row] for row in fresh)),
            keys=torch.cat([self.keys, added]),
            _systems=dict(systems),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class EditLedger:
    """Written keys by layer. Appending returns a new ledger; the old one stays valid."""

    written: Mapping[int, WrittenKeys] = field(default_factory=dict)
    patch_ids: tuple[str, ...] = ()

    def at(self, layer: int, d_key: int) -> WrittenKeys:
        """What was written to one layer; empty if nothing was."""
        empty = WrittenKeys(names=(), keys=torch.zeros(0, d_key))
        return self.written.get(layer, empty)

    def appended(self, patch_id: str, keys: Mapping[int, tuple[Sequence[str], Tensor]]) -> EditLedger:
        """A ledger that also holds these keys: layer → (names, keys (n_key, d_key))."""
        written = dict(self.written)
        for layer, (names, tensor) in keys.items():
            written[layer] = self.at(layer, tensor.shape[1]).appended(names, tensor)
        return EditLedger(written=written, patch_ids=(*self.patch_ids, patch_id))
