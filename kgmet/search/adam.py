"""`Adam`: the optimiser of the searches, with all state in the parameters' own dtype and device.

`torch.optim.Adam` keeps its step count in a tensor of the process's default dtype, which another thread may change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Adam"]


class Adam:
    """Adam (arXiv:1412.6980): the same steps as `torch.optim.Adam` without weight decay.

    Args:
        parameters: changed in place by `step`.
        rate: the learning rate, in the parameters' units.
        betas: β₁ and β₂, the decay rates of the averaged gradients and squared gradients.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], *, rate: float, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self._parameters, self._rate, self._betas = list(parameters), rate, betas
        self._means: list[Tensor | None] = [None] * len(self._parameters)
        self._squares: list[Tensor | None] = [None] * len(self._parameters)
        self._steps = [0] * len(self._parameters)

    @torch.no_grad()
    def step(self) -> None:
        """Take one step; parameters without a gradient stay."""
        first, second = self._betas
        for number, parameter in enumerate(self._parameters):
            gradient = parameter.grad
            if gradient is None:
                continue
            mean, square = self._means[number], self._squares[number]
            if mean is None or square is None:
                mean, square = torch.zeros_like(parameter), torch.zeros_like(parameter)
                self._means[number], self._squares[number] = mean, square
            self._steps[number] += 1
            count = self._steps[number]
            mean.lerp_(gradient, 1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            spread = (square.sqrt() / math.sqrt(1 - second**count)).add_(1e-8)
            parameter.addcdiv_(mean, spread, value=-self._rate / (1 - first**count))

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for parameter in self._parameters:
            parameter.grad = None
