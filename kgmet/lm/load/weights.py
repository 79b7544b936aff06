"""`read_exact`: fast loading of a model from one safetensors file with exactly its parameters.

Transformers' `from_pretrained` handles every renaming, sharding and quantisation, which takes longer than reading a
small model's weights. If none of that is needed, the file is memory-mapped and its tensors become the parameters.
Float32 only: in narrower dtypes, families differ in which buffers stay wide.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["read_exact", "uncollected"]

_WEIGHTS = "model.safetensors"
_LARGEST = 4 << 30
"""Largest file in bytes; for larger ones the time saved is negligible."""
_FILLS = frozenset(
    (
        *("uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_"),
        *("kaiming_uniform_", "kaiming_normal_", "orthogonal_"),
    )
)
"""Initialisation functions by name, in `torch.nn.init`, on tensors and as replaced by transformers."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Suspend garbage collection, which takes a fifth of the time of imports and loading and frees nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_exact(folder: Path, config: Any, *, device: torch.device) -> nn.Module | None:
    """Load the model in `folder` in float32; ``None`` unless it is one small file with exactly its parameters.

    Args:
        folder: the folder with ``model.safetensors``.
        config: the model's config.
        device: device of parameters and buffers.

    Raises:
        SafetensorError: the file is damaged.
    """
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, GenerationConfig

    path = folder / _WEIGHTS
    if not path.is_file() or path.stat().st_size > _LARGEST or getattr(config, "quantization_config", None) is not None:
        return None
    weights = load_file(path, device=str(device))
    causal: Any = AutoModelForCausalLM
    with _Unfilled():
        model = causal.from_config(config, dtype=torch.float32)
    if not _is_exact(model, weights):
        return None
    wide = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    model.load_state_dict(wide, strict=False, assign=True)
    model.tie_weights()
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    loaded: nn.Module = model.to(device)
    return loaded


def _is_exact(model: Any, weights: Mapping[str, Tensor]) -> bool:
    """Return whether `weights` are exactly the model's state dict, with each tied weight once."""
    again = model.all_tied_weights_keys
    shapes = {name: value.shape for name, value in model.state_dict().items() if name not in again}
    return shapes == {name: value.shape for name, value in weights.items()}


class _Unfilled(TorchFunctionMode):
    """Torch function mode that skips random initialisation in this thread, because the parameters are replaced.

    Memory that is never written to is not allocated by the system.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return tensors unfilled for initialisers; call every other function."""
        named = kwargs or {}
        if getattr(func, "__name__", "") in _FILLS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
