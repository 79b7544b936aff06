"""Axis names, and checks of shapes.

| Axis        | Meaning                                                                   |
|-------------|---------------------------------------------------------------------------|
| `n_edit`    | edits in one batch                                                        |
| `n_row`     | token sequences in one batch (an edit has several: contexts, kept facts)  |
| `n_key`     | keys solved for at once; an edit has one or several                       |
| `n_context` | texts one hidden state or key is averaged over                            |
| `n_node`    | entities of a subgraph                                                    |
| `n_edge`    | triples of a subgraph                                                     |
| `n_rel`     | relations of a subgraph                                                   |
| `n_layer`   | decoder layers                                                            |
| `pos`       | token positions                                                           |
| `d_model`   | width of the residual stream                                              |
| `d_key`     | width of the MLP's inner activations: the input of its down-projection    |
| `d_vocab`   | tokens of the vocabulary                                                  |
| `rank`      | directions left free for writing                                          |

Batch first, always. Tensors that leave a stage are detached, on the CPU and float32; moments and solves are float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kgmet.base.errors import NonFiniteError

__all__ = ["check_finite", "check_shape"]


def check_shape(name: str, tensor: Tensor, *shape: int | None) -> None:
    """Raise `ValueError` unless `tensor` has this shape; ``None`` allows any length."""
    fits = tensor.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {tuple(tensor.shape)}")


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise `NonFiniteError` if `tensor` holds NaN or infinity."""
    if not bool(torch.isfinite(tensor).all()):
        raise NonFiniteError(
            f"{name} holds NaN or infinity. Try float32 instead of half precision, or a smaller learning rate."
        )
