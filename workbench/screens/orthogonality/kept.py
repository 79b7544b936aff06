"""How what the Orthogonality page measured is kept over a restart of the server, and travels in a link to a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.fact import FactEdit
from kgmet.inspect.overlap import Drift, KeyOverlap
from kgmet.inspect.spectrum import LayerWrite
from kgmet.inspect.texts import InspectedText
from workbench.drawing.protection import PROTECTION, Protection
from workbench.state.kept import ResultCodec
from workbench.state.tensors_json import SavedTensor, alike

__all__ = ["CODECS", "MOST_NUMBERS", "protection_from_json", "protection_to_json"]

MOST_NUMBERS = 2_000_000
"""Most numbers that are kept (21 MB on disk); what has more is measured again."""


@dataclass(frozen=True, kw_only=True)
class _SavedWrite:
    """A `LayerWrite` with saved tensors."""

    layer: int
    eigenvalues: SavedTensor
    keys: SavedTensor
    kept: SavedTensor
    wanted: SavedTensor
    update: SavedTensor
    text_output: float
    rank: int
    ridge: float
    is_projected: bool
    ordinary_weight: float
    kept_weight: SavedTensor


@dataclass(frozen=True, kw_only=True)
class _SavedOverlap:
    layers: tuple[int, ...]
    edits: tuple[FactEdit, ...]
    cosine: SavedTensor
    free_cosine: SavedTensor
    crosstalk: SavedTensor


@dataclass(frozen=True, kw_only=True)
class _SavedProtection:
    writes: tuple[_SavedWrite, ...]
    texts: tuple[InspectedText, ...]
    layers: tuple[int, ...]
    drift: SavedTensor
    overlap: _SavedOverlap | None


_OF_WRITE = {"eigenvalues": 1, "keys": 2, "kept": 2, "wanted": 2, "update": 1, "kept_weight": 1}
"""A layer's tensors and their numbers of axes."""
_OF_OVERLAP = ("cosine", "free_cosine", "crosstalk")


def protection_to_json(found: Protection) -> dict[str, Any]:
    """Return what was measured as plain JSON values."""
    overlap = found.overlap
    saved = _SavedProtection(
        writes=tuple(alike(_SavedWrite, write) for write in found.writes),
        texts=found.drift.texts,
        layers=found.drift.layers,
        drift=SavedTensor.of(found.drift.values),
        overlap=None if overlap is None else alike(_SavedOverlap, overlap),
    )
    return dict(plain(saved))


def protection_from_json(data: Mapping[str, Any]) -> Protection:
    """Read what `protection_to_json` made.

    Raises:
        ValueError: if it is something else, or lacks what the page shows of it.
    """
    saved = value_from(_SavedProtection, data, "This is no measured protection")
    writes = tuple(_write(one) for one in saved.writes)
    if not writes or tuple(write.layer for write in writes) != saved.layers:
        raise ValueError("the layers of write and drift differ, or there are none")
    drift = Drift(texts=saved.texts, layers=saved.layers, values=saved.drift.tensor(n_axis=2))
    return Protection(writes=writes, drift=drift, overlap=None if saved.overlap is None else _overlap(saved.overlap))


def _write(saved: _SavedWrite) -> LayerWrite:
    if saved.ridge <= 0 or min(saved.ordinary_weight, saved.text_output) < 0:
        raise ValueError("a weight of the write is below 0")
    tensors = {name: getattr(saved, name).tensor(n_axis=n_axis) for name, n_axis in _OF_WRITE.items()}
    write = alike(LayerWrite, saved, **tensors)
    if not 1 <= write.rank <= len(write.eigenvalues) or bool((write.kept_weight < 0).any()):
        raise ValueError("the write has no such number of free directions")
    return write


def _overlap(saved: _SavedOverlap) -> KeyOverlap:
    tensors = {name: getattr(saved, name).tensor(n_axis=3, can_be_nan=name == "crosstalk") for name in _OF_OVERLAP}
    if not saved.layers or len(saved.edits) < 2:
        raise ValueError("there are no two edits to compare")
    return alike(KeyOverlap, saved, **tensors)


def _is_small(found: Protection) -> bool:
    return found.n_number <= MOST_NUMBERS


CODECS = (
    ResultCodec(
        name=PROTECTION,
        what="What the write protects",
        to_json=protection_to_json,
        from_json=protection_from_json,
        fits=_is_small,
    ),
)
