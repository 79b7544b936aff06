"""`common_directions`: what the keys of many entities have in common, which says nothing about one of them.

SUIT (arXiv:2509.24502) writes with k′ = k − UUᵀk, U the strongest singular directions of many entities' keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["common_directions", "without_common"]


def common_directions(keys: Tensor, energy: float) -> Tensor:
    """Return the fewest singular directions of keys (n_entity, d_key) with a share of their energy, (rank, d_key)."""
    _, values, right = torch.linalg.svd(keys.double(), full_matrices=False)
    squares = values.square()
    count = int((squares.cumsum(0) < energy * squares.sum()).sum()) + 1
    directions: Tensor = right[:count]
    return directions


def without_common(keys: Tensor, common: Tensor) -> Tensor:
    """Return k − UUᵀk for each row k of (n_key, d_key); `common` (rank, d_key) holds U's columns as rows."""
    directions = common.to(keys)
    return keys - (keys @ directions.T) @ directions
