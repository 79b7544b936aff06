"""`NullSpace`: the directions in which a layer can be written without changing its output on ordinary keys.

AlphaEdit (arXiv:2410.02355) projects an update onto the eigenvectors of the key second moment whose eigenvalue is below
a cutoff. The spectrum is smooth and has no true null space, so the cutoff is a choice: by absolute value (as
published), by rank, or by share of energy. A cutoff relative to the largest eigenvalue is not offered, because the
attention sink makes that one massive.

Below the cutoff ordinary keys are small, not zero. A `DampedNullSpace` penalises each direction by how strongly
ordinary keys use it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress
from kgmet.base.shapes import check_shape
from kgmet.write.moments import KeyMoment
from kgmet.write.spectrum import spectrum_of

__all__ = ["Cutoff", "CutoffKind", "DampedNullSpace", "NullSpace"]


_BAND = 2048
"""Rows of a product that are computed at once in float64."""


class CutoffKind(Enum):
    """Rules for choosing the free directions."""

    ABSOLUTE = "absolute"
    """Eigenvalues below the value are free."""
    RANK = "rank"
    """This share of all directions is free: those with the smallest eigenvalues."""
    ENERGY = "energy"
    """Free directions carry at most this share of the energy (largest eigenvalue excluded)."""


@dataclass(frozen=True, kw_only=True)
class Cutoff:
    """Rule and threshold for the free directions."""

    kind: CutoffKind = CutoffKind.ABSOLUTE
    """absolute, rank or energy."""
    value: float = 2e-2
    """Above 0; for rank and energy at most 1."""

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.value > 0 or (self.kind is not CutoffKind.ABSOLUTE and self.value > 1):
            raise ConfigError(
                f"null space cutoff {self.kind.value} cannot be {self.value}; see kgmet/write/nullspace.py"
            )

    def rank(self, eigenvalues: Tensor) -> int:
        """Return how many of the ascending `eigenvalues` (d_key,) are free; at least 1, at most d_key."""
        d_key = eigenvalues.numel()
        if self.kind is CutoffKind.ABSOLUTE:
            count = int((eigenvalues < self.value).sum())
        elif self.kind is CutoffKind.RANK:
            count = round(self.value * d_key)
        else:
            energy = eigenvalues.clamp(min=0)
            share = energy.cumsum(0) / energy[:-1].sum().clamp(min=torch.finfo(energy.dtype).tiny)
            count = int((share <= self.value).sum())
        return min(max(count, 1), d_key)


@dataclass(frozen=True, eq=False, kw_only=True)
class NullSpace:
    """The free directions of one layer.

    `basis` (d_key, n_column) has orthonormal columns, float64 for a layer on the CPU and float32 elsewhere. It spans
    the free directions if `is_free`, else the protected ones: whichever are fewer. `eigenvalues` (d_key,), ascending,
    are the whole spectrum; `rank` directions are free and carry `kept_energy` of the total.
    """

    layer: int
    basis: Tensor
    is_free: bool
    eigenvalues: Tensor
    rank: int
    cutoff: Cutoff
    moment_fingerprint: str
    model_fingerprint: str | None = None

    def __post_init__(self) -> None:
        """Check shapes."""
        d_key = self.eigenvalues.shape[0]
        check_shape("basis", self.basis, d_key, self.rank if self.is_free else d_key - self.rank)

    @property
    def d_key(self) -> int:
        """Width of the keys."""
        return self.eigenvalues.shape[0]

    @property
    def device(self) -> torch.device:
        """Device of the computation."""
        return self.basis.device

    @property
    def n_byte(self) -> int:
        """Bytes of the basis."""
        return self.basis.numel() * self.basis.element_size()

    @cached_property
    def single(self) -> NullSpace:
        """The same directions in float32."""
        return replace(self, basis=self.basis.float())

    def to(self, device: torch.device) -> NullSpace:
        """Return the same directions on another device."""
        return replace(self, basis=self.basis.to(device))

    @property
    def kept_energy(self) -> float:
        """Share of the keys' energy that lies in the free directions, in [0, 1]."""
        return float(self.eigenvalues[: self.rank].clamp(min=0).sum() / self.eigenvalues.clamp(min=0).sum())

    @property
    def fingerprint(self) -> str:
        """16 hex digits for the moment and the rank."""
        return digest(self.moment_fingerprint, str(self.rank))[:16]

    def project(self, rows: Tensor) -> Tensor:
        """Project each row of (n, d_key) onto the free directions."""
        given, rows = rows.dtype, rows.to(self.basis)
        inside = ((rows @ self.basis) @ self.basis.T).to(given)
        rows = rows.to(given)
        return inside if self.is_free else inside.neg_().add_(rows)  # in place: it is large

    def lift(self, rows: Tensor) -> Tensor:
        """Return the rows unchanged: P is its own square root, and projected rows are free already."""
        return rows

    @classmethod
    def from_moment(
        cls,
        moment: KeyMoment,
        cutoff: Cutoff,
        *,
        device: torch.device | None = None,
        progress: Progress | None = None,
    ) -> NullSpace:
        """Take the eigenvectors of the second moment below the cutoff; O(d_key³), once per moment.

        Args:
            moment: the second moment.
            cutoff: which directions are free.
            device: the layer's device; the CPU has the result where its memory runs out.
            progress: receives a remark if it does.
        """
        spectrum = spectrum_of(moment, device=device, progress=progress)
        free = cls.from_eigen(
            spectrum.values.cpu(), spectrum.vectors, layer=moment.layer, cutoff=cutoff, source=moment.fingerprint
        )
        basis = free.basis.to(kept_dtype(device))
        return replace(free, model_fingerprint=moment.model_fingerprint, basis=basis)

    @classmethod
    def from_eigen(cls, values: Tensor, vectors: Tensor, *, layer: int, cutoff: Cutoff, source: str) -> NullSpace:
        """Build from ascending eigenvalues (d_key,) and eigenvectors as columns (d_key, d_key)."""
        rank = cutoff.rank(values)
        is_free = rank <= values.numel() // 2
        return cls(
            layer=layer,
            basis=(vectors[:, :rank] if is_free else vectors[:, rank:]).contiguous(),
            is_free=is_free,
            eigenvalues=values,
            rank=rank,
            cutoff=cutoff,
            moment_fingerprint=source,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class DampedNullSpace:
    """Free directions, each penalised (in addition to λ) by how strongly ordinary keys use it, as in MEMIT.

    With the free eigenvectors N and their eigenvalues e, `root` (d_key, d_key), float64 for a layer on the CPU and
    float32 elsewhere, is ``N (1 + ratio·e)^(-1/2) Nᵀ``; solved with λ, the update minimises
    ``‖ΔW K − R‖² + λ‖ΔW‖² + λ·ratio·E‖ΔW k‖²`` over updates confined to the free directions.
    """

    root: Tensor
    rank: int
    ratio: float
    free_fingerprint: str
    model_fingerprint: str | None = None

    def __post_init__(self) -> None:
        """Check the shape."""
        check_shape("root", self.root, self.root.shape[0], self.root.shape[0])

    @property
    def d_key(self) -> int:
        """Width of the keys."""
        return self.root.shape[0]

    @property
    def device(self) -> torch.device:
        """Device of the computation."""
        return self.root.device

    @property
    def n_byte(self) -> int:
        """Bytes of the root."""
        return self.root.numel() * self.root.element_size()

    @cached_property
    def single(self) -> DampedNullSpace:
        """The same directions in float32."""
        return replace(self, root=self.root.float())

    def to(self, device: torch.device) -> DampedNullSpace:
        """Return the same directions on another device."""
        return replace(self, root=self.root.to(device))

    @property
    def fingerprint(self) -> str:
        """16 hex digits for the free directions and the ratio."""
        return digest("damped", self.free_fingerprint, repr(self.ratio))[:16]

    def project(self, rows: Tensor) -> Tensor:
        """Project each row of (n, d_key) onto the free directions and damp it."""
        return (rows.to(self.root) @ self.root).to(rows.dtype)

    def lift(self, rows: Tensor) -> Tensor:
        """Apply the root a second time; it is symmetric."""
        return self.project(rows)

    @classmethod
    def from_moment(
        cls,
        moment: KeyMoment,
        cutoff: Cutoff,
        *,
        ratio: float,
        device: torch.device | None = None,
        progress: Progress | None = None,
    ) -> DampedNullSpace:
        """Damp the eigenvectors below the cutoff; `ratio`, above 0, is `WriteConfig.ordinary_weight` over λ.

        The other arguments are those of `NullSpace.from_moment`.
        """
        spectrum = spectrum_of(moment, device=device, progress=progress)
        rank = cutoff.rank(spectrum.values.cpu())
        damping = (1 + ratio * spectrum.values[:rank].clamp(min=0)).rsqrt()
        return cls(
            root=_damped_root(spectrum.vectors[:, :rank], damping, kept_dtype(device)),
            rank=rank,
            ratio=ratio,
            free_fingerprint=digest(moment.fingerprint, str(rank))[:16],
            model_fingerprint=moment.model_fingerprint,
        )


def _damped_root(basis: Tensor, damping: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``N D Nᵀ`` (d_key, d_key), computed in float64; in bands of rows, so that it is never whole in float64."""
    root = torch.empty(len(basis), len(basis), dtype=dtype, device=basis.device)
    for begin in range(0, len(basis), _BAND):
        root[begin : begin + _BAND] = (basis[begin : begin + _BAND] * damping) @ basis.T
    return root


def kept_dtype(device: torch.device | None) -> torch.dtype:
    """Return the dtype of a layer's directions: float32 on an accelerator, to save memory.

    What it changes is in `tests/editing/test_far.py` and docs/big_models.md.
    """
    return torch.float64 if device is None or device.type == "cpu" else torch.float32
