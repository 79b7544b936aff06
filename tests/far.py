"""`FarMode`: an accelerator that is not there, with real numbers in it, so that device code can be tested on a CPU.

A tensor "on" it holds its values in an ordinary CPU tensor and says that its device is ``lazy:N``, a type that torch
knows and no machine has. Nothing reaches its values unless it goes through torch's dispatcher, where three things are
done: an operation that mixes it with a tensor of another device fails, as it would on a GPU; a result is on the same
device as what it was made from; and every wait for the device, every byte that is moved, and every byte that lies there
is counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from kgmet.lm.load.loaded import LoadedLM

__all__ = ["FarMode", "FarTensor", "far_device", "placed_far"]

_MAY_MIX = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
"""Operations whose index tensors may be on the CPU, as on a GPU; each costs a transfer."""


def far_device(number: int = 0) -> torch.device:
    """One of the devices that are not there."""
    return torch.device("lazy", number)


class FarTensor(Tensor):
    """A tensor whose values are in `near`, a CPU tensor."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor, device: torch.device) -> FarTensor:
        return Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=device,
        )

    def __init__(self, near: Tensor, device: torch.device) -> None:
        self.near = near

    def __repr__(self, **_: Any) -> str:
        return f"FarTensor({self.near}, device={self.device})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a far tensor outside FarMode")


class FarMode(TorchDispatchMode):
    """Carries out what is asked of far tensors, and counts.

    `waits` are the times the CPU waited for the device: a value read back, a truth value, a copy to the CPU, an
    operation whose result has a size that only the values tell. `bytes_up` and `bytes_down` are those copied to the
    device and back; `held` are the bytes of tensors that lie there beside the model, and `peak` is the most of them at
    once. What a library takes to work in is not counted. `refuse_double` makes it a device without float64; with `room`
    it has no more than so many bytes, and what goes beyond them runs out of memory.
    """

    def __init__(self, *, refuse_double: bool = False, room: int | None = None) -> None:
        super().__init__()
        self.waits, self.bytes_up, self.bytes_down = 0, 0, 0
        self.held = self.peak = 0
        self.refuse_double, self.room = refuse_double, room
        self._alive: set[int] = set()
        self.log: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        flat = [*_tensors_in((args, kwargs))]
        far = [value for value in flat if isinstance(value, FarTensor)]
        name = func.overloadpacket.__name__
        asked = kwargs.get("device")
        if not far and (asked is None or torch.device(asked).type != "lazy"):
            return func(*args, **kwargs)
        device = far[0].device if far else None
        if name == "_to_copy":
            device = torch.device(asked) if asked is not None else device
            self._count_copy(args[0], device, name)
        elif name == "copy_":
            device = args[0].device
            self._count_copy(args[1], device, name)
        elif asked is not None:
            device = torch.device(asked)
        else:
            self._check_same(func, name, flat, far)
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "equal"):
            self._wait(name)
        dtype = kwargs.get("dtype")
        if self.refuse_double and dtype is torch.float64 and device is not None and device.type == "lazy":
            raise TypeError("this device has no float64")
        near_kwargs = dict(kwargs)
        if asked is not None:
            near_kwargs["device"] = torch.device("cpu")
        result = func(*_mapped(_near, args), **_mapped(_near, near_kwargs))
        if name.endswith("_") and not name.endswith("__") and isinstance(args[0], FarTensor):
            return args[0]
        known = {id(value.near): value for value in far}

        def wrapped(value: Tensor) -> Tensor:
            if device is None or device.type != "lazy":
                return value
            if id(value) in known:
                return known[id(value)]
            self._hold(value)
            return FarTensor(value, device)

        return _mapped(wrapped, result)

    def _hold(self, near: Tensor) -> None:
        """Count a storage from when it is made to when the last tensor of it is gone."""
        storage = near.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        if self.room is not None and self.held + size > self.room:
            raise torch.OutOfMemoryError(f"{size} bytes more than {self.held} do not fit on a device of {self.room}")
        self._alive.add(key)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.held -= size

    def _count_copy(self, source: Tensor, device: torch.device | None, name: str) -> None:
        size = source.numel() * source.element_size()
        if isinstance(source, FarTensor) and device is not None and device.type == "cpu":
            self._wait(name)
            self.bytes_down += size
        elif not isinstance(source, FarTensor):
            self.bytes_up += size

    def _check_same(self, func: Any, name: str, flat: list[Tensor], far: list[FarTensor]) -> None:
        devices = {value.device for value in flat if value.dim() or isinstance(value, FarTensor)}
        if len(devices) <= 1:
            return
        if name in _MAY_MIX and isinstance(flat[0], FarTensor) and len({value.device for value in far}) == 1:
            self.bytes_up += sum(v.numel() * v.element_size() for v in flat if not isinstance(v, FarTensor))
            self._wait(name)
            return
        raise RuntimeError(f"{func} mixes devices {sorted(map(str, devices))}: {[tuple(v.shape) for v in flat]}")

    def _wait(self, name: str) -> None:
        self.waits += 1
        self.log.append(name)


