"""`keep_default_dtype`: a model is built in the dtype asked for, and no other thread notices.

While transformers builds a model it sets torch's default dtype for the whole process. What another thread computes
meanwhile, an edit for one, would take its dtype from there. A mode of the building thread alone does the same job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["built_in", "building", "keep_default_dtype"]

building = threading.RLock()
"""Held while a model is built. Meanwhile transformers exchanges functions of its own classes for the whole process: two
threads that do so at once leave the wrong ones behind."""

_ALWAYS_FLOAT = frozenset(
    (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.eye, torch.linspace, torch.logspace)
)
"""Their results are of the default dtype unless another is named."""
_FLOAT_OF_FLOATS = frozenset((torch.tensor, torch.full, torch.arange, torch.as_tensor, torch.scalar_tensor))
"""Theirs are, where the numbers given are no integers."""
_QUOTIENTS = frozenset((torch.div, torch.true_divide, torch.Tensor.div, torch.Tensor.true_divide))
_QUOTIENTS |= {torch.Tensor.__truediv__, torch.Tensor.__rtruediv__}
"""Quotients of whole numbers are too."""


class _BuiltIn(TorchFunctionMode):
    """New tensors are of one dtype, in this thread, unless another is named."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Name the dtype where none is."""
        named = dict(kwargs or {})
        is_open = named.get("dtype") is None and "out" not in named
        if is_open and (func in _ALWAYS_FLOAT or (func in _FLOAT_OF_FLOATS and _is_of_floats(func, args, named))):
            named["dtype"] = self._dtype
        if func in _QUOTIENTS and not named:
            args = tuple(_as_float(value) for value in args)
        return func(*args, **named)


def _as_float(value: Any) -> Any:
    is_whole = isinstance(value, torch.Tensor) and not value.is_floating_point() and not value.is_complex()
    return value.to(torch.float32) if is_whole else value


def _is_of_floats(func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    given = (*args, *named.values())
    if any(isinstance(value, torch.Tensor) or hasattr(value, "__array__") for value in given):
        return False  # they keep the dtype they have
    return bool(func(*args, **{**named, "device": "meta"}).is_floating_point())


@contextmanager
def built_in(dtype: torch.dtype, model_class_name: str | None = None) -> Iterator[None]:
    """New tensors of this thread are of `dtype` inside the ``with``, as under `torch.set_default_dtype`.

    Quotients of whole numbers are float32, whatever `dtype` is: tables of angles need it.

    Raises:
        ValueError: if `dtype` is no floating-point one; names `model_class_name`.
    """
    if not dtype.is_floating_point:
        raise ValueError(
            f"{model_class_name or 'A model'} cannot be built in {dtype}, which is no floating-point dtype"
        )
    with _BuiltIn(dtype):
        yield


def keep_default_dtype() -> None:
    """Have transformers build models under `built_in` from now on, instead of changing the process's default dtype."""
    from transformers import modeling_utils

    if hasattr(modeling_utils, "local_torch_dtype"):
        modeling_utils.local_torch_dtype = built_in
