"""`Writer`: the protocol that solves one layer from keys and residuals; the null-space writer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kgmet.base.errors import StaleArtifactError
from kgmet.write.ledger import WrittenKeys
from kgmet.write.nullspace import DampedNullSpace, NullSpace
from kgmet.write.solve import KeyMetric, KeySystem, LayerUpdate, solve_layer_update

__all__ = ["MetricWriter", "NullSpaceWriter", "WriteRequest", "Writer"]


@dataclass(frozen=True, eq=False, kw_only=True)
class WriteRequest:
    """Keys and residuals of one layer, on its `write_device`.

    The outputs of `keys` (n_key, d_key) must move by `residuals` (n_key, d_model). The keys in `written` (of earlier
    edits) and `protected` (n_protected, d_key) must stay. `weight` returns the layer's unedited weight (d_model,
    d_key); it is a function because few writers need it and a quantised or offloaded weight must be computed first.
    """

    layer: int
    weight_name: str
    keys: Tensor
    residuals: Tensor
    written: WrittenKeys
    protected_names: Sequence[str]
    protected: Tensor
    weight: Callable[[], Tensor]
    model_fingerprint: str | None = None
    """Fingerprint of the model the keys come from; statistics of another model are refused."""

    def check_model(self, fingerprint: str | None) -> None:
        """Raise `StaleArtifactError` if statistics with this model fingerprint do not belong to these keys."""
        if None not in (fingerprint, self.model_fingerprint) and fingerprint != self.model_fingerprint:
            raise StaleArtifactError(
                f"The key statistics of layer {self.layer} are of model {fingerprint}; the model that is edited is "
                f"{self.model_fingerprint}. Estimate the statistics of this model."
            )


class Writer(Protocol):
    """A method that turns keys and residuals into an update of one layer."""

    @property
    def name(self) -> str:
        """For tables and saved artefacts."""

    def solve(self, request: WriteRequest) -> LayerUpdate:
        """Solve for the update of one layer."""


class MetricWriter(ABC):
    """A writer that solves least squares in a key metric, in which changes of known facts can be priced too.

    Protected keys stay; with `keeps_earlier` so do those of earlier edits.
    """

    keeps_earlier: bool

    @abstractmethod
    def measure(self, request: WriteRequest) -> tuple[KeyMetric, float, float]:
        """Return the layer's key metric, λ, and the weight of an earlier edit's key.

        Raises:
            StaleArtifactError: if there are no key statistics for this layer, or they are of another model.
        """

    def solve(self, request: WriteRequest) -> LayerUpdate:
        """Solve for the update of one layer, factors of n_key rows; raises as `measure`."""
        system, kept = self._kept(request)
        return solve_layer_update(
            request.keys,
            request.residuals,
            written=system,
            protected=kept,
            layer=request.layer,
            weight_name=request.weight_name,
        )

    def system(self, request: WriteRequest) -> KeySystem:
        """Return the metric, λ and every key that `solve` takes into account; raises as `measure`."""
        system, kept = self._kept(request)
        return system.appended(torch.cat([kept, request.keys]))

    def _kept(self, request: WriteRequest) -> tuple[KeySystem, Tensor]:
        """Return the system of the older written keys, and the other keys that must stay."""
        metric, ridge, weight = self.measure(request)
        written = request.written if self.keeps_earlier else WrittenKeys(names=(), keys=request.keys[:0].cpu())
        _, protected = written.fresh(request.protected_names, request.protected)
        system, latest = written.split_recent(metric, ridge, weight=weight)
        return system, torch.cat([latest.to(request.keys), protected.to(request.keys)])


@dataclass(frozen=True, eq=False, kw_only=True)
class NullSpaceWriter(MetricWriter):
    """Writer of AlphaEdit (arXiv:2410.02355): confined to the free directions, with earlier and protected keys kept.

    With damped directions ordinary keys count within them too, as in MEMIT. `earlier_weight`, above 0, is the weight of
    an earlier edit's key.
    """

    free: Mapping[int, NullSpace | DampedNullSpace]
    ridge: float
    keeps_earlier: bool = True
    earlier_weight: float = 1.0
    name: str = "null space"

    def measure(self, request: WriteRequest) -> tuple[KeyMetric, float, float]:
        """Return the free directions and λ."""
        if request.layer not in self.free:
            raise StaleArtifactError(f"There are no key statistics for layer {request.layer}. Estimate them first.")
        free = self.free[request.layer]
        request.check_model(free.model_fingerprint)
        return free, self.ridge, self.earlier_weight
