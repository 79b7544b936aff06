"""Tensors in JSON files: their shape, and their numbers as text that gives back every bit.

A value with tensors has a saved form: a dataclass with fields of the same names, in which `SavedTensor` stands for a
tensor. `alike` makes one of the other, in both directions.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["SavedTensor", "alike"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SavedTensor:
    """A float64 tensor: its shape, and its numbers, little-endian in base 64."""

    shape: tuple[int, ...]
    numbers: str

    @classmethod
    def of(cls, tensor: Tensor) -> SavedTensor:
        """Return the saved form of a tensor."""
        numbers = tensor.detach().cpu().double().contiguous().numpy().astype("<f8").tobytes()
        return cls(shape=tuple(tensor.shape), numbers=base64.b64encode(numbers).decode("ascii"))

    def tensor(self, *, n_axis: int, can_be_nan: bool = False) -> Tensor:
        """Return the tensor, with this number of axes.

        Raises:
            ValueError: if the numbers do not fill the shape, or are not finite (NaN may be allowed).
        """
        try:
            data = base64.b64decode(self.numbers, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("a tensor is no base 64") from error
        if len(self.shape) != n_axis or min(self.shape, default=1) < 0 or len(data) != 8 * math.prod(self.shape):
            raise ValueError("a tensor's numbers do not fill its shape")
        found = torch.from_numpy(np.frombuffer(data, dtype="<f8").astype(np.float64)).reshape(self.shape)
        if bool(found.isinf().any()) or (not can_be_nan and bool(found.isnan().any())):
            raise ValueError("a tensor's numbers are not finite")
        return found


def alike(kind: type[T], value: object, **others: Any) -> T:
    """Return a value of the dataclass `kind` with the fields of another, by their names; tensors become saved ones.

    Args:
        kind: the dataclass.
        value: where its fields come from.
        others: fields that are given instead.
    """
    names = [field.name for field in fields(kind) if field.name not in others]  # type: ignore[arg-type]
    found = {name: getattr(value, name) for name in names}
    saved = {name: SavedTensor.of(item) if isinstance(item, Tensor) else item for name, item in found.items()}
    return kind(**saved, **others)
