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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.base.shapes import check_shape
from kgmet.write.solve import KeySystem, LayerUpdate

__all__ = ["PRICE_TIMES", "FactPairs", "FactPrice", "PriceConfig", "forecast_changes", "pair_changes"]

PRICE_TIMES = ("once", "layer")
"""When the price is applied: after all layers in one solve, or after each layer."""
_BLOCK = 512
"""Pairs per block of Γ."""
_SKETCH = 64
"""Rank of the correction with which the facts of the second solve are chosen."""


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
    again: int = 0
    """Facts measured again with the priced update attached, and priced once more by what they really lost: those that
    the write moves most by the forecast. 0: none. A fact takes about 35 ms on one CPU thread of the default model."""
    earlier: int = 0
    """Most facts that earlier edits made true and that are priced, newest first: their new answers, and the
    consequences they held. 0: none; their keys are protected all the same."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.weight >= 0:
            raise ConfigError(f"write.price.weight must be at least 0, got {self.weight}")
        if self.when not in PRICE_TIMES:
            raise ConfigError(f"write.price.when must be one of {PRICE_TIMES}, got {self.when!r}")
        for name, least in (("facts", 1), ("active", 1), ("rank", 0), ("again", 0), ("earlier", 0)):
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
    """Price of `n_fact` facts, with their pairs by layer.

    Facts in `without` have no price. `measure` returns the log-probabilities (n,) and pairs of some facts at some
    layers, under whatever is attached; without layers, only the former. `logprobs` (n_fact,) are those without an
    update, in nats, where they are known.
    """

    pairs: Mapping[int, FactPairs]
    n_fact: int
    config: PriceConfig
    without: Sequence[int] = ()
    measure: Callable[[Sequence[int], Sequence[int]], tuple[Tensor, Mapping[int, FactPairs]]] | None = None
    logprobs: Tensor | None = None

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
        n_priced = self.n_fact - len(self.without)
        if not self.config.weight or not n_priced:
            return list(updates)
        plain = forecast_changes(self.pairs, updates, self.n_fact)
        size = min(self.config.active, n_priced)
        # The facts the write moves most, then those still moved, or newly moved, after pricing these.
        active = self._largest(plain, n_priced if size == n_priced else (size + 1) // 2)
        chosen = {layer: _Reached(systems[layer]) for layer in layers}
        corrections = self._corrections(chosen, plain, active, active)
        if len(active) < size:
            screen = [_sketched(correction) for correction in corrections.values()]
            change = plain + forecast_changes(self.pairs, screen, self.n_fact)
            new = self._largest(change, size - len(active), besides=active)
            corrections = self._corrections(chosen, plain, torch.cat([active, new]), new)
        return [_sum(update, corrections.get(update.layer)) for update in updates]

    def most_changed(self, updates: Sequence[LayerUpdate]) -> list[int]:
        """Return the facts to measure again: those that the updates move most, by the forecast."""
        n = min(self.config.again, self.n_fact - len(self.without))
        return self._largest(forecast_changes(self.pairs, updates, self.n_fact), n).tolist()

    def cancelled(
        self,
        systems: Mapping[int, KeySystem],
        updates: Sequence[LayerUpdate],
        facts: Sequence[int],
        changes: Tensor,
        pairs: Mapping[int, FactPairs],
    ) -> list[LayerUpdate]:
        """Return the updates with corrections that take measured changes (n,) of some facts back.

        `pairs` are theirs under the updates. The other active facts are in the same solve, so that they stay.
        """
        now = forecast_changes(self.pairs, updates, self.n_fact)
        n_other = min(self.config.active, self.n_fact - len(self.without)) - len(facts)
        others = self._largest(now, max(n_other, 0), besides=torch.tensor(facts, dtype=torch.long, device=now.device))
        chosen = {update.layer: _Reached(systems[update.layer]) for update in updates}
        for layer, one in chosen.items():
            one.add(pairs[layer], len(facts))
            one.add(self.pairs[layer].of(others), len(others))
        corrections = self._solved(chosen, torch.cat([changes.double(), now[others]]))
        return [_sum(update, corrections[update.layer]) for update in updates]

    def _largest(self, changes: Tensor, n: int, *, besides: Tensor | None = None) -> Tensor:
        """Return the `n` priced facts that change most, ascending, besides some."""
        sizes = changes.abs()
        for rows in (list(self.without), besides):
            if rows is not None:
                sizes[rows] = -1
        return sizes.topk(n).indices.sort().values

    def _corrections(
        self, chosen: Mapping[int, _Reached], plain: Tensor, active: Tensor, new: Tensor
    ) -> dict[int, LayerUpdate]:
        """Add the `new` facts to the solve, and return the corrections for all `active` ones."""
        for layer, one in chosen.items():
            one.add(self.pairs[layer].of(new), len(new))
        return self._solved(chosen, plain[active])

    def _solved(self, chosen: Mapping[int, _Reached], changes: Tensor) -> dict[int, LayerUpdate]:
        """Return the corrections that take these changes of the chosen facts back."""
        gram = torch.zeros(len(changes), len(changes), dtype=torch.float64)
        for one in chosen.values():
            gram += one.gram
        gram.diagonal().add_(1 / self.config.weight)
        cost = torch.linalg.solve(gram, changes)
        return {layer: one.correction(layer, cost, self.config.rank) for layer, one in chosen.items()}


class _Reached:
    """Growing set of facts at one layer, with u = F k and apart = λ (FKKᵀFᵀ + λI)⁻¹ u of their pairs.

    `gram` (n_fact, n_fact), float64, is this layer's part of Γ.
    """

    def __init__(self, system: KeySystem) -> None:
        self.system = system
        self.gram = torch.zeros(0, 0, dtype=torch.float64)
        self._fact = torch.zeros(0, dtype=torch.long, device=system.metric.device)
        self._rows: tuple[Tensor, ...] = ()
        """Slopes, u and apart, (n_pair, …)."""

    def add(self, pairs: FactPairs, n_fact: int) -> None:
        """Add facts, numbered from 0 in `pairs`, after those that are there."""
        before, n_before = len(self._fact), len(self.gram)
        self._fact = torch.cat([self._fact, pairs.fact.to(self._fact) + n_before])
        new = self._reached(pairs)
        self._rows = tuple(map(torch.cat, zip(self._rows, new, strict=True))) if self._rows else new
        n = n_before + n_fact
        own, cross = (torch.zeros(n, n, dtype=torch.float64) for _ in range(2))
        own[:n_before, :n_before] = self.gram
        # Γ is symmetric, so only the blocks at and below the diagonal are computed.
        for begin in range(before, len(self._fact), _BLOCK):
            rows = slice(begin, min(begin + _BLOCK, len(self._fact)))
            own += self._block(rows, rows, n)
            cross += self._block(rows, slice(0, begin), n)
        self.gram = own + cross + cross.T

    def _reached(self, pairs: FactPairs) -> tuple[Tensor, Tensor, Tensor]:
        dtype = torch.float64 if pairs.keys.dtype is torch.float64 else torch.float32
        metric = self.system.metric if dtype is torch.float64 else self.system.metric.single
        projected = metric.project(pairs.keys.to(metric.device, dtype))
        apart = self.system.apart(projected.double())
        return pairs.slopes.to(metric.device, dtype), projected.to(dtype), apart.to(dtype)

    def _block(self, rows: slice, columns: slice, n_fact: int) -> Tensor:
        """Return what these pairs, by those, contribute to Γ, (n_fact, n_fact)."""
        slopes, projected, apart = self._rows
        reach = (slopes[rows] @ slopes[columns].T).mul_(projected[rows] @ apart[columns].T)
        by_fact = reach.new_zeros(n_fact, reach.shape[1]).index_add_(0, self._fact[rows], reach)
        found = reach.new_zeros(n_fact, n_fact).index_add_(1, self._fact[columns], by_fact)
        return found.cpu().double() / self.system.ridge

    def correction(self, layer: int, cost: Tensor, rank: int) -> LayerUpdate:
        """Return this layer's X, truncated to a rank."""
        slopes, _, apart = self._rows
        left = slopes * (cost.to(slopes.device)[self._fact, None] / -self.system.ridge).to(slopes.dtype)
        right = self.system.metric.lift(apart).to(slopes.dtype)
        if rank:
            left, right = (part.to(slopes.dtype) for part in _cut(left.double(), right.double(), rank))
        return LayerUpdate(layer=layer, weight_name="", output_factor=left.cpu(), input_factor=right.cpu())


def _sketched(update: LayerUpdate) -> LayerUpdate:
    """Return the update within the span of a few fixed random combinations of its columns, after one power iteration.

    A whole index is forecast quickly from it, nearly as from the update itself.
    """
    left, right = update.output_factor, update.input_factor
    if left.shape[0] <= _SKETCH:
        return update
    drawn = torch.randn(
        right.shape[1], _SKETCH, generator=torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu"
    ).to(right)
    for _ in range(2):
        basis = torch.linalg.qr(left.T @ (right @ drawn)).Q
        drawn = right.T @ (left @ basis)
    return LayerUpdate(layer=update.layer, weight_name="", output_factor=basis.T, input_factor=drawn.T)


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
