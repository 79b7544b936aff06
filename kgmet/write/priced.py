"""`FactPrice`: a price in the write on changing facts the model knows; solved in closed form.

For a fact b with its answer a, let k be the input of a down-projection at a token of its prompt and g the gradient of
log p(a) with respect to the output there. To first order an update ΔW changes log p(a) by

    L_b(ΔW) = Σ_l Σ_t gᵀ ΔW_l k.

A writer with keys K, λ and the metric M solves ``min ‖ΔW K − R‖² + λ‖ΔW‖²_M``, whose quadratic part is
A = λM⁻¹ + KKᵀ. The correction X that is cheapest in the same measure and cancels the forecast,

    min_X Σ_l ‖X_l‖²_{A_l} + μ Σ_b L_b(ΔW + X)²,

is ``X_l = −Σ_b c_b Σ_t g (A_l⁻¹k)ᵀ`` with ``(Γ + I/μ) c = L(ΔW)`` and ``Γ_ab = Σ_l Σ_tt' (gᵀg')(kᵀ A_l⁻¹ k')``: one
system with one equation per fact, for all layers at once. A protected key must stay; a priced fact may move in any
direction that does not change its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.base.shapes import check_shape
from kgmet.write.solve import KeySystem, LayerUpdate

__all__ = ["PRICE_TIMES", "FactPairs", "FactPrice", "PriceConfig", "forecast_changes", "pair_changes"]

PRICE_TIMES = ("once", "layer")
"""When the price is applied: after all layers in one solve, or after each layer."""


@dataclass(frozen=True, kw_only=True)
class PriceConfig:
    """Price on changing answers that the model knows. Writers with a key metric only."""

    weight: float = 0.0
    """μ: cost of a squared change of one nat, relative to the write's own terms; at least 0. 0: no price."""
    when: str = "once"
    """``once``: one solve for all layers, after the last. ``layer``: one solve after each layer, so that later layers
    compensate for what it took from the edit."""
    facts: int = 1000
    """Known facts in the index; at least 1."""
    active: int = 256
    """Most facts in the solve: those with the largest forecast changes, of the write and then of the priced write. At
    least 1."""
    rank: int = 0
    """Rank to which a layer's correction is truncated, for smaller patches; 0: no truncation. The correction is spread
    over many directions: truncated to 24, it lets nearly half of the forecast change return."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.weight >= 0:
            raise ConfigError(f"write.price.weight must be at least 0, got {self.weight}")
        if self.when not in PRICE_TIMES:
            raise ConfigError(f"write.price.when must be one of {PRICE_TIMES}, got {self.when!r}")
        for name, least in (("facts", 1), ("active", 1), ("rank", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"write.price.{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False, kw_only=True)
class FactPairs:
    """(key, gradient) pairs of facts at one layer, one row per relevant token.

    `keys` (n_pair, d_key) are the down-projection's inputs and `slopes` (n_pair, d_model) the gradients of the answers'
    log-probability, in nats, with respect to its outputs. `fact` (n_pair,) is the row's fact, ascending, and `token`
    (n_pair,) its position in the fact's text.
    """

    keys: Tensor
    slopes: Tensor
    fact: Tensor
    token: Tensor

    def __post_init__(self) -> None:
        """Check shapes."""
        n = self.keys.shape[0]
        check_shape("slopes", self.slopes, n, None)
        check_shape("fact", self.fact, n)
        check_shape("token", self.token, n)

    def of(self, facts: Tensor) -> FactPairs:
        """Select the rows of some facts, renumbered 0, 1, … in the order given."""
        place = torch.full((max(_top(self.fact), _top(facts)) + 1,), -1, dtype=torch.long)
        place[facts] = torch.arange(len(facts))
        number = place[self.fact.long()]
        rows = (number >= 0).nonzero()[:, 0]
        return FactPairs(keys=self.keys[rows], slopes=self.slopes[rows], fact=number[rows], token=self.token[rows])


def _top(numbers: Tensor) -> int:
    return int(numbers.max()) if len(numbers) else -1


def pair_changes(pairs: FactPairs, update: LayerUpdate) -> Tensor:
    """Return ``gᵀ ΔW k`` of each pair, (n_pair,): in float64 for float64 pairs, else in float32."""
    dtype = pairs.keys.dtype
    result = torch.float64 if dtype is torch.float64 else torch.float32
    reached = (pairs.keys @ update.input_factor.to(dtype).T).to(result)
    if update.is_whole:
        return (reached * pairs.slopes.to(result)).sum(1)
    return (reached * (pairs.slopes @ update.output_factor.to(dtype).T).to(result)).sum(1)


def forecast_changes(pairs: Mapping[int, FactPairs], updates: Sequence[LayerUpdate], n_fact: int) -> Tensor:
    """Return L_b(ΔW), (n_fact,): the first-order change of each fact's log-probability, in nats.

    Layers without pairs are left out.
    """
    total = torch.zeros(n_fact, dtype=torch.float64)
    for update in updates:
        if update.layer in pairs:
            own = pairs[update.layer]
            total.index_add_(0, own.fact.long(), pair_changes(own, update).double())
    return total


@dataclass(frozen=True, eq=False, kw_only=True)
class FactPrice:
    """Price of `n_fact` facts, with their pairs by layer."""

    pairs: Mapping[int, FactPairs]
    n_fact: int
    config: PriceConfig

    def priced(
        self, systems: Mapping[int, KeySystem], updates: Sequence[LayerUpdate], *, layers: Sequence[int] | None = None
    ) -> list[LayerUpdate]:
        """Return the updates with their corrections.

        Args:
            systems: by layer, the writer's system: its metric, λ and all its keys.
            updates: the written updates, one per layer.
            layers: the layers to correct; by default all.

        Raises:
            ConfigError: if there are no pairs of a layer that is to be corrected.
        """
        layers = [update.layer for update in updates] if layers is None else layers
        missing = [layer for layer in layers if layer not in self.pairs]
        if missing:
            raise ConfigError(
                f"The index of known facts has no layer {missing[0]}; it has {sorted(self.pairs)}. Make one of the "
                "layers that are written."
            )
        if not self.config.weight or not self.n_fact:
            return list(updates)
        plain = forecast_changes(self.pairs, updates, self.n_fact)
        size = min(self.config.active, self.n_fact)
        # The facts the write moves most, then those still moved, or newly moved, after pricing these.
        active = plain.abs().topk(size if size == self.n_fact else (size + 1) // 2).indices.sort().values
        corrections = self._corrections(systems, plain, active, layers)
        if len(active) < size:
            change = (plain + forecast_changes(self.pairs, list(corrections.values()), self.n_fact)).abs()
            change[active] = -1
            active = torch.cat([active, change.topk(size - len(active)).indices]).sort().values
            corrections = self._corrections(systems, plain, active, layers)
        return [_sum(update, corrections.get(update.layer)) for update in updates]

    def _corrections(
        self, systems: Mapping[int, KeySystem], plain: Tensor, active: Tensor, layers: Sequence[int]
    ) -> dict[int, LayerUpdate]:
        chosen = {layer: _Reached.of(self.pairs[layer].of(active), systems[layer]) for layer in layers}
        gram = sum(
            (one.gram(len(active)) for one in chosen.values()),
            torch.zeros(len(active), len(active), dtype=torch.float64),
        )
        gram.diagonal().add_(1 / self.config.weight)
        cost = torch.linalg.solve(gram, plain[active])
        return {layer: one.correction(layer, cost, self.config.rank) for layer, one in chosen.items()}


@dataclass(frozen=True, eq=False, kw_only=True)
class _Reached:
    """Pairs of one layer with F k and A⁻¹ k: ``projected`` (n_pair, d_f) and ``apart`` = λ (FKKᵀFᵀ + λI)⁻¹ F k."""

    pairs: FactPairs
    slopes: Tensor
    projected: Tensor
    apart: Tensor
    system: KeySystem

    @classmethod
    def of(cls, pairs: FactPairs, system: KeySystem) -> _Reached:
        exact = pairs.keys.dtype is torch.float64
        projected = system.metric.project(pairs.keys.to(torch.float64 if exact else torch.float32))
        apart = system.apart(projected.double())
        dtype = torch.float64 if exact else torch.float32
        return cls(
            pairs=pairs,
            slopes=pairs.slopes.to(dtype),
            projected=projected.to(dtype),
            apart=apart.to(dtype),
            system=system,
        )

    def gram(self, n_fact: int) -> Tensor:
        """Return this layer's part of Γ, (n_fact, n_fact), float64."""
        reach = (self.slopes @ self.slopes.T).mul_(self.projected @ self.apart.T).double()
        rows = torch.zeros(n_fact, reach.shape[1], dtype=torch.float64).index_add_(0, self.pairs.fact, reach)
        found = torch.zeros(n_fact, n_fact, dtype=torch.float64).index_add_(1, self.pairs.fact, rows)
        return found / self.system.ridge

    def correction(self, layer: int, cost: Tensor, rank: int) -> LayerUpdate:
        """Return this layer's X, truncated to a rank."""
        left = -cost[self.pairs.fact, None] * self.slopes.double() / self.system.ridge
        right = self.system.metric.lift(self.apart.double())
        left, right = _cut(left, right, rank)
        dtype = self.slopes.dtype
        return LayerUpdate(layer=layer, weight_name="", output_factor=left.to(dtype), input_factor=right.to(dtype))


def _cut(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Truncate the factors of ``leftᵀ right`` to the nearest matrix of at most `rank`; 0: leave them as they are."""
    if not rank or left.shape[0] <= rank:
        return left, right
    # The columns span at most min(n_row, d_model) dimensions; eigenvectors there are far cheaper than an SVD.
    basis, core = (None, left.T) if left.shape[0] > left.shape[1] else torch.linalg.qr(left.T)
    matrix = core @ right
    chosen = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -rank:]
    return (chosen if basis is None else basis @ chosen).T, chosen.T @ matrix


def _sum(update: LayerUpdate, correction: LayerUpdate | None) -> LayerUpdate:
    if correction is None:
        return update
    dtype = torch.promote_types(update.output_factor.dtype, correction.output_factor.dtype)
    return LayerUpdate(
        layer=update.layer,
        weight_name=update.weight_name,
        output_factor=torch.cat([update.output_factor.to(dtype), correction.output_factor.to(dtype)]),
        input_factor=torch.cat([update.input_factor.to(dtype), correction.input_factor.to(dtype)]),
    ).compacted()
