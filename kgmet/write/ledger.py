"""`EditLedger`: the keys that earlier edits wrote, which later edits protect, and what error compensation needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from kgmet.write.running import RunningMoments
from kgmet.write.solve import KeyMetric, KeySystem, LayerUpdate

__all__ = ["PROTECTED", "AskedOutputs", "EditLedger", "WrittenKeys"]

PROTECTED = "kept/"
"""Name prefix of keys that an edit only protected."""
_MOST_LATEST = 32
"""Most recent keys left outside the extended system."""


@dataclass(frozen=True, eq=False, kw_only=True)
class WrittenKeys:
    """Protected keys of one layer: `keys` (n_key, d_key), on the CPU, each with a name; names prevent duplicates."""

    names: tuple[str, ...]
    keys: Tensor
    _systems: dict[tuple[str, float, float], KeySystem] = field(default_factory=dict, repr=False)

    def system(self, metric: KeyMetric, ridge: float, *, weight: float = 1.0) -> KeySystem:
        """Return the key system for these free directions, λ and key `weight`; built once and then extended."""
        wanted = (metric.fingerprint, ridge, weight)
        system = self._systems.get(wanted, KeySystem(metric, ridge))
        if len(system) < len(self.names):
            system = system.appended(math.sqrt(weight) * self.keys[len(system) :])
        self._systems[wanted] = system
        return system

    def split_recent(self, metric: KeyMetric, ridge: float, *, weight: float = 1.0) -> tuple[KeySystem, Tensor]:
        """Return a system of the older keys, and the recent keys (n_recent, d_key) times √weight separately.

        Extending a system rewrites d_key² numbers, for one key as for thirty, so recent keys are collected first.
        """
        system = self._systems.get((metric.fingerprint, ridge, weight))
        if system is None or len(self.names) - len(system) > _MOST_LATEST:
            system = self.system(metric, ridge, weight=weight)
        return system, math.sqrt(weight) * self.keys[len(system) :]

    def fresh(self, names: Sequence[str], keys: Tensor) -> tuple[list[str], Tensor]:
        """Return the rows of `keys` (n_new, d_key) whose name is new, with their names."""
        known = set(self.names)
        rows = [row for row, name in enumerate(names) if name not in known]
        return [names[row] for row in rows], keys[rows].float()

    def appended(self, names: Sequence[str], keys: Tensor) -> WrittenKeys:
        """Append the rows of `keys` (n_new, d_key) whose name is new."""
        added, fresh = self.fresh(names, keys)
        return WrittenKeys(
            names=(*self.names, *added), keys=torch.cat([self.keys, fresh.cpu()]), _systems=dict(self._systems)
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class AskedOutputs:
    """What edits with error compensation asked of one layer, on the CPU in float32.

    `outputs` (n_key, d_model) are the wanted changes of the outputs of `keys` (n_key, d_key), from the weights without
    these edits. `written` (d_model, d_key) is the sum of their updates. Of two keys with one name the later counts.
    """

    names: tuple[str, ...]
    keys: Tensor
    outputs: Tensor
    written: Tensor

    def appended(self, names: Sequence[str], keys: Tensor, outputs: Tensor, written: Tensor) -> AskedOutputs:
        """Append one patch: its names, keys and wanted outputs, and its update (d_model, d_key)."""
        new = set(names)
        old = [row for row, name in enumerate(self.names) if name not in new]
        return AskedOutputs(
            names=(*(self.names[row] for row in old), *names),
            keys=torch.cat([self.keys[old], keys.float().cpu()]),
            outputs=torch.cat([self.outputs[old], outputs.float().cpu()]),
            written=self.written + written.float().cpu(),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class EditLedger:
    """Written keys by layer. Appending returns a new ledger; the old one stays valid.

    `asked` holds, by layer, what edits with error compensation asked for and wrote; `features` the running moments of
    UltraEdit's features.
    """

    written: Mapping[int, WrittenKeys] = field(default_factory=dict)
    patch_ids: tuple[str, ...] = ()
    asked: Mapping[int, AskedOutputs] = field(default_factory=dict)
    features: Mapping[int, RunningMoments] = field(default_factory=dict)

    def at(self, layer: int, d_key: int) -> WrittenKeys:
        """Return what was written to one layer; empty if nothing was."""
        empty = WrittenKeys(names=(), keys=torch.zeros(0, d_key, dtype=torch.float32, device="cpu"))
        return self.written.get(layer, empty)

    def appended(self, patch_id: str, keys: Mapping[int, tuple[Sequence[str], Tensor]]) -> EditLedger:
        """Return a ledger with the edits' own keys added: layer → (names, keys (n_key, d_key)).

        Keys that an edit only protected are left out: a later edit may be about that subject, and twenty keys per edit
        would soon leave no free direction.
        """
        written = dict(self.written)
        for layer, (names, tensor) in keys.items():
            written[layer] = self.at(layer, tensor.shape[1]).appended(*_own_keys(names, tensor))
        return replace(self, written=written, patch_ids=(*self.patch_ids, patch_id))

    def seeing(self, features: Mapping[int, RunningMoments]) -> EditLedger:
        """Return a ledger with one patch's features added, by layer."""
        found = dict(self.features)
        for layer, moments in features.items():
            found[layer] = found[layer].merged(moments) if layer in found else moments
        return replace(self, features=found)

    def asking(
        self,
        keys: Mapping[int, tuple[Sequence[str], Tensor]],
        asked: Mapping[int, Tensor],
        updates: Sequence[LayerUpdate],
    ) -> EditLedger:
        """Return a ledger with one compensated patch added: layer → names and keys, wanted outputs; its updates."""
        by_layer = {update.layer: update.dense() for update in updates}
        found = dict(self.asked)
        for layer, outputs in asked.items():
            names, own = _own_keys(*keys[layer])
            if layer not in found:
                found[layer] = AskedOutputs(
                    names=(), keys=own[:0], outputs=outputs[:0], written=torch.zeros_like(by_layer[layer])
                )
            found[layer] = found[layer].appended(names, own, outputs, by_layer[layer])
        return replace(self, asked=found)


def _own_keys(names: Sequence[str], keys: Tensor) -> tuple[list[str], Tensor]:
    """Return the names and rows of the edits' own keys, without those that were only protected."""
    own = [row for row, name in enumerate(names) if not name.startswith(PROTECTED)]
    return [names[row] for row in own], keys[own]
