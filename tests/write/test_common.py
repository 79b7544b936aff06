"""What keys have in common, against the singular value decomposition."""

from __future__ import annotations

import torch

from kgmet.write.common import common_directions, without_common
from tests.write.worked import drawn


def test_the_strongest_directions_are_taken_out_of_a_key() -> None:
    entities = drawn(40, 12, seed=1) + 3 * drawn(1, 12, seed=2)
    squares = torch.linalg.svdvals(entities).square()
    common = common_directions(entities, 0.7)
    assert float(squares[: len(common)].sum()) >= 0.7 * float(squares.sum())
    assert float(squares[: len(common) - 1].sum()) < 0.7 * float(squares.sum())
    key = drawn(1, 12, seed=3)
    left, _, right = torch.linalg.svd(entities, full_matrices=False)
    top = right[: len(common)].T  # U of the paper, whose keys are columns
    torch.testing.assert_close(without_common(key, common)[0], key[0] - top @ top.T @ key[0])
    assert left.shape[0] == 40
