"""Properties of the writers: each is the formula of its paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kgmet.base.errors import ConfigError, NonFiniteError, StaleArtifactError
from kgmet.write.ledger import WrittenKeys
from kgmet.write.moments import KeyMoment
from kgmet.write.solve import LayerUpdate
from kgmet.write.writer import NullSpaceWriter, Writer
from kgmet.write.writers.condition import ConditionedWriter, damped, factored_svd, largest_singular_value
from kgmet.write.writers.least_squares import LeastSquaresWriter, Whitening
from kgmet.write.writers.neurons import NeuronWriter, loudest_neurons
from kgmet.write.writers.rank_one import RankOneWriter
from kgmet.write.writers.sparsify import SparseWriter, largest_relative
from tests.write.worked import D_KEY, D_MODEL, LAYER, drawn, free_space, key_moment, request_for

WRITERS: list[Writer] = [
    NullSpaceWriter(free={LAYER: free_space(0.5)}, ridge=1.0),
    LeastSquaresWriter(moments={LAYER: key_moment()}, weight=10.0),
    RankOneWriter(moments={LAYER: key_moment()}),
    NeuronWriter(moments={LAYER: key_moment()}, weight=10.0),
    SparseWriter(inner=RankOneWriter(moments={LAYER: key_moment()})),
    ConditionedWriter(inner=RankOneWriter(moments={LAYER: key_moment()})),
]


def memit(moment: Tensor, weight: float, keys: Tensor, kept: Tensor, residuals: Tensor) -> Tensor:
    """MEMIT's normal equations to the letter, as (d_model, d_key)."""
    return torch.linalg.solve(weight * moment + keys.T @ keys + kept.T @ kept, keys.T @ residuals).T


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_no_residual_no_update(writer: Writer) -> None:
    request = request_for(drawn(3, D_KEY, seed=1).float(), torch.zeros(3, D_MODEL))
    assert not writer.solve(request).dense().any()


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_a_residual_moves_its_key_its_way(writer: Writer) -> None:
    keys, residuals = drawn(1, D_KEY, seed=1).float(), drawn(1, D_MODEL, seed=2).float()
    moved = keys @ writer.solve(request_for(keys, residuals, weight=drawn(D_MODEL, D_KEY, seed=3))).dense().T
    assert float((moved * residuals).sum()) > 0


@pytest.mark.parametrize("writer", WRITERS[:4], ids=lambda writer: writer.name)
def test_statistics_of_another_model_or_layer_are_refused(writer: Writer) -> None:
    keys, residuals = drawn(1, D_KEY, seed=1).float(), drawn(1, D_MODEL, seed=2).float()
    if not isinstance(writer, NullSpaceWriter):  # these free directions do not say whose they are
        with pytest.raises(StaleArtifactError, match="of model m"):
            writer.solve(request_for(keys, residuals, model="someone else's"))
    bare = type(writer)(**{"free" if isinstance(writer, NullSpaceWriter) else "moments": {}}, **_rest(writer))
    with pytest.raises(StaleArtifactError, match=f"layer {LAYER}"):
        bare.solve(request_for(keys, residuals))


def _rest(writer: Writer) -> dict[str, float]:
    return {"ridge": 1.0} if isinstance(writer, NullSpaceWriter) else {}


@pytest.mark.parametrize("weight", [0.1, 1500.0])
@pytest.mark.parametrize("n_kept", [0, 5, 40])
def test_least_squares_is_memit(weight: float, n_kept: int) -> None:
    moment, keys, residuals = key_moment(), drawn(4, D_KEY, seed=1), drawn(4, D_MODEL, seed=2)
    kept = drawn(n_kept, D_KEY, seed=3)
    system = WrittenKeys(names=tuple(map(str, range(n_kept))), keys=kept).system(Whitening.from_moment(moment), weight)
    exact = residuals.T @ system.appended(keys).directions(4)
    torch.testing.assert_close(exact, memit(moment.second_moment, weight, keys, kept, residuals), rtol=1e-8, atol=1e-12)


def test_memit_forgets_earlier_edits_and_memit_seq_does_not() -> None:
    moment, keys, residuals = key_moment(), drawn(2, D_KEY, seed=1), drawn(2, D_MODEL, seed=2)
    earlier = drawn(6, D_KEY, seed=3)
    request = request_for(keys, residuals, earlier=earlier)
    for keeps, kept in ((False, earlier[:0]), (True, earlier)):
        update = LeastSquaresWriter(moments={LAYER: moment}, weight=5.0, keeps_earlier=keeps).solve(request)
        expected = memit(moment.second_moment, 5.0, keys, kept, residuals)
        torch.testing.assert_close(update.dense().double(), expected, rtol=1e-4, atol=1e-6)


