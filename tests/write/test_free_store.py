"""Memory of the free directions: how much lies on an accelerator while they are made, kept, changed and let go."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch

from kgmet.lm.load.loaded import LoadedLM, wrap_lm
from kgmet.write.free_store import FreeStore
from kgmet.write.nullspace import Cutoff, CutoffKind, DampedNullSpace, NullSpace
from kgmet.write.spectrum import WORK, spectrum_of
from kgmet.write.statistics import KeyStatistics
from kgmet.write.writers.least_squares import definite_cholesky
from tests.far import FarMode, far_device, placed_far
from tests.progress import Recorded
from tests.tiny_models import D_KEY, tiny_model, tiny_tokenizer
from tests.write.test_moments import CORPUS
from tests.write.worked import key_moment

LAYERS = (0, 1, 2)
HALF, THIRD = (Cutoff(kind=CutoffKind.RANK, value=share) for share in (0.5, 1 / 3))
SQUARE = D_KEY**2


@pytest.fixture
def far_lm() -> LoadedLM:
    return wrap_lm(tiny_model("llama"), tiny_tokenizer(), name="far llama")


def undamped(statistics: KeyStatistics) -> dict[int, NullSpace]:
    return statistics.free(LAYERS, HALF)


def damped(statistics: KeyStatistics) -> dict[int, DampedNullSpace]:
    return statistics.damped(LAYERS, HALF, ratio=3.0)


@pytest.mark.parametrize(("make", "each"), [(undamped, 2), (damped, 4)])
def test_a_device_holds_one_matrix_in_the_making_and_the_bases_afterwards(
    far_lm: LoadedLM,
    make: Callable[[KeyStatistics], dict[int, NullSpace | DampedNullSpace]],
    each: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kgmet.write.nullspace._BAND", 4)
    mode = FarMode()
    with placed_far(far_lm, mode):
        statistics = KeyStatistics(far_lm, CORPUS)
        statistics.moments(LAYERS)
        gc.collect()
        assert mode.held == 0
        mode.peak = 0
        found = make(statistics)
        assert {free.device for free in found.values()} == {far_device()}
        gc.collect()
        assert mode.held == each * len(LAYERS) * SQUARE
        # The float64 matrix, which its eigenvectors replace (8); half of them apart (4) and in float32 (2), or the root
        # (4). A second matrix would be 8 more, and finished layers that wait on the device 2 or 4 more each.
        assert mode.peak <= max(16 * SQUARE, each * len(LAYERS) * SQUARE)
        assert mode.peak < WORK * SQUARE
    near = make(KeyStatistics(wrap_lm(tiny_model("llama"), tiny_tokenizer(), name="near"), CORPUS))
    rows = torch.randn(5, D_KEY, generator=torch.Generator().manual_seed(1))
    for layer, free in found.items():
        assert free.rank == near[layer].rank
        with placed_far(far_lm, mode):
            projected = free.project(rows.to(far_device())).cpu()
        torch.testing.assert_close(projected, near[layer].project(rows), rtol=1e-5, atol=1e-5)


def test_only_the_setting_in_use_lies_on_the_device(far_lm: LoadedLM) -> None:
    mode = FarMode()
    with placed_far(far_lm, mode):
        statistics = KeyStatistics(far_lm, CORPUS)
        first = statistics.free(LAYERS, HALF)
        for cutoff in (THIRD, HALF, THIRD):
            found = statistics.free(LAYERS, cutoff)
        del first
        gc.collect()
        assert mode.held == 4 * sum(free.basis.numel() for free in found.values())
        found = statistics.free(LAYERS[:1], HALF)
        gc.collect()
        assert mode.held == 4 * found[0].basis.numel()


def test_what_somebody_still_uses_is_not_copied_to_the_device_again(far_lm: LoadedLM) -> None:
    with placed_far(far_lm, FarMode()):
        statistics = KeyStatistics(far_lm, CORPUS)
        first = statistics.free(LAYERS, HALF)
        statistics.free(LAYERS, THIRD)
        assert all(statistics.free(LAYERS, HALF)[layer] is first[layer] for layer in LAYERS)


def test_without_room_on_the_device_the_cpu_works_them_out_and_keeps_them(far_lm: LoadedLM) -> None:
    mode, heard = FarMode(), Recorded()
    with placed_far(far_lm, mode):
        statistics = KeyStatistics(far_lm, CORPUS)
        statistics.moments(LAYERS)
        wanted = {layer: free.basis.cpu() for layer, free in KeyStatistics(far_lm, CORPUS).free(LAYERS, HALF).items()}
        gc.collect()
        mode.room = mode.held + 4 * sum(basis.numel() for basis in wanted.values()) * 2 // 3
        found = statistics.free(LAYERS, HALF, progress=heard)
        assert all(torch.equal(found[layer].basis.cpu(), basis) for layer, basis in wanted.items())
    assert [found[layer].device.type for layer in LAYERS] == ["lazy", "lazy", "cpu"]
    text = "The free directions of layer 2 do not fit on lazy:0; the CPU keeps them and solves there."
    assert heard.notes[-1] == text


def test_other_settings_are_dropped_once_they_take_more_than_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgmet.write.free_store._LEAST_KEPT", 0)
    moment, cpu, store = key_moment(), torch.device("cpu"), FreeStore()
    free = NullSpace.from_moment(moment, HALF)
    for setting in "abc":
        store.add((0, setting), free)
        store.on_devices({(0, setting): cpu}, Recorded())
    assert [(0, setting) in store for setting in "abc"] == [False, True, True]


def test_a_decomposition_takes_one_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    moment, mode = key_moment(), FarMode()
    monkeypatch.setattr("kgmet.write.spectrum._SMALL", 0)
    with mode:
        found = spectrum_of(moment, device=far_device())
        d_key = len(moment.second_moment)
        assert mode.peak < 9 * d_key**2 + 16 * d_key
        again = (found.vectors * found.values) @ found.vectors.mT
        torch.testing.assert_close(again.cpu(), moment.second_moment, rtol=1e-10, atol=1e-12)


def test_a_factor_takes_one_copy_of_the_moment_even_when_it_is_tried_again() -> None:
    singular, mode = torch.ones(40, 40, dtype=torch.float64), FarMode()
    with mode:
        factor = definite_cholesky(singular, device=far_device())
        assert mode.peak < 2.2 * 8 * 40**2
        torch.testing.assert_close((factor @ factor.mT).cpu(), singular, rtol=1e-5, atol=1e-5)
