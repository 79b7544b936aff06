"""Safetensors files with a text header: how this project writes them, and reads them without trusting them.

The header maps names to text, as in safetensors. `save_artifact` adds a digest of header and values, so a file with a
single changed bit is refused. A file without a digest (written by an earlier version) is accepted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kgmet.base.cache import written_whole
from kgmet.base.errors import BrokenArtifactError, KgmetError
from kgmet.base.files import Limits, check_file
from kgmet.base.fingerprint import digest

__all__ = [
    "DIGEST",
    "TENSOR_FILE",
    "Artifact",
    "digest_tensors",
    "iterate_tensors",
    "load_artifact",
    "load_header",
    "load_tensors",
    "save_artifact",
    "write_tensors",
]

TENSOR_FILE = Limits(n_bytes=64 << 30)
DIGEST = "digest"
"""Name of the header entry that holds the digest of everything else."""
_UNREADABLE = (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, eq=False, kw_only=True)
class Artifact:
    """Header and tensors of one file."""

    header: Mapping[str, str]
    tensors: Mapping[str, Tensor]


def save_artifact(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write tensors and a header atomically.

    Raises:
        UnwritableError: if the place is read-only, full or gone.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    own = dict(header or {})
    with written_whole(path) as temporary:
        write_tensors(temporary, held, {**own, DIGEST: _digest_of(held, own)})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write a plain safetensors file to `path`, which the caller puts in its place.

    Raises:
        OSError: if the place is read-only, full or gone.
    """
    try:
        save_file(dict(tensors), path, metadata=dict(header) if header else None)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def load_artifact(
    path: Path, *, what: str, advice: str, limits: Limits = TENSOR_FILE, within: Path | None = None
) -> Artifact:
    """Read what `save_artifact` wrote, and check that every floating-point value is finite.

    Args:
        path: the file.
        what: its contents in the plural or with an article: "key statistics".
        advice: the end of an error's message, what to do next.
        limits: how large it may be.
        within: a folder the file must lie in once links are followed.

    Raises:
        BrokenArtifactError: if it is missing, damaged, changed since it was written, or holds NaN or infinity.
    """
    header, tensors = load_tensors(path, limits=limits, within=within, what=what, advice=advice)
    own = {name: text for name, text in header.items() if name != DIGEST}
    if DIGEST in header and header[DIGEST] != _digest_of(tensors, own):
        raise BrokenArtifactError(f"{path} was changed after it was saved. {advice}")
    return Artifact(header=own, tensors=tensors)


def load_header(path: Path, *, what: str, advice: str, limits: Limits = TENSOR_FILE) -> dict[str, str]:
    """Return the header alone, without reading or checking a value: to say what a file holds, never to use it.

    Raises:
        BrokenArtifactError: if the file is missing or no safetensors file.
    """
    check_file(path, limits=limits)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except _UNREADABLE as error:
        raise BrokenArtifactError(f"{path} holds no {what} that can be read ({error}). {advice}") from error


def load_tensors(
    path: Path, *, what: str, advice: str, limits: Limits = TENSOR_FILE, within: Path | None = None
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the header and tensors of any safetensors file, on the CPU and checked to be finite.

    Raises:
        BrokenArtifactError: if it is missing, damaged, or holds NaN or infinity.
    """
    check_file(path, limits=limits, within=within)
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except KgmetError:
        raise
    except _UNREADABLE as error:
        raise BrokenArtifactError(f"{path} holds no {what} that can be read ({error}). {advice}") from error
    for name, tensor in tensors.items():
        _check_finite(path, name, tensor, advice)
    return header, tensors


def iterate_tensors(
    path: Path, *, what: str, advice: str, limits: Limits = TENSOR_FILE, within: Path | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a safetensors file one at a time, checked as by `load_tensors`; one is in memory at a time.

    Raises:
        BrokenArtifactError: if the file is missing, damaged, or holds NaN or infinity.
    """
    check_file(path, limits=limits, within=within)
    try:
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                tensor = file.get_tensor(name)
                _check_finite(path, name, tensor, advice)
                yield name, tensor
    except KgmetError:
        raise
    except _UNREADABLE as error:
        raise BrokenArtifactError(f"{path} holds no {what} that can be read ({error}). {advice}") from error


def _check_finite(path: Path, name: str, tensor: Tensor, advice: str) -> None:
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float() if _is_small(tensor) else tensor).all()):
        raise BrokenArtifactError(f"{path}: {name!r} holds NaN or infinity. {advice}")


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash (64 hex digits) of names, shapes, dtypes and every value."""
    state = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        state.update(digest(name, str(tuple(tensor.shape)), str(tensor.dtype)).encode())
        state.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _digest_of(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    return digest(digest_tensors(tensors), *(part for item in sorted(header.items()) for part in item))


def _is_small(tensor: Tensor) -> bool:
    """Return whether the dtype has fewer than 16 bits; torch cannot test those for finiteness."""
    return tensor.element_size() < 2
