"""`forecast`: the known facts that a patch will change, and by how much, without attaching it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from kgmet.base.errors import StaleArtifactError
from kgmet.base.values import value_from
from kgmet.forecast.index import FactIndex, IndexedFact
from kgmet.write.patch import EditPatch
from kgmet.write.priced import pair_changes

__all__ = ["FactForecast", "Forecast", "Planned", "forecast"]


class Planned(Protocol):
    """An object with a patch, such as an `EditPlan`."""

    @property
    def patch(self) -> EditPatch:
        """The patch."""


@dataclass(frozen=True, kw_only=True)
class FactForecast:
    """Forecast for one fact: `change` is that of the answer's log-probability, in nats."""

    fact: IndexedFact
    change: float

    @property
    def before(self) -> float:
        """The answer's probability now, in [0, 1]."""
        return math.exp(self.fact.logprob)

    @property
    def after(self) -> float:
        """The forecast probability of the answer with the patch; at most 1."""
        return math.exp(min(0.0, self.fact.logprob + self.change))

    def __str__(self) -> str:
        """Return one line such as ``Reina Sofía Museum: Madrid 81 % → 12 %``."""
        return f"{self.fact.prompt.subject}: {self.fact.answer} {100 * self.before:.0f} % → {100 * self.after:.0f} %"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "prompt": self.fact.prompt.text,
            "subject": self.fact.prompt.subject,
            "relation": self.fact.prompt.relation,
            "answer": self.fact.answer,
            "before": self.before,
            "after": self.after,
            "change": self.change,
        }

    @property
    def stored(self) -> dict[str, Any]:
        """The fact with its tokens and the change, as plain JSON values that `from_stored` reads."""
        return {"fact": self.fact.to_json(), "change": self.change}

    @classmethod
    def from_stored(cls, data: Mapping[str, Any]) -> FactForecast:
        """Read what `stored` gave."""
        return value_from(
            cls, {**data, "fact": {**data["fact"], "prompt": data["fact"]}}, "This is no forecast of a fact"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Forecast:
    """First-order effect of a patch on the facts of an index.

    `changes` (n_fact,) are the changes of the answers' log-probabilities, in nats. `parts` (n_pair,) by layer are the
    contributions of each kept token, in the order of the index's pairs.
    """

    index: FactIndex
    changes: Tensor
    parts: Mapping[int, Tensor]

    def of(self, number: int) -> FactForecast:
        """Return the forecast of one fact."""
        return FactForecast(fact=self.index.facts[number], change=float(self.changes[number]))

    @cached_property
    def worst_first(self) -> tuple[int, ...]:
        """Indices of the facts, largest loss first."""
        return tuple(self.changes.argsort().tolist())

    def worst(self, n: int = 20) -> tuple[FactForecast, ...]:
        """Return the `n` facts with the largest loss."""
        return tuple(self.of(number) for number in self.worst_first[:n])

    def losing(self, nats: float = 0.5) -> int:
        """Return how many facts lose more than the given nats."""
        return int((self.changes < -nats).sum())

    def by_token(self, number: int) -> Tensor:
        """Return each layer's and token's part of one fact's change, (n_layer, pos), by `FactIndex.layers`."""
        layers = self.index.layers
        table = torch.zeros(len(layers), len(self.index.facts[number].tokens), dtype=torch.float32)
        for row, layer in enumerate(layers):
            pairs = self.index.pairs[layer]
            own = pairs.fact == number
            if layer in self.parts:
                table[row].index_add_(0, pairs.token[own].long(), self.parts[layer][own].float())
        return table


def forecast(patch: EditPatch | Planned | Sequence[EditPatch], index: FactIndex) -> Forecast:
    """Forecast the effect of one or several patches on every fact of an index, without running the model.

    Args:
        patch: the patch, a plan with it, or several patches.
        index: known facts of the same model, with the written layers.

    Raises:
        StaleArtifactError: if a patch is of another model.
        ConfigError: if the index lacks a layer.
    """
    patches = _patches(patch)
    for one in patches:
        if one.model_fingerprint != index.model_fingerprint:
            raise StaleArtifactError(
                f"The patch is of model {one.model_fingerprint}, the index of known facts of "
                f"{index.model_fingerprint}. Make an index of the model that is edited."
            )
    updates = [update for one in patches for update in one.updates]
    index.check_layers({update.layer for update in updates})
    parts: dict[int, Tensor] = {}
    changes = torch.zeros(len(index), dtype=torch.float64)
    for update in updates:
        pairs = index.pairs[update.layer]
        part = pair_changes(pairs, update).double()
        parts[update.layer] = parts.get(update.layer, torch.zeros_like(part)) + part
        changes.index_add_(0, pairs.fact.long(), part)
    return Forecast(index=index, changes=changes, parts=parts)


def _patches(patch: EditPatch | Planned | Sequence[EditPatch]) -> list[EditPatch]:
    if isinstance(patch, EditPatch):
        return [patch]
    if isinstance(patch, Sequence):
        return list(patch)
    return [patch.patch]
