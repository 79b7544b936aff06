"""How the shifts by layer and token are kept over a restart of the server, and travel in a link to a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.inspect.shift import Quantity, ShiftTrace
from kgmet.inspect.texts import InspectedText
from workbench.shared.inspect_actions import SHIFT
from workbench.state.kept import ResultCodec
from workbench.state.tensors_json import SavedTensor, alike

__all__ = ["CODECS", "traces_from_json", "traces_to_json"]

_Numbers = SavedTensor | tuple[tuple[float, ...], ...]
"""A tensor (n_layer, pos): as it is saved, or as lists of numbers, as earlier versions wrote it."""
_TENSORS = ("before", "after", "length", "along")


@dataclass(frozen=True, kw_only=True)
class _SavedTrace:
    """A `ShiftTrace` with saved tensors."""

    source: InspectedText
    tokens: tuple[str, ...]
    lookup: int | None
    before: _Numbers
    after: _Numbers
    length: _Numbers
    along: _Numbers


def traces_to_json(traces: Sequence[ShiftTrace]) -> list[dict[str, Any]]:
    """Return the traces as plain JSON values."""
    return [dict(plain(alike(_SavedTrace, trace))) for trace in traces]


def traces_from_json(data: Any) -> list[ShiftTrace]:
    """Read what `traces_to_json` made.

    Raises:
        ValueError: if it is something else.
    """
    saved = value_from(tuple[_SavedTrace, ...], data, "These are no shifts")
    if not saved:
        raise ValueError("it holds no text")
    return [_trace(one) for one in saved]


def _trace(saved: _SavedTrace) -> ShiftTrace:
    if not saved.tokens or not (saved.lookup is None or 0 <= saved.lookup < len(saved.tokens)):
        raise ValueError("the subject's last token is not among its tokens")
    tensors = {name: _tensor(getattr(saved, name)) for name in _TENSORS}
    trace = alike(ShiftTrace, saved, **tensors)
    shapes = {tuple(tensor.shape) for tensor in tensors.values()}
    if len(shapes) > 1 or not trace.n_layer or not all(bool(trace.of(what).isfinite().all()) for what in Quantity):
        raise ValueError("its numbers do not fit together")
    return trace


def _tensor(saved: _Numbers) -> Tensor:
    return saved.tensor(n_axis=2) if isinstance(saved, SavedTensor) else torch.tensor(saved, dtype=torch.float64)


CODECS = (ResultCodec(name=SHIFT, what="The shift of the states", to_json=traces_to_json, from_json=traces_from_json),)
