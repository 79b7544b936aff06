"""`KeySpectrum`: eigenvalues and eigenvectors of a key second moment, computed once and cached on disk.

The decomposition costs d_key³: half a second per layer at width 1,536, and at 14,336 a minute on sixteen threads or
seconds on a GPU with float64. It runs on such a GPU, else on the CPU. There is one matrix in float64, which the
eigenvectors replace. The result is cached beside the moments, by fingerprint, if computing it took longer than reading
it would, or if the file is small.
"""

from __future__ import annotations

import time
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
from kgmet.base.memory import check_room, is_out_of_memory, moved_if_it_fits
from kgmet.base.progress import Progress, Silent, Stage, note
from kgmet.base.shapes import check_shape
from kgmet.write.moments import KeyMoment

__all__ = ["WORK", "KeySpectrum", "spectrum_of"]

_SMALL = 64 << 20
"""Size in bytes up to which eigenvectors are always cached."""
_LONG = 10.0
"""Computation time in seconds from which eigenvectors are always cached."""


WORK = 24
"""Bytes per entry of the moment that a decomposition takes beside it: the vectors, and twice as much to work in."""


@dataclass(frozen=True, eq=False, kw_only=True)
class KeySpectrum:
    """`values` (d_key,) ascending and `vectors` (d_key, d_key), orthonormal columns in their order; float64."""

    values: Tensor
    vectors: Tensor

    def __post_init__(self) -> None:
        """Check shapes, dtype and order."""
        d_key = self.values.shape[0]
        check_shape("vectors", self.vectors, d_key, d_key)
        if self.values.dtype != torch.float64 or self.vectors.dtype != torch.float64:
            raise ValueError("a spectrum must be float64")
        if bool((self.values.diff() < 0).any()):
            raise ValueError("eigenvalues must ascend")

    def to(self, device: torch.device) -> KeySpectrum:
        """Return the spectrum on a device that supports float64."""
        return KeySpectrum(values=self.values.to(device), vectors=self.vectors.to(device))

    @classmethod
    def load(cls, path: Path) -> KeySpectrum:
        """Read what `spectrum_of` wrote.

        Raises:
            BrokenArtifactError: if the file is damaged.
        """
        advice = "Delete it to work it out again."
        read = load_artifact(path, what="spectrum", advice=advice)
        with failures_as(BrokenArtifactError, f"{path} holds no spectrum", advice=advice):
            return cls(values=read.tensors["values"], vectors=read.tensors["vectors"])


def spectrum_of(
    moment: KeyMoment, *, device: torch.device | None = None, progress: Progress | None = None
) -> KeySpectrum:
    """Return the spectrum of a moment, from disk or computed.

    A file that is damaged, or belongs to another moment, is replaced.

    Args:
        moment: the second moment.
        device: device of the computation and the result; by default the CPU.
        progress: receives a remark if memory runs out there. Then the CPU is used and has the result.
    """
    path, where = spectrum_path(moment), device or torch.device("cpu")
    if path.is_file():
        try:
            found = KeySpectrum.load(path)
            if found.values.shape[0] == moment.second_moment.shape[0]:
                return moved_if_it_fits(found, where)
        except BrokenArtifactError:
            with suppress(OSError):  # on a read-only disk it stays, and is computed each time
                path.unlink(missing_ok=True)
    start = time.perf_counter()
    spectrum = _decomposed(moment, where, progress or Silent())
    seconds = time.perf_counter() - start
    if 8 * spectrum.vectors.numel() <= _SMALL or seconds > _LONG:
        with suppress(UnwritableError):  # a full disk costs time at the next start, not the edit
            save_artifact(path, {"values": spectrum.values, "vectors": spectrum.vectors})
    return spectrum


def _decomposed(moment: KeyMoment, device: torch.device, progress: Progress) -> KeySpectrum:
    """Compute the spectrum on the device or, if its memory runs out, on the CPU."""
    second = moment.second_moment
    if device.type != "cpu":
        try:
            return _in_place(second.to(device))
        except (RuntimeError, MemoryError) as error:
            if not (is_out_of_memory(error) or isinstance(error, torch.linalg.LinAlgError)):  # type: ignore[attr-defined]
                raise
            text = f"The eigenvectors of layer {moment.layer} do not fit on {device}; the CPU works them out."
            note(progress, Stage.SPECTRUM, text)
    check_room(
        WORK * second.numel(),
        torch.device("cpu"),
        what=f"The eigenvectors of layer {moment.layer}",
        advice="Close other programs, use a device with float64 (CUDA), or edit a smaller model.",
    )
    return _in_place(second.clone())


def _in_place(matrix: Tensor) -> KeySpectrum:
    """Replace a symmetric matrix (n, n) by its eigenvectors: a second matrix beside it would be a third of the peak."""
    columns = matrix.mT  # the layout in which LAPACK and cuSOLVER work, so that nothing is copied
    values = torch.empty(len(matrix), dtype=matrix.dtype, device=matrix.device)
    torch.linalg.eigh(columns, out=(values, columns))
    return KeySpectrum(values=values, vectors=columns)


def spectrum_path(moment: KeyMoment) -> Path:
    """Return the cache path of a moment's spectrum, named by the moment's values."""
    exact = moment.second_moment.diagonal().contiguous().numpy().tobytes()
    name = digest("spectrum", moment.fingerprint, str(moment.n_token), exact)[:16]
    return cache_dir() / "moments" / f"spectrum-{name}.safetensors"
