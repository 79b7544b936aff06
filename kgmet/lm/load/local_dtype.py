"""`keep_default_dtype`: build models in a requested dtype without affecting other threads.

While transformers builds a model it sets torch's default dtype for the whole process, which would change what other
threads compute, such as an edit. Here a mode of the building thread alone replaces that.
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
"""Lock held while a model is built. Transformers patches its own classes meanwhile, for the whole process; two threads
doing so at once would restore the wrong functions."""

_ALWAYS_FLOAT = frozenset(
    (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.eye, torch.linspace, torch.logspace)
)
"""Functions whose results have the default dtype unless one is given."""
_FLOAT_OF_FLOATS = frozenset((torch.tensor, torch.full, torch.arange, torch.as_tensor, torch.scalar_tensor))
"""Functions whose results have the default dtype if their arguments are not integers."""
_QUOTIENTS = frozenset((torch.div, torch.true_divide, torch.Tensor.div, torch.Tensor.true_divide))
_QUOTIENTS |= {torch.Tensor.__truediv__, torch.Tensor.__rtruediv__}
"""Division functions: quotients of integers have the default dtype."""


class _BuiltIn(TorchFunctionMode):
    """Torch function mode: new tensors of this thread get one dtype unless another is given."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Add the dtype where none is given."""
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
        return False  # they keep their dtype
    return bool(func(*args, **{**named, "device": "meta"}).is_floating_point())


@contextmanager
def built_in(dtype: torch.dtype, model_class_name: str | None = None) -> Iterator[None]:
    """Make `dtype` the default dtype of new tensors for the length of a ``with``, in this thread only.

    Quotients of integers stay float32, because rotary tables of angles need it.

    Raises:
        ValueError: if `dtype` is not a floating-point dtype; names `model_class_name`.
    """
    if not dtype.is_floating_point:
        raise ValueError(
            f"{model_class_name or 'A model'} cannot be built in {dtype}, which is not a floating-point dtype"
        )
    with _BuiltIn(dtype):
        yield


def keep_default_dtype() -> None:
    """Make transformers build models under `built_in` from now on, instead of changing the default dtype."""
    from transformers import modeling_utils

    if hasattr(modeling_utils, "local_torch_dtype"):
        modeling_utils.local_torch_dtype = built_in
