"""`KeySpectrum`: eigenvalues and eigenvectors of a key second moment, worked out once and kept on disk.

d_key³ is half a second a layer at width 1,536 and a quarter of an hour at 14,336; reading the file is as fast as the
disk. Kept in float64 beside the moments, by fingerprint.
"""

from __future__ import annotations

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
from kgmet.base.shapes import check_shape
from kgmet.write.moments import KeyMoment

__all__ = ["KeySpectrum", "spectrum_of"]


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


def spectrum_of(moment: KeyMoment) -> KeySpectrum:
    """Eigenvalues and eigenvectors of a moment: from disk where they are, else worked out and put there.

    A file that is damaged, or of another moment than its name says, is replaced.
    """
    path = spectrum_path(moment)
    if path.is_file():
        try:
            found = KeySpectrum.load(path)
            if found.values.shape[0] == moment.second_moment.shape[0]:
                return found
        except BrokenArtifactError:
            with suppress(OSError):
                path.unlink(missing_ok=True)
    values, vectors = torch.linalg.eigh(moment.second_moment)
    spectrum = KeySpectrum(values=values, vectors=vectors.contiguous())
    with suppress(UnwritableError):  # a full disk costs time at the next start, not the edit
        save_artifact(path, {"values": spectrum.values, "vectors": spectrum.vectors})
    return spectrum


def spectrum_path(moment: KeyMoment) -> Path:
    """Where a moment's spectrum is kept; named by its values, so that an estimate from other text has its own."""
    exact = moment.second_moment.diagonal().contiguous().numpy().tobytes()
    name = digest("spectrum", moment.fingerprint, str(moment.n_token), exact)[:16]
    return cache_dir() / "moments" / f"spectrum-{name}.safetensors"