def test_least_squares_survives_directions_no_token_used() -> None:
    moment = key_moment(n_token=D_KEY // 2)
    update = LeastSquaresWriter(moments={LAYER: moment}).solve(
        request_for(drawn(2, D_KEY, seed=1), drawn(2, D_MODEL, seed=2))
    )
    assert torch.isfinite(update.dense()).all()


def test_a_moment_with_negative_eigenvalues_is_refused() -> None:
    wrong = KeyMoment(
        layer=LAYER,
        second_moment=torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)),
        n_token=1,
        corpus="c",
        model_fingerprint="m",
    )
    with pytest.raises(ConfigError, match="negative eigenvalues"):
        Whitening.from_moment(wrong)


def test_rank_one_is_rome() -> None:
    moment, key, residual = key_moment(), drawn(1, D_KEY, seed=1), drawn(1, D_MODEL, seed=2)
    update = RankOneWriter(moments={LAYER: moment}).solve(request_for(key, residual))
    direction = torch.linalg.solve(moment.second_moment, key[0])
    expected = torch.outer(residual[0], direction) / (key[0] @ direction)
    assert update.input_factor.shape[0] == 1
    torch.testing.assert_close(update.dense().double(), expected, rtol=1e-5, atol=1e-7)


def test_rank_one_moves_each_of_several_keys_exactly_and_holds_protected_ones() -> None:
    keys, residuals, protected = drawn(4, D_KEY, seed=1), drawn(4, D_MODEL, seed=2), drawn(3, D_KEY, seed=3)
    update = RankOneWriter(moments={LAYER: key_moment()}).solve(request_for(keys, residuals, protected=protected))
    matrix = update.dense().double()
    torch.testing.assert_close(keys @ matrix.T, residuals, rtol=1e-3, atol=1e-3)
    assert float((protected @ matrix.T).abs().max()) < 1e-3


def test_rank_one_gives_equal_keys_the_mean_of_their_residuals() -> None:
    key, residuals = drawn(1, D_KEY, seed=1), drawn(2, D_MODEL, seed=2)
    update = RankOneWriter(moments={LAYER: key_moment()}).solve(request_for(key.repeat(2, 1), residuals))
    torch.testing.assert_close((key @ update.dense().double().T)[0], residuals.mean(0), rtol=1e-4, atol=1e-4)


def test_rank_one_refuses_what_is_not_finite() -> None:
    residuals = drawn(1, D_MODEL, seed=2)
    residuals[0, 0] = math.inf
    with pytest.raises(NonFiniteError):
        RankOneWriter(moments={LAYER: key_moment()}).solve(request_for(drawn(1, D_KEY, seed=1), residuals))


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_rect_keeps_exactly_its_share_and_nothing_larger_is_dropped(share: float) -> None:
    update, weight = drawn(D_MODEL, D_KEY, seed=1), drawn(D_MODEL, D_KEY, seed=2)
    sparse = largest_relative(update, weight, share)
    kept = sparse != 0
    assert int(kept.sum()) == round(share * update.numel())
    assert torch.equal(sparse[kept], update[kept])
    relative = (update / weight).abs()
    if share < 1:
        assert float(relative[kept].min()) >= float(relative[~kept].max())


def test_rect_counts_a_zero_weight_as_changed_most_and_no_change_as_none() -> None:
    update = torch.tensor([[0.0, 1.0, 5.0]])
    weight = torch.tensor([[0.0, 0.0, 1.0]])
    assert largest_relative(update, weight, 1 / 3).tolist() == [[0.0, 1.0, 0.0]]


def test_rect_of_everything_is_the_inner_writer() -> None:
    inner = LeastSquaresWriter(moments={LAYER: key_moment()}, weight=1.0)
    request = request_for(drawn(2, D_KEY, seed=1), drawn(2, D_MODEL, seed=2), weight=drawn(D_MODEL, D_KEY, seed=3))
    full = SparseWriter(inner=inner, share=1.0).solve(request)
    torch.testing.assert_close(full.dense(), inner.solve(request).dense())


@pytest.mark.parametrize("n_key", [1, 4, 40])
def test_factored_svd_is_that_of_the_matrix(n_key: int) -> None:
    output_factor, input_factor = drawn(n_key, D_MODEL, seed=1), drawn(n_key, D_KEY, seed=2)
    left, values, right = factored_svd(output_factor, input_factor)
    matrix = output_factor.T @ input_factor
    torch.testing.assert_close(left.T @ torch.diag(values) @ right, matrix)
    torch.testing.assert_close(values, torch.linalg.svdvals(matrix)[: values.numel()])


def test_power_iteration_finds_the_largest_singular_value() -> None:
    matrix = drawn(40, 70, seed=1)
    assert largest_singular_value(matrix) == pytest.approx(float(torch.linalg.svdvals(matrix)[0]), rel=1e-4)
    assert largest_singular_value(torch.zeros(3, 4)) == 0


def test_prune_leaves_small_singular_values_alone_and_brings_large_ones_near() -> None:
    values = torch.tensor([100.0, 20.0, 10.0, 3.0, 0.0], dtype=torch.float64)
    restrained = damped(values, 10.0, 1.2)
    assert restrained[2:].tolist() == [10.0, 3.0, 0.0]
    assert float(restrained[0]) == pytest.approx(math.log(100, 1.2) - math.log(10, 1.2) + 10)
    assert bool((restrained <= values).all())
    assert restrained.tolist() == sorted(restrained.tolist(), reverse=True)