class _TensorElsewhere(TorchFunctionMode):
    """What would look for the device's memory past the dispatcher: `torch.tensor`, `tolist`, an index with lists."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == "lazy":
            device = kwargs.pop("device")
            return torch.tensor(*args, **kwargs, device="cpu").to(device)
        if func is Tensor.tolist and isinstance(args[0], FarTensor):
            return args[0].detach().cpu().tolist()
        if func is Tensor.__getitem__ and isinstance(args[0], FarTensor):
            args = (args[0], _with_tensors(args[1]))
        return func(*args, **kwargs)


def _with_tensors(index: Any) -> Any:
    """An index with CPU tensors for its lists."""
    if isinstance(index, tuple):
        return tuple(_with_tensors(part) for part in index)
    return torch.tensor(index, dtype=torch.long, device="cpu") if isinstance(index, list) else index


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(part)


def _mapped(of: Callable[[Tensor], Any], value: Any) -> Any:
    """Nested tuples, lists and dicts with another value for each tensor; torch's own is far slower."""
    if isinstance(value, Tensor):
        return of(value)
    if isinstance(value, dict):
        return {name: _mapped(of, part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)([_mapped(of, part) for part in value])
    return value


def _near(value: Tensor) -> Tensor:
    return value.near if isinstance(value, FarTensor) else value


def _brought(module: nn.Module, args: Any, kwargs: Any) -> Any:
    device = next(module.parameters()).device

    def there(value: Tensor) -> Tensor:
        return value.to(device)

    return _mapped(there, args), _mapped(there, kwargs)


@contextmanager
def placed_far(lm: LoadedLM, mode: FarMode, *, split: int | None = None) -> Iterator[LoadedLM]:
    """The model on the far device for the length of a ``with``.

    The layers from `split` on, the last norm and the vocabulary projection are on a second one; what is handed to a
    module is brought to its device, as Accelerate does it.
    """
    held: list[tuple[dict[str, Any], str, Any]] = []
    blocks = [*lm.layers, lm.family.norm(lm.model), lm.model.get_output_embeddings()]
    above = blocks[lm.n_layer if split is None else split :]
    later: set[int] = set() if split is None else {id(module) for block in above for module in block.modules()}
    hooks = [] if split is None else [block.register_forward_pre_hook(_brought, with_kwargs=True) for block in blocks]
    try:
        with _TensorElsewhere(), mode:
            for module in lm.model.modules():
                device = far_device(1 if id(module) in later else 0)
                for tensors in (module._parameters, module._buffers):
                    for name, value in tensors.items():
                        if value is not None:
                            held.append((tensors, name, value))
                            far = FarTensor(value.detach(), device)
                            mode._alive.add(far.near.untyped_storage()._cdata)  # the model is not counted
                            is_parameter = tensors is module._parameters
                            tensors[name] = nn.Parameter(far, requires_grad=False) if is_parameter else far
            yield lm
    finally:
        for hook in hooks:
            hook.remove()
        for tensors, name, value in held:
            tensors[name] = value
