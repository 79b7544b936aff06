"""Stable hashes that identify what a saved value was made from.

They are the same on every machine and in every process, so a cache can tell whether an entry is still valid.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgmet.base.errors import BrokenModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["digest", "fingerprint_model", "fingerprint_source", "fingerprint_value", "plain"]

_SAMPLES_PER_TENSOR = 1024
_ABOUT_THE_FILE = frozenset({"_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"})
"""Config keys that say where the model came from, not what it is; the dtype shows in the weights' values."""


def digest(*parts: str | bytes) -> str:
    """Return the SHA-256 of the parts with their lengths, as 64 hex digits; different lists never hash alike."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def plain(value: Any) -> Any:
    """Return `value` as JSON types: dataclasses become objects, tuples lists, enums their values, paths text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, Path):
        return str(value)
    return value


def fingerprint_value(value: Any) -> str:
    """Return 16 hex digits that are the same for equal settings, whatever the order of their keys."""
    return digest(json.dumps(plain(value), sort_keys=True, ensure_ascii=False))[:16]


def fingerprint_source(*packages: str) -> str:
    """Return 16 hex digits for the source text of these packages of ``kgmet`` as installed, wherever they lie."""
    root = Path(__file__).resolve().parents[1]
    files = sorted(path for package in packages for path in (root / package).rglob("*.py"))
    parts: list[str | bytes] = []
    for path in files:
        parts += [path.relative_to(root).as_posix(), path.read_bytes()]
    return digest(*parts)[:16]


def fingerprint_model(model: nn.Module, config: Mapping[str, Any]) -> str:
    """Return 16 hex digits for a model's config and weights, independent of source, device and offloading.

    Each parameter contributes its name, shape and up to 1,024 evenly spaced values (as float32). Hashing every value
    would take longer than loading the model.
    """
    import torch

    own = {key: value for key, value in config.items() if key not in _ABOUT_THE_FILE}
    parts: list[str | bytes] = [json.dumps(plain(own), sort_keys=True, default=str)]
    again = getattr(model, "all_tied_weights_keys", None) or ()  # the same weight by a second name
    for name, parameter in sorted(model.named_parameters(), key=lambda item: item[0]):
        if name in again:
            continue
        flat = (_offloaded(model, name) if parameter.is_meta else parameter.detach()).reshape(-1)
        step = max(1, flat.numel() // _SAMPLES_PER_TENSOR)
        sample = flat[::step][:_SAMPLES_PER_TENSOR]
        if sample.dtype.is_floating_point:
            sample = sample.to(torch.float32)
        parts += [name, str(tuple(parameter.shape)), sample.cpu().contiguous().numpy().tobytes()]
    return digest(*parts)[:16]


def _offloaded(model: nn.Module, name: str) -> Tensor:
    """Return whether Accelerate keeps this parameter in memory or on disk until its module is called."""
    owner, _, leaf = name.rpartition(".")
    hook = getattr(model.get_submodule(owner), "_hf_hook", None)
    for one in getattr(hook, "hooks", (hook,)):
        kept = getattr(one, "weights_map", None)
        if kept is not None:
            value: Tensor = kept[leaf]
            return value
    raise BrokenModelError(f"The model's weight {name!r} holds no values. Load the model again.")
