"""Sums of key products while they are accumulated, their checkpoint on disk, and the triangle that is stored."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kgmet.base.artifact import load_artifact, save_artifact
from kgmet.base.cache import cache_dir
from kgmet.base.errors import BrokenArtifactError, UnwritableError
from kgmet.base.files import failures_as
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress, Stage, note
from kgmet.base.shapes import check_shape
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.placement import layer_device
from kgmet.write.corpus import Corpus

__all__ = [
    "ADVICE",
    "FORMAT",
    "Checkpoint",
    "Estimation",
    "LayerSum",
    "band_names",
    "bands_of",
    "from_bands",
    "rounding_remark",
]

FORMAT = "2"
"""Of moments and checkpoints on disk."""
ADVICE = "Delete it to estimate it again."
_FOLD_EVERY = 1 << 17
"""Tokens summed in float32 before they are added to the float64 sum."""
_CHECKPOINT_SECONDS = 120.0
"""Seconds between checkpoints: the most that a killed process loses. A cancelled one loses nothing."""
_BAND = 256
"""Rows per stored band of a symmetric matrix; each band starts at its diagonal."""


def rounding_remark(device: torch.device) -> str:
    """Return what to say where the device rounds float32 factors, which is not precise enough; else nothing."""
    if device.type != "cuda" or not torch.backends.cuda.matmul.allow_tf32:
        return ""
    return (
        "TF32 is on, which rounds the factors of the key statistics: edits may differ by 1e-4 of their length. "
        "Switch it off with torch.backends.cuda.matmul.allow_tf32 = False."
    )


class LayerSum:
    """Σ kkᵀ of one layer: recent tokens in float32 on the layer's device, earlier ones in float64 on the CPU."""

    def __init__(self, width: int, device: torch.device, progress: Progress) -> None:
        self._progress = progress
        try:
            self._latest = torch.zeros(width, width, dtype=torch.float32, device=device)
        except (torch.OutOfMemoryError, MemoryError):
            self._to_cpu(width, device)
        self._n_latest = 0
        self._total: Tensor | None = None

    def _to_cpu(self, width: int, device: torch.device) -> None:
        text = f"A sum of {width}² numbers does not fit on {device}; it is kept on the CPU."
        note(self._progress, Stage.KEY_STATISTICS, text)
        self._latest = torch.zeros(width, width, dtype=torch.float32, device="cpu")

    def add(self, keys: Tensor) -> None:
        """Add keys, (n_token, d_key)."""
        here = keys.to(self._latest.device)
        self._latest.addmm_(here.T, here)
        self._n_latest += len(keys)
        if self._n_latest >= _FOLD_EVERY:
            self.set(self.folded())

    def set(self, total: Tensor | None) -> None:
        """Start from this sum, float64 on the CPU, or from zero."""
        self._latest.zero_()
        self._total, self._n_latest = total, 0

    def folded(self) -> Tensor:
        """Return the total, float64 on the CPU."""
        latest = self._latest.cpu().double()
        return latest if self._total is None else latest.add_(self._total)


@dataclass(eq=False, kw_only=True)
class Estimation:
    """Progress of an estimation."""

    sums: dict[int, LayerSum]
    begin: int
    n_token: int
    path: Path
    kept_begin: int
    kept_at: float

    def checkpoint_if_due(self) -> None:
        """Save the sums if the last checkpoint is old enough."""
        if time.monotonic() - self.kept_at > _CHECKPOINT_SECONDS:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Save the sums; a full disk only means that no checkpoint is kept."""
        if self.begin == self.kept_begin:
            return
        tensors: dict[str, Tensor] = {}
        for layer, one in self.sums.items():
            total = one.folded() / self.n_token
            tensors |= {f"{layer}.{name}": band for name, band in bands_of((total + total.T) / 2).items()}
        header = {"format": FORMAT, "begin": str(self.begin), "n_token": str(self.n_token)}
        try:
            save_artifact(self.path, tensors, header)
        except UnwritableError:
            return
        self.kept_begin, self.kept_at = self.begin, time.monotonic()


class Checkpoint:
    """An interrupted estimation on disk."""

    def __init__(self, lm: LoadedLM, layers: Sequence[int], corpus: Corpus) -> None:
        name = digest(FORMAT, lm.fingerprint, corpus.fingerprint, json.dumps(sorted(layers)))[:16]
        self._path = cache_dir() / "moments" / f"partial-{name}.safetensors"

    def read(self, lm: LoadedLM, layers: Sequence[int], progress: Progress) -> Estimation:
        """Return the saved state; the initial state if nothing usable is saved."""
        sums = {layer: LayerSum(lm.d_key, layer_device(lm, layer), progress) for layer in layers}
        begin = n_token = 0
        try:
            read = load_artifact(self._path, what="key statistics", advice=ADVICE)
            with failures_as(BrokenArtifactError, str(self._path)):
                begin, n_token = int(read.header["begin"]), int(read.header["n_token"])
                for layer, one in sums.items():
                    names = band_names(name for name in read.tensors if name.startswith(f"{layer}."))
                    one.set(from_bands([read.tensors[name] for name in names]) * n_token)
        except BrokenArtifactError:
            begin = n_token = 0
            for one in sums.values():
                one.set(None)
        return Estimation(
            sums=sums, begin=begin, n_token=n_token, path=self._path, kept_begin=begin, kept_at=time.monotonic()
        )

    def remove(self) -> None:
        """Delete the checkpoint, if the place allows it."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def bands_of(matrix: Tensor) -> dict[str, Tensor]:
    """Split a symmetric matrix (n, n) into float32 bands of `_BAND` rows, each from its diagonal on."""
    starts = range(0, len(matrix), _BAND)
    return {f"band.{n}": matrix[begin : begin + _BAND, begin:].float().contiguous() for n, begin in enumerate(starts)}


def band_names(names: Iterable[str]) -> list[str]:
    """Return the names of a matrix's bands, in order."""
    return sorted((name for name in names if "band." in name), key=lambda name: int(name.rpartition(".")[2]))


def from_bands(bands: Sequence[Tensor]) -> Tensor:
    """Rebuild the symmetric matrix from its bands, float64.

    Raises:
        ValueError: if they do not fit together.
    """
    width = bands[0].shape[1] if bands else 0
    matrix = torch.zeros(width, width, dtype=torch.float64, device="cpu")
    for number, band in enumerate(bands):
        begin = number * _BAND
        check_shape(f"band {number}", band, min(_BAND, width - begin), width - begin)
        matrix[begin : begin + _BAND, begin:] = band
        matrix[begin:, begin : begin + _BAND] = band.T
    if not bands or len(bands) * _BAND < width:
        raise ValueError(f"{len(bands)} bands are too few")
    return matrix
