"""Properties of the price: it is the dense solve; no weight is no price; all the weight takes every forecast back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.write.priced import FactPairs, FactPrice, PriceConfig, _sketched, forecast_changes
from kgmet.write.solve import KeyMetric, KeySystem, LayerUpdate
from kgmet.write.writers.least_squares import Whitening
from tests.write.worked import D_KEY, D_MODEL, drawn, free_space, key_moment, projector

LAYERS = (3, 5)
N_FACT, N_TOKEN = 6, 3
RIDGE = 0.5


def pairs_of(layer: int) -> FactPairs:
    """Random pairs of `N_FACT` facts; the last fact has none at this layer."""
    fact = torch.arange(N_FACT - 1).repeat_interleave(N_TOKEN)
    return FactPairs(
        keys=drawn(len(fact), D_KEY, seed=10 + layer),
        slopes=drawn(len(fact), D_MODEL, seed=20 + layer),
        fact=fact,
        token=torch.arange(N_TOKEN).repeat(N_FACT - 1),
    )


def update_of(layer: int, metric: KeyMetric) -> LayerUpdate:
    system = KeySystem(metric, RIDGE).appended(keys_of(layer))
    return LayerUpdate(
        layer=layer, weight_name="w", output_factor=drawn(2, D_MODEL, seed=layer), input_factor=system.directions(2)
    )


def keys_of(layer: int) -> Tensor:
    return drawn(4, D_KEY, seed=30 + layer)


def price(weight: float, **rest: object) -> FactPrice:
    config = PriceConfig(**{"weight": weight, "active": N_FACT, "rank": 0, **rest})  # type: ignore[arg-type]
    return FactPrice(pairs={layer: pairs_of(layer) for layer in LAYERS}, n_fact=N_FACT, config=config)


def written(metric: KeyMetric) -> tuple[dict[int, KeySystem], list[LayerUpdate]]:
    systems = {layer: KeySystem(metric, RIDGE).appended(keys_of(layer)) for layer in LAYERS}
    return systems, [update_of(layer, metric) for layer in LAYERS]


def slope_matrices(layer: int) -> Tensor:
    """Σ_t g kᵀ of each fact, (n_fact, d_model, d_key)."""
    pairs = pairs_of(layer)
    outer = pairs.slopes[:, :, None] * pairs.keys[:, None, :]
    return torch.zeros(N_FACT, D_MODEL, D_KEY, dtype=torch.float64).index_add_(0, pairs.fact, outer)


def dense(metrics: dict[int, Tensor], updates: list[LayerUpdate], weight: float) -> list[Tensor]:
    """min_X Σ_l tr(X A Xᵀ) + μ Σ_b L_b(ΔW + X)² by one solve over all entries of all X.

    `metrics` are bases B (d_key, n) and A within them: X = Y Bᵀ, so that a null space needs no inverse.
    """
    slopes = [slope_matrices(layer) for layer in LAYERS]
    change = sum((s * u.dense()).sum((1, 2)) for s, u in zip(slopes, updates, strict=True))
    reached = torch.cat(
        [(s @ basis).reshape(N_FACT, -1) for s, (basis, _) in zip(slopes, metrics.values(), strict=True)], dim=1
    )
    blocks = [torch.kron(torch.eye(D_MODEL, dtype=torch.float64), a) for _, a in metrics.values()]
    system = torch.block_diag(*blocks) + weight * reached.T @ reached
    flat = torch.linalg.solve(system, -weight * reached.T @ change)
    found, at = [], 0
    for basis, _ in metrics.values():
        size = D_MODEL * basis.shape[1]
        found.append(flat[at : at + size].reshape(D_MODEL, -1) @ basis.T)
        at += size
    return found


def spaces(kind: str) -> tuple[KeyMetric, dict[int, tuple[Tensor, Tensor]]]:
    """A metric, and for each layer a basis of where X may go with A in it."""
    if kind == "whitening":
        moment = key_moment()
        metric: KeyMetric = Whitening.from_moment(moment)
        basis, inverse = torch.eye(D_KEY, dtype=torch.float64), moment.second_moment
    else:
        free = free_space(0.6)
        metric = free
        values, vectors = torch.linalg.eigh(projector(free))
        basis = vectors[:, values > 0.5]
        inverse = torch.eye(basis.shape[1], dtype=torch.float64)
    keys = {layer: keys_of(layer) @ basis for layer in LAYERS}
    return metric, {layer: (basis, RIDGE * inverse + keys[layer].T @ keys[layer]) for layer in LAYERS}


@pytest.mark.parametrize("kind", ["null space", "whitening"])
@pytest.mark.parametrize("weight", [1e-3, 1.0, 50.0])
def test_the_price_is_the_dense_solve(kind: str, weight: float) -> None:
    metric, bases = spaces(kind)
    systems, updates = written(metric)
    found = price(weight).priced(systems, updates)
    # The dense system of a whitening has a condition of 1e8, so how LAPACK rounds shows at 1e-8.
    tolerance = 1e-8 if kind == "null space" else 1e-7
    for before, after, wanted in zip(updates, found, dense(bases, updates, weight), strict=True):  # type: ignore[arg-type]
        correction = after.dense() - before.dense()
        assert float((correction - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


def test_blocks_and_a_second_solve_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Γ made in small blocks, its facts added in two steps, is that of one solve for the same facts."""
    metric, bases = spaces("null space")
    systems, updates = written(metric)
    monkeypatch.setattr("kgmet.write.priced._BLOCK", 4)
    for before, after, wanted in zip(
        updates, price(2.0).priced(systems, updates), dense(bases, updates, 2.0), strict=True
    ):
        torch.testing.assert_close(after.dense() - before.dense(), wanted, rtol=1e-8, atol=1e-10)
    pairs = {layer: pairs_of(layer) for layer in LAYERS}
    found = price(1e14, active=4).priced(systems, updates)
    chosen = torch.tensor([n for n in range(N_FACT) if abs(forecast_changes(pairs, found, N_FACT)[n]) < 1e-6])[:5]
    alone = FactPrice(
        pairs={layer: pairs_of(layer).of(chosen) for layer in LAYERS},
        n_fact=len(chosen),
        config=PriceConfig(weight=1e14, active=N_FACT, rank=0),
    )
    for one, other in zip(found, alone.priced(systems, updates), strict=True):
        torch.testing.assert_close(one.dense(), other.dense(), rtol=1e-6, atol=1e-8)


