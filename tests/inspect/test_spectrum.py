"""Properties of a write seen in its key spectrum: everything agrees with the dense matrices."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.inspect.spectrum import LayerWrite, inspect_writes, own_and_protected_rows
from kgmet.write.nullspace import Cutoff, DampedNullSpace
from kgmet.write.patch import EditPatch
from kgmet.write.solve import KeySystem, LayerUpdate, solve_layer_update
from tests.inspect.looked import GATE, RANK, TOWER, moment_of, random_patch, written_patch
from tests.tiny_models import tiny_lm

LM = tiny_lm()


def write_of(patch: EditPatch, *, earlier: tuple[EditPatch, ...] = ()) -> LayerWrite:
    (write,) = inspect_writes(LM, patch, {1: moment_of(LM, 1)}, earlier=earlier)
    return write


def solved_again(
    patch: EditPatch, share: float, ridge: float = 0.5, *, ordinary: float = 0.0, kept: float = 1.0
) -> LayerUpdate:
    """The patch's write by the library's own solve, with another share of free directions and other weights."""
    own, others = own_and_protected_rows(patch, 1)
    keys = patch.keys[1][1]
    free = DampedNullSpace.from_moment(moment_of(LM, 1), Cutoff(kind=RANK, value=share), ratio=ordinary / ridge)
    system = KeySystem(free, ridge).appended(kept**0.5 * keys[others].double())
    return solve_layer_update(keys[own], patch.updates[0].output_factor, written=system, layer=1)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_projected_update_has_no_energy_in_protected_space(share: float) -> None:
    write = write_of(written_patch(LM, share=share))
    assert write.rank == round(share * LM.d_key)
    assert write.protected_share < 1e-10
    assert write.protected_share_unprojected > 1e-3
    assert write.is_projected


def test_energy_over_the_spectrum_is_that_of_the_whole_update() -> None:
    patch = random_patch(LM)
    write = write_of(patch)
    assert float(write.update.sum()) == pytest.approx(patch.updates[0].norm ** 2, rel=1e-6)
    assert 0.01 < write.protected_share < 0.99
    bins = write_of(written_patch(LM)).binned(7)
    assert sum(item.written for item in bins) == pytest.approx(1)
    assert sum(item.unprojected for item in bins) == pytest.approx(1)
    assert [item.begin for item in bins[1:]] == [item.end for item in bins[:-1]]


@pytest.mark.parametrize(("ordinary", "kept"), [(0.0, 1.0), (30.0, 0.2)])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_cost_of_a_cutoff_is_what_the_real_solve_gives(share: float, ordinary: float, kept: float) -> None:
    patch = written_patch(LM, share=0.4, edits=(TOWER, GATE))
    write = write_of(patch)
    write = replace(write, ordinary_weight=ordinary, kept_weight=torch.full((len(write.kept),), kept).double())
    update = solved_again(patch, share, ordinary=ordinary, kept=kept)
    cost = write.cost(round(share * LM.d_key))
    own, others = own_and_protected_rows(patch, 1)
    keys, dense = patch.keys[1][1].double(), update.dense().double()
    residuals = patch.updates[0].output_factor.double()
    moved = keys[own] @ dense.T
    assert cost.reached == pytest.approx(float((moved * residuals).sum() / residuals.square().sum()), rel=1e-4)
    second, weight = moment_of(LM, 1).second_moment, LM.family.weight_out_in(LM.model, 1).double()
    relative = ((dense @ second * dense).sum() / (weight @ second * weight).sum()).sqrt()
    assert cost.disturbance == pytest.approx(float(relative), rel=1e-4)
    drift = (keys[others] @ dense.T).square().sum(1).mean() / residuals.square().sum(1).mean()
    assert cost.kept_moved == pytest.approx(float(drift.sqrt()), rel=1e-4)


@pytest.mark.parametrize("n_kept", [0, 20, 60])
def test_many_keys_are_solved_for_in_the_free_directions_with_the_same_result(n_kept: int) -> None:
    patch = written_patch(LM, share=0.4, n_kept=n_kept)
    write, update = write_of(patch), solved_again(patch, 0.6)
    residual, key = patch.updates[0].output_factor.double()[0], patch.keys[1][1][0].double()
    moved = update.dense().double() @ key
    cost = write.cost(round(0.6 * LM.d_key))
    assert cost.reached == pytest.approx(float(moved @ residual / residual.square().sum()), rel=1e-4)
    assert write.costs == write.curve(48)


def test_all_directions_free_is_the_unprojected_write() -> None:
    patch = written_patch(LM, share=1.0)
    write = write_of(patch)
    torch.testing.assert_close(write.update, write.unprojected, rtol=1e-4, atol=1e-9)
    assert write.cost(LM.d_key).text_energy == pytest.approx(1)
    assert write.cost(LM.d_key).writable == pytest.approx(1)


def test_what_may_be_written_grows_with_the_cutoff() -> None:
    curve = write_of(written_patch(LM)).curve(12)
    ranks = [cost.rank for cost in curve]
    assert ranks == sorted(set(ranks)) and ranks[-1] == LM.d_key
    for name in ("eigenvalue", "text_energy", "writable"):
        values = [getattr(cost, name) for cost in curve]
        assert values == sorted(values)


@pytest.mark.parametrize("rank", [0, -1, LM.d_key + 1])
def test_a_cutoff_outside_the_spectrum_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=str(LM.d_key)):
        write_of(written_patch(LM)).cost(rank)


def test_keys_that_earlier_patches_edited_count_as_kept_and_those_they_kept_do_not() -> None:
    first, second = written_patch(LM, edits=(GATE,), n_kept=2, seed=5), written_patch(LM, n_kept=0)
    assert len(write_of(second).kept) == 0
    assert write_of(second).cost(5).kept_moved is None
    assert len(write_of(second, earlier=(first,)).kept) == 1


def test_own_keys_are_told_from_kept_ones_by_name() -> None:
    patch = written_patch(LM, edits=(TOWER, GATE), n_kept=2)
    assert own_and_protected_rows(patch, 1) == ([0, 1], [2, 3])
    assert own_and_protected_rows(patch, 3) == ([], [])


def test_an_editor_without_keys_still_shows_where_its_update_lies() -> None:
    write = write_of(random_patch(LM))
    assert write.keys.shape == (0, LM.d_key)
    assert not write.is_projected
    assert write.update.shape == (LM.d_key,)
