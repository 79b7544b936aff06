"""REVIVE and SPHERE on a dense update, in float64."""

from __future__ import annotations

import pytest
import torch

from kgmet.base.errors import ConfigError
from kgmet.write.solve import LayerUpdate
from kgmet.write.spectral import FilterKind, SpectralConfig, SpectralFilter, weight_directions
from tests.write.worked import D_KEY, D_MODEL, LAYER, drawn

WEIGHT = drawn(D_MODEL, D_KEY, seed=1) * torch.logspace(0, -1, D_KEY, dtype=torch.float64)
UPDATE = LayerUpdate(
    layer=LAYER,
    weight_name="w",
    output_factor=drawn(3, D_MODEL, seed=2).float(),
    input_factor=drawn(3, D_KEY, seed=3).float(),
)


def filtered(config: SpectralConfig) -> torch.Tensor:
    directions = {LAYER: weight_directions(WEIGHT, config.energy)}
    return SpectralFilter(config=config, directions=directions).filtered(UPDATE).dense().double()


@pytest.mark.parametrize("energy", [0.2, 0.6])
def test_revive_drops_every_coefficient_that_touches_a_strong_direction(energy: float) -> None:
    left, values, right = torch.linalg.svd(WEIGHT)
    count = int((values.square().cumsum(0) / values.square().sum() < energy).sum()) + 1
    coefficients = left.T @ UPDATE.dense().double() @ right.T
    coefficients[:count] = 0
    coefficients[:, :count] = 0
    found = filtered(SpectralConfig(kind=FilterKind.REVIVE, energy=energy))
    torch.testing.assert_close(found, left @ coefficients @ right, rtol=1e-5, atol=1e-5)


def test_sphere_weakens_the_update_along_the_top_eigenvectors_of_the_squared_weight() -> None:
    values, vectors = torch.linalg.eigh(WEIGHT.T @ WEIGHT)
    values, vectors = values.flip(0), vectors.flip(1)
    top = vectors[:, : int((values.cumsum(0) / values.sum() < 0.5).sum()) + 1]
    wanted = UPDATE.dense().double() @ (torch.eye(D_KEY).double() - 0.3 * top @ top.T)
    found = filtered(SpectralConfig(kind=FilterKind.SPHERE, energy=0.5, strength=0.3))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [{"energy": 0.0}, {"energy": 1.0}, {"strength": 0.0}, {"strength": 1.5}])
def test_values_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"write\.spectral"):
        SpectralConfig(**bad)  # type: ignore[arg-type]