def test_single_precision_pairs_are_solved_nearly_as_double_ones() -> None:
    metric, _ = spaces("null space")
    systems, updates = written(metric)
    rough = {
        layer: replace(pairs, keys=pairs.keys.float(), slopes=pairs.slopes.float())
        for layer, pairs in price(1.0).pairs.items()
    }
    found = replace(price(1.0), pairs=rough).priced(systems, updates)
    for one, other in zip(found, price(1.0).priced(systems, updates), strict=True):
        torch.testing.assert_close(one.dense().double(), other.dense(), rtol=1e-4, atol=1e-5)


def test_a_sketch_holds_nearly_all_of_a_correction_with_few_strong_directions() -> None:
    left, right = (torch.linalg.qr(drawn(200, n, seed=n)).Q[:, :90] for n in (90, 120))
    strengths = 0.8 ** torch.arange(90, dtype=torch.float64)
    update = LayerUpdate(layer=0, weight_name="", output_factor=(left * strengths).T, input_factor=right[:, :90].T)
    sketch = _sketched(update)
    assert sketch.output_factor.shape[0] == 64
    assert float((sketch.dense() - update.dense()).norm()) < 1e-5 * update.norm


@pytest.mark.parametrize("kind", ["null space", "whitening"])
def test_no_weight_is_the_write_as_it_was_and_all_the_weight_takes_every_forecast_back(kind: str) -> None:
    metric, _ = spaces(kind)
    systems, updates = written(metric)
    pairs = {layer: pairs_of(layer) for layer in LAYERS}
    plain = forecast_changes(pairs, updates, N_FACT)
    assert all(a is b for a, b in zip(price(0).priced(systems, updates), updates, strict=True))
    for after, before in zip(price(1e-16).priced(systems, updates), updates, strict=True):
        torch.testing.assert_close(after.dense(), before.dense(), rtol=1e-8, atol=1e-8)
    left = forecast_changes(pairs, price(1e14).priced(systems, updates), N_FACT)
    assert float(plain[:-1].abs().min()) > 1e-3
    assert float(left.abs().max()) < 1e-8 * float(plain.abs().max())


