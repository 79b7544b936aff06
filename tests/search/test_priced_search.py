"""Properties of the search's price: the metric is the dense one; without weight it is the search as it was; with all
the weight no priced fact moves; the length limit bounds the forecast."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.directions.source import FreeDirection
from kgmet.search.objective import TermWeights, ordinary_norm
from kgmet.search.priced import ShiftPrice, ShortenedShifts
from kgmet.search.search import TargetConfig, TargetShift, find_target_shifts
from tests.search.test_search import CONFIG, LAYER, PROBLEMS
from tests.tiny_models import tiny_lm

D_MODEL, NORM = 12, 3.0
SHORT = TargetConfig(max_steps=12, rate=0.3, max_norm_ratio=0.5, stop_nll=1e-6, weights=TermWeights(length=0.1))


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(price: ShiftPrice) -> Tensor:
    """M = I + p‖h‖² C."""
    costs = price.costs.double()
    return torch.eye(costs.shape[1], dtype=torch.float64) + price.weight * NORM**2 * costs.T @ costs


@pytest.mark.parametrize("n_fact", [0, 1, 5, 12, 30])
@pytest.mark.parametrize("weight", [0.0, 1e-3, 1.0, 1e3])
def test_the_shortened_shift_has_the_length_of_the_free_one_in_the_metric(n_fact: int, weight: float) -> None:
    price = ShiftPrice(costs=drawn(n_fact, D_MODEL), weight=weight)
    free = drawn(3, D_MODEL, seed=1)
    found = ShortenedShifts([price.shortened(NORM)] * 3, free)(free)
    metric = dense(price)
    values, vectors = torch.linalg.eigh(metric)
    torch.testing.assert_close(found, free @ (vectors * values.rsqrt()) @ vectors.T, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(((found @ metric) * found).sum(1), free.pow(2).sum(1), rtol=1e-7, atol=1e-9)


def test_its_gradient_is_that_of_the_objective_in_the_metric() -> None:
    """∂/∂z of loss(δ) + length·‖δ‖²_M is M^(-1/2) (∂loss + 2·length·Mδ), which autograd through the map gives."""
    price = ShiftPrice(costs=drawn(5, D_MODEL), weight=0.7)
    shortened, target = ShortenedShifts([price.shortened(NORM)], drawn(1, D_MODEL)), drawn(1, D_MODEL, seed=2)
    free = drawn(1, D_MODEL, seed=3).requires_grad_()
    delta = shortened(free)
    ((delta - target).pow(4).sum() + 0.5 * free.pow(2).sum()).backward()
    with torch.no_grad():
        own = 4 * (delta - target).pow(3) + delta @ dense(price)
        torch.testing.assert_close(free.grad, shortened(own), rtol=1e-9, atol=1e-10)


def test_edits_have_each_their_own_metric() -> None:
    prices = [ShiftPrice(costs=drawn(n, D_MODEL, seed=n), weight=0.5) for n in (2, 0, 7)]
    free = drawn(3, D_MODEL, seed=9)
    together = ShortenedShifts([price.shortened(NORM) for price in prices], free)(free)
    for number, price in enumerate(prices):
        alone = ShortenedShifts([price.shortened(NORM)], free)(free[number : number + 1])
        torch.testing.assert_close(together[number : number + 1], alone)


def find(
    lm: LoadedLM, prices: list[ShiftPrice] | None, config: TargetConfig = CONFIG, *, chosen: slice = slice(None)
) -> list[TargetShift]:
    problems = PROBLEMS[chosen]
    sources = [FreeDirection(lm.d_model) for _ in problems]
    return find_target_shifts(lm, problems, sources, layer=LAYER, config=config, prices=prices)


def prices_of(lm: LoadedLM, weight: float) -> list[ShiftPrice]:
    return [
        ShiftPrice(costs=drawn(9 + number, lm.d_model, seed=number).float(), weight=weight)
        for number in range(len(PROBLEMS))
    ]


def test_without_weight_the_search_is_the_one_without_a_price() -> None:
    lm = tiny_lm()
    for plain, priced in zip(find(lm, None), find(lm, prices_of(lm, 0.0)), strict=True):
        assert torch.equal(plain.delta, priced.delta)
        assert all("price" not in step for step in plain.curve)
        assert [step["total"] for step in plain.curve] == [step["total"] for step in priced.curve]


def test_with_all_the_weight_no_priced_fact_moves_and_the_edit_is_still_searched() -> None:
    lm = tiny_lm()
    plain, priced = find(lm, None, SHORT), find(lm, prices_of(lm, 1e9), SHORT)
    for before, after, price in zip(plain, priced, prices_of(lm, 1e9), strict=True):
        assert float((price.costs @ after.delta).norm()) < 1e-3 * float((price.costs @ before.delta).norm())
        assert after.curve[-1]["rewrite"] < after.curve[0]["rewrite"]


def test_the_limit_bounds_the_forecast_and_the_curve_says_what_it_is() -> None:
    lm = tiny_lm()
    for shift, price in zip(find(lm, prices_of(lm, 2.0), SHORT), prices_of(lm, 2.0), strict=True):
        forecast = float((price.costs @ shift.delta).pow(2).sum())
        last = shift.curve[-1]
        assert last["price"] == pytest.approx(2.0 * forecast, rel=1e-3)
        assert last["norm_ratio"] == pytest.approx(shift.length / float(ordinary_norm(shift.before)), rel=1e-4)
        assert last["length"] == pytest.approx(last["norm_ratio"] ** 2 + last["price"], rel=1e-4)
        assert last["length"] <= SHORT.max_norm_ratio**2 * (1 + 1e-5)


def test_a_priced_shift_is_the_same_alone_and_in_a_batch() -> None:
    lm = tiny_lm()
    together = find(lm, prices_of(lm, 0.5), SHORT)
    for number, shift in enumerate(together):
        (alone,) = find(lm, prices_of(lm, 0.5)[number : number + 1], SHORT, chosen=slice(number, number + 1))
        torch.testing.assert_close(alone.delta, shift.delta, rtol=1e-3, atol=1e-4)


def test_a_price_below_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"target\.price must be at least 0"):
        ShiftPrice(costs=drawn(1, D_MODEL), weight=-1.0)
    with pytest.raises(ConfigError, match=r"target\.price must be at least 0"):
        TargetConfig(price=float("nan"))