@pytest.mark.parametrize("base", [1.2, 1.5, 2.0, math.e])
def test_prune_is_the_published_formula(base: float) -> None:
    """With σ = 10: σ·α becomes σ + 1, σ·α² becomes σ + 2; σ itself and what is below stay."""
    values = torch.tensor([10 * base**2, 10 * base, 10.0, 9.0], dtype=torch.float64)
    expected = torch.tensor([12.0, 11.0, 10.0, 9.0], dtype=torch.float64)
    torch.testing.assert_close(damped(values, 10.0, base), expected)


def test_prune_never_enlarges() -> None:
    values = torch.linspace(0, 9, 50, dtype=torch.float64)
    assert bool((damped(values, 1.0, 1.2) <= values).all())


def prune_request(size: float) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, residuals of the given size, and a weight whose largest singular value is 8."""
    weight = drawn(D_MODEL, D_KEY, seed=3)
    weight *= 8 / torch.linalg.svdvals(weight)[0]
    return drawn(2, D_KEY, seed=1), size * drawn(2, D_MODEL, seed=2), weight


def test_prune_does_nothing_to_an_update_within_bounds() -> None:
    inner = RankOneWriter(moments={LAYER: key_moment()})
    keys, residuals, weight = prune_request(1e-3)
    request = request_for(keys, residuals, weight=weight)
    assert torch.equal(ConditionedWriter(inner=inner).solve(request).dense(), inner.solve(request).dense())


def test_prune_restrains_the_sum_with_what_is_attached() -> None:
    inner = RankOneWriter(moments={LAYER: key_moment()})
    keys, residuals, weight = prune_request(60.0)
    request = request_for(keys, residuals, weight=weight)
    earlier = LayerUpdate(
        layer=LAYER,
        weight_name="w",
        output_factor=30 * drawn(1, D_MODEL, seed=4).float(),
        input_factor=drawn(1, D_KEY, seed=5).float(),
    )
    update = ConditionedWriter(inner=inner, earlier={LAYER: [earlier]}).solve(request)
    free = (earlier.dense() + inner.solve(request).dense()).double()
    restrained = (earlier.dense() + update.dense()).double()
    expected = damped(torch.linalg.svdvals(free), 8.0, 1.2)
    torch.testing.assert_close(torch.linalg.svdvals(restrained), expected, rtol=1e-3, atol=1e-2)
    assert float(expected[0]) < float(torch.linalg.svdvals(free)[0])


def test_loudest_neurons_are_the_fewest_that_carry_the_share() -> None:
    keys = torch.tensor([[5.0, -4.0, 1.0, 0.0], [0.0, 0.0, 0.0, 2.0]])
    assert loudest_neurons(keys[:1], 0.5).tolist() == [0]
    assert loudest_neurons(keys[:1], 0.9).tolist() == [0, 1]
    assert loudest_neurons(keys[:1], 0.95).tolist() == [0, 1, 2]
    assert loudest_neurons(keys, 0.5).tolist() == [0, 3]


def test_nse_is_memit_on_the_chosen_neurons_and_nothing_elsewhere() -> None:
    moment, keys, residuals = key_moment(), drawn(2, D_KEY, seed=1), drawn(2, D_MODEL, seed=2)
    earlier = drawn(4, D_KEY, seed=3)
    update = NeuronWriter(moments={LAYER: moment}, weight=5.0, share=0.3).solve(
        request_for(keys, residuals, earlier=earlier)
    )
    chosen = loudest_neurons(keys, 0.3)
    others = [n for n in range(D_KEY) if n not in chosen.tolist()]
    assert others
    assert not update.dense()[:, others].any()
    expected = memit(moment.second_moment[chosen][:, chosen], 5.0, keys[:, chosen], earlier[:, chosen], residuals)
    torch.testing.assert_close(update.dense()[:, chosen].double(), expected, rtol=1e-4, atol=1e-6)


def test_nse_with_every_neuron_is_memit_seq() -> None:
    moments, request = {LAYER: key_moment()}, request_for(drawn(2, D_KEY, seed=1), drawn(2, D_MODEL, seed=2))
    every = NeuronWriter(moments=moments, weight=5.0, share=1.0).solve(request)
    memit_seq = LeastSquaresWriter(moments=moments, weight=5.0, keeps_earlier=True).solve(request)
    torch.testing.assert_close(every.dense(), memit_seq.dense(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LeastSquaresWriter(moments={}, weight=0),
        lambda: NeuronWriter(moments={}, share=0),
        lambda: NeuronWriter(moments={}, weight=-1),
        lambda: SparseWriter(inner=WRITERS[0], share=1.5),
        lambda: ConditionedWriter(inner=WRITERS[0], base=1.0),
    ],
)
def test_settings_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ConfigError, match=r"write\."):
        make()  # type: ignore[operator]
