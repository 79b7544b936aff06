"""`RunningMoments`: mean and deviation of vectors over everything seen so far, merged without keeping the vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.shapes import check_shape

__all__ = ["RunningMoments"]

_EPSILON = 1e-12


@dataclass(frozen=True, eq=False, kw_only=True)
class RunningMoments:
    """Count, `mean` (width,) and `squares` (width,), the summed squared differences from the mean; float64, CPU."""

    n: int
    mean: Tensor
    squares: Tensor

    def __post_init__(self) -> None:
        """Check the shape."""
        check_shape("squares", self.squares, *self.mean.shape)

    @classmethod
    def of(cls, rows: Tensor) -> RunningMoments:
        """Return the moments of rows, (n, width)."""
        exact = rows.double().cpu()
        mean = exact.mean(0) if len(exact) else exact.new_zeros(exact.shape[1])
        return cls(n=len(exact), mean=mean, squares=(exact - mean).square().sum(0))

    def merged(self, other: RunningMoments) -> RunningMoments:
        """Return the moments of both sets of rows; the order does not matter."""
        n = self.n + other.n
        if not n:
            return self
        apart = other.mean - self.mean
        return RunningMoments(
            n=n,
            mean=self.mean + apart * (other.n / n),
            squares=self.squares + other.squares + apart.square() * (self.n * other.n / n),
        )

    def normalised(self, rows: Tensor) -> Tensor:
        """Return rows (n, width) less the mean, over the sample deviation; 0 where nothing deviates."""
        deviation = (self.squares / max(self.n - 1, 1)).sqrt()
        apart = rows.double().cpu() - self.mean
        return torch.where(deviation > _EPSILON, apart / deviation.clamp(min=_EPSILON), 0.0)

    def packed(self) -> Tensor:
        """Return (3, width): count, mean and squares, to be stored."""
        return torch.stack([torch.full_like(self.mean, self.n), self.mean, self.squares])

    @classmethod
    def unpacked(cls, packed: Tensor) -> RunningMoments:
        """Return what `packed` made."""
        check_shape("packed moments", packed, 3, None)
        exact = packed.double()
        return cls(n=int(exact[0, 0]), mean=exact[1], squares=exact[2])
