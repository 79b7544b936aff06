"""Properties of the low-rank solve: it is the dense one, however its keys came in and however many there are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kgmet.base.errors import ConfigError, NonFiniteError
from kgmet.write.ledger import PROTECTED, EditLedger, WrittenKeys
from kgmet.write.nullspace import Cutoff, CutoffKind, DampedNullSpace, NullSpace
from kgmet.write.solve import KeySystem, LayerUpdate, solve_layer_update
from tests.write.worked import D_KEY, D_MODEL, drawn, free_space, key_moment, projector


def dense(free: NullSpace, ridge: float, keys: Tensor, kept: Tensor, residuals: Tensor) -> Tensor:
    """METHOD §1.7 to the letter: (P(KKᵀ + K_pK_pᵀ) + λI) ΔWᵀ = P K Rᵀ, as (d_model, d_key)."""
    p = projector(free)
    system = p @ (keys.T @ keys + kept.T @ kept) + ridge * torch.eye(p.shape[0], dtype=torch.float64)
    return torch.linalg.solve(system, p @ keys.T @ residuals).T


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    """Equal to `tolerance` of the larger one."""
    assert float((actual - expected).abs().max()) <= tolerance * float(expected.abs().max()), "not the same"


@pytest.mark.parametrize("share", [0.25, 0.75])
@pytest.mark.parametrize("n_kept", [0, 3, 40])
@pytest.mark.parametrize("ridge", [1e-3, 10.0])
def test_low_rank_is_the_dense_solve(share: float, n_kept: int, ridge: float) -> None:
    free = free_space(share)
    keys, kept, residuals = drawn(4, D_KEY, seed=1), drawn(n_kept, D_KEY, seed=2), drawn(4, D_MODEL, seed=3)
    system = KeySystem(free, ridge).appended(kept).appended(keys)
    close(residuals.T @ system.directions(4), dense(free, ridge, keys, kept, residuals))


@pytest.mark.parametrize("n_kept", [0, 3, 40])
@pytest.mark.parametrize(("weight", "ridge"), [(20.0, 0.5), (1e-6, 2.0)])
def test_damped_directions_pay_for_ordinary_keys(n_kept: int, weight: float, ridge: float) -> None:
    moment, cutoff = key_moment(), Cutoff(kind=CutoffKind.RANK, value=0.75)
    damped = DampedNullSpace.from_moment(moment, cutoff, ratio=weight / ridge)
    free = NullSpace.from_moment(moment, cutoff)
    keys, kept, residuals = drawn(4, D_KEY, seed=1), drawn(n_kept, D_KEY, seed=2), drawn(4, D_MODEL, seed=3)
    p = projector(free)
    system = p @ (keys.T @ keys + kept.T @ kept + weight * moment.second_moment) @ p
    expected = torch.linalg.solve(system + ridge * torch.eye(D_KEY, dtype=torch.float64), p @ keys.T @ residuals).T
    close(residuals.T @ KeySystem(damped, ridge).appended(kept).appended(keys).directions(4), expected)
    assert damped.rank == free.rank


def test_the_switch_to_d_key_dimensions_is_continuous() -> None:
    free = free_space(0.5)
    for n_kept in range(free.rank - 4, free.rank + 4):
        keys, kept, residuals = drawn(2, D_KEY, seed=1), drawn(n_kept, D_KEY, seed=2), drawn(2, D_MODEL, seed=3)
        system = KeySystem(free, 0.1).appended(kept).appended(keys)
        close(residuals.T @ system.directions(2), dense(free, 0.1, keys, kept, residuals))


@pytest.mark.parametrize("n_key", [6, 30])
def test_appending_one_by_one_equals_building_at_once(n_key: int) -> None:
    free, keys = free_space(0.75), drawn(n_key, D_KEY, seed=4)
    at_once = KeySystem(free, 0.5).appended(keys)
    grown = KeySystem(free, 0.5)
    for row in keys:
        grown = grown.appended(row[None])
    assert len(grown) == len(at_once) == n_key
    close(grown.directions(1), at_once.directions(1), 1e-10)


def test_a_thousand_appends_are_as_exact_as_one() -> None:
    free, keys, residuals = free_space(0.75), drawn(1200, D_KEY, seed=4), drawn(1, D_MODEL, seed=5)
    grown = KeySystem(free, 1.0)
    for row in keys:
        grown = grown.appended(row[None])
    close(residuals.T @ grown.directions(1), dense(free, 1.0, keys[-1:], keys[:-1], residuals))


def test_appending_leaves_the_old_system_as_it_was() -> None:
    system = KeySystem(free_space(0.75), 0.5).appended(drawn(3, D_KEY, seed=5))
    before = system.directions(3).clone()
    system.appended(drawn(30, D_KEY, seed=6))
    assert len(system) == 3
    assert torch.equal(system.directions(3), before)


@pytest.mark.parametrize("n_key", [0, 3, 15, 40])
@pytest.mark.parametrize("ridge", [0.5, 1e-6])
def test_directions_without_the_larger_system_are_those_of_the_larger_one(n_key: int, ridge: float) -> None:
    system = KeySystem(free_space(0.75), ridge)
    system = system.appended(drawn(n_key, D_KEY, seed=5)) if n_key else system
    new = drawn(4, D_KEY, seed=6)
    torch.testing.assert_close(
        system.directions_of(new, 2), system.appended(new).directions(2), rtol=1e-6, atol=1e-9 / ridge
    )


@pytest.mark.parametrize("n_latest", [1, 32, 33, 70])
def test_keys_that_still_wait_are_kept_like_the_others(n_latest: int) -> None:
    free = free_space(0.75)
    ledger = WrittenKeys(names=("a", "b"), keys=drawn(2, D_KEY, seed=1).float())
    ledger.system(free, 0.5)
    latest = drawn(n_latest, D_KEY, seed=2).float()
    ledger = ledger.appended([f"n{row}" for row in range(n_latest)], latest)
    system, waiting = ledger.split_recent(free, 0.5)
    assert len(system) + len(waiting) == 2 + n_latest
    assert len(waiting) == (n_latest if n_latest <= 32 else 0)
    new = drawn(3, D_KEY, seed=3).float()
    whole = KeySystem(free, 0.5).appended(ledger.keys).appended(new).directions(3)
    torch.testing.assert_close(system.directions_of(torch.cat([waiting, new]), 3), whole, rtol=1e-6, atol=1e-8)


def test_an_outgrown_system_knows_only_its_newest_keys() -> None:
    system = KeySystem(free_space(0.25), 0.5).appended(drawn(40, D_KEY, seed=5)).appended(drawn(2, D_KEY, seed=6))
    with pytest.raises(ValueError, match="last 2 keys"):
        system.directions(3)


def test_without_ridge_keys_reach_their_residuals_and_kept_ones_stay() -> None:
    free = free_space(0.75)
    keys, kept, residuals = drawn(3, D_KEY, seed=1), drawn(5, D_KEY, seed=2), drawn(3, D_MODEL, seed=3)
    written = KeySystem(free, 1e-9)
    update = solve_layer_update(keys, residuals, written=written, protected=kept, layer=0)
    moved = update.dense().double()
    torch.testing.assert_close(keys @ moved.T, residuals, rtol=0, atol=1e-4)
    torch.testing.assert_close(kept @ moved.T, torch.zeros(5, D_MODEL, dtype=torch.float64), rtol=0, atol=1e-4)


def test_the_update_lies_in_the_free_directions() -> None:
    free = free_space(0.25)
    update = solve_layer_update(
        drawn(3, D_KEY, seed=1), drawn(3, D_MODEL, seed=3), written=KeySystem(free, 0.1), layer=0
    )
    rows = update.input_factor.double()
    close(free.project(rows), rows, 1e-6)


def test_a_larger_ridge_never_makes_a_larger_update() -> None:
    free, keys, residuals = free_space(0.75), drawn(3, D_KEY, seed=1), drawn(3, D_MODEL, seed=3)
    norms = [
        solve_layer_update(keys, residuals, written=KeySystem(free, ridge), layer=0).norm
        for ridge in (1e-3, 0.1, 1, 10)
    ]
    assert norms == sorted(norms, reverse=True)
    assert norms[0] > norms[-1]


def test_no_residual_no_update() -> None:
    update = solve_layer_update(
        drawn(3, D_KEY, seed=1), torch.zeros(3, D_MODEL), written=KeySystem(free_space(0.5), 1.0), layer=0
    )
    assert not update.dense().any()


def test_norm_is_that_of_the_matrix() -> None:
    update = LayerUpdate(
        layer=0,
        weight_name="w",
        output_factor=drawn(4, D_MODEL, seed=1).float(),
        input_factor=drawn(4, D_KEY, seed=2).float(),
    )
    assert update.norm == pytest.approx(float(update.dense().norm()), rel=1e-5)


def test_compacting_changes_nothing_but_the_size() -> None:
    n_key = 3 * D_MODEL
    update = LayerUpdate(
        layer=0,
        weight_name="w",
        output_factor=drawn(n_key, D_MODEL, seed=1).float(),
        input_factor=drawn(n_key, D_KEY, seed=2).float(),
    )
    compact = update.compacted()
    assert compact.output_factor.shape[0] == D_MODEL
    torch.testing.assert_close(compact.dense(), update.dense())
    assert compact.compacted() is compact


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan")])
def test_a_ridge_that_is_not_positive_is_refused(ridge: float) -> None:
    with pytest.raises(ConfigError, match="ridge"):
        KeySystem(free_space(0.5), ridge)


def test_a_singular_system_says_so() -> None:
    key = drawn(1, D_KEY, seed=1)
    with pytest.raises(ConfigError, match="too small"):
        KeySystem(free_space(0.9), 1e-300).appended(key.repeat(20, 1))


def test_keys_that_are_not_finite_are_refused() -> None:
    keys = drawn(2, D_KEY, seed=1)
    keys[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="keys"):
        solve_layer_update(keys, drawn(2, D_MODEL, seed=2), written=KeySystem(free_space(0.5), 1.0), layer=0)


def test_a_ledger_appends_each_name_once_and_stays_a_value() -> None:
    first = EditLedger().appended("p1", {2: (("a", "b"), drawn(2, D_KEY, seed=1))})
    second = first.appended("p2", {2: (("b", "c"), drawn(2, D_KEY, seed=2))})
    assert first.at(2, D_KEY).names == ("a", "b")
    assert second.at(2, D_KEY).names == ("a", "b", "c")
    assert second.at(2, D_KEY).keys.shape == (3, D_KEY)
    assert second.patch_ids == ("p1", "p2")
    assert second.at(7, D_KEY).names == ()


def test_a_ledgers_system_grows_with_it() -> None:
    free, first, more = free_space(0.75), drawn(3, D_KEY, seed=1), drawn(2, D_KEY, seed=2)
    written = WrittenKeys(names=("a", "b", "c"), keys=first.float())
    written.system(free, 0.5)
    grown = written.appended(("d", "e"), more).system(free, 0.5)
    fresh = KeySystem(free, 0.5).appended(first.float()).appended(more.float())
    close(grown.directions(2), fresh.directions(2), 1e-10)


def test_a_ledger_holds_the_keys_of_edits_and_not_those_that_were_only_kept() -> None:
    keys = torch.eye(3, 6)
    ledger = EditLedger().appended("one", {2: (("tower/0", f"{PROTECTED}rome", "tower/1"), keys)})
    assert ledger.at(2, 6).names == ("tower/0", "tower/1")
    assert torch.equal(ledger.at(2, 6).keys, keys[[0, 2]])