def test_more_weight_never_moves_the_facts_further() -> None:
    metric, _ = spaces("null space")
    systems, updates = written(metric)
    pairs = {layer: pairs_of(layer) for layer in LAYERS}
    sizes = [
        float(forecast_changes(pairs, price(weight).priced(systems, updates), N_FACT).norm())
        for weight in (0.0, 0.01, 0.1, 1.0, 10.0)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.5 * sizes[0]


def test_a_key_the_edit_needs_is_paid_for() -> None:
    """The edit's own keys are in the metric: the price moves them less than a correction that ignores them would."""
    metric, _ = spaces("null space")
    systems, updates = written(metric)
    blind = {layer: KeySystem(metric, RIDGE) for layer in LAYERS}
    moved = {
        name: sum(
            float(((after.dense() - before.dense()) @ keys_of(after.layer).T).norm())
            for after, before in zip(price(5.0).priced(given, updates), updates, strict=True)
        )
        for name, given in (("paid", systems), ("blind", blind))
    }
    assert moved["paid"] < moved["blind"]


def test_only_the_named_layers_are_corrected() -> None:
    metric, _ = spaces("null space")
    systems, updates = written(metric)
    lower, upper = price(1.0).priced(systems, updates, layers=[LAYERS[1]])
    assert lower is updates[0]
    assert not torch.equal(upper.dense(), updates[1].dense())


def test_few_active_facts_are_those_that_move_most() -> None:
    metric, _ = spaces("null space")
    systems, updates = written(metric)
    pairs = {layer: pairs_of(layer) for layer in LAYERS}
    plain = forecast_changes(pairs, updates, N_FACT)
    left = forecast_changes(pairs, price(1e14, active=2).priced(systems, updates), N_FACT)
    assert abs(float(left[plain.abs().argmax()])) < 1e-6
    assert int((left.abs() < 1e-6).sum()) == 2 + 1  # two in the solve, and one without pairs


def test_a_correction_is_cut_to_the_nearest_of_its_rank() -> None:
    metric, _ = spaces("null space")
    systems, updates = written(metric)
    whole, cut = (price(1.0, rank=rank).priced(systems, updates)[0].dense() - updates[0].dense() for rank in (0, 2))
    u, values, vh = torch.linalg.svd(whole)
    torch.testing.assert_close(cut, (u[:, :2] * values[:2]) @ vh[:2], rtol=1e-8, atol=1e-10)


def test_pairs_of_some_facts_keep_their_order() -> None:
    some = pairs_of(3).of(torch.tensor([1, 4]))
    assert some.fact.tolist() == [0] * N_TOKEN + [1] * N_TOKEN
    assert torch.equal(some.keys[N_TOKEN:], pairs_of(3).keys[4 * N_TOKEN :])


def test_a_layer_without_pairs_is_said() -> None:
    metric, _ = spaces("null space")
    systems, updates = written(metric)
    bare = FactPrice(pairs={3: pairs_of(3)}, n_fact=N_FACT, config=PriceConfig(weight=1.0))
    with pytest.raises(ConfigError, match="no layer 5"):
        bare.priced(systems, updates)


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"when": "never"}, {"facts": 0}, {"active": 0}, {"rank": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"write.price.{next(iter(wrong))}"):
        PriceConfig(**wrong)  # type: ignore[arg-type]
