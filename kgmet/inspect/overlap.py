"""`measure_overlap` and `measure_drift`: interference between edits, and changes on texts that should not move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.base.shapes import check_shape
from kgmet.fact import FactEdit
from kgmet.inspect.spectrum import own_and_protected_rows
from kgmet.inspect.texts import InspectedText, TextKind
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import locate
from kgmet.lm.run.tracing import recorded, stopped_after
from kgmet.write.nullspace import NullSpace
from kgmet.write.patch import EditPatch, attached

__all__ = ["Drift", "DriftSummary", "KeyOverlap", "OverlapKind", "measure_drift", "measure_overlap"]


class OverlapKind(Enum):
    """Compared quantities of two edits."""

    COSINE = "cosine of keys"
    """Cosine of the two edits' keys, −1 to 1."""
    FREE_COSINE = "cosine in the free directions"
    """Cosine of the two keys after the null-space projection (the written part)."""
    CROSSTALK = "crosstalk"
    """Effect of the row's update on the column's key, relative to that of the column's own update; at least 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class KeyOverlap:
    """Pairwise overlap of edits by layer; all float64, (n_layer, n_edit, n_edit).

    `crosstalk` is NaN between edits of one patch, which were written together and cannot be separated.
    """

    layers: tuple[int, ...]
    edits: tuple[FactEdit, ...]
    cosine: Tensor
    free_cosine: Tensor
    crosstalk: Tensor

    def __post_init__(self) -> None:
        """Check shapes."""
        for name in ("cosine", "free_cosine", "crosstalk"):
            check_shape(name, getattr(self, name), len(self.layers), len(self.edits), len(self.edits))

    def of(self, kind: OverlapKind) -> Tensor:
        """Return one quantity, (n_layer, n_edit, n_edit)."""
        by_kind = {
            OverlapKind.COSINE: self.cosine,
            OverlapKind.FREE_COSINE: self.free_cosine,
            OverlapKind.CROSSTALK: self.crosstalk,
        }
        return by_kind[kind]


@dataclass(frozen=True, kw_only=True)
class DriftSummary:
    """Drift of `n` texts of one kind: mean over texts and layers, and the maximum."""

    kind: TextKind
    n: int
    mean: float
    largest: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Drift:
    """Change of each layer's MLP output at each text's lookup token.

    `values` (n_text, n_layer), float64: ‖after − before‖ / ‖before‖.
    """

    texts: tuple[InspectedText, ...]
    layers: tuple[int, ...]
    values: Tensor

    def __post_init__(self) -> None:
        """Check the shape."""
        check_shape("values", self.values, len(self.texts), len(self.layers))

    def by_kind(self) -> tuple[DriftSummary, ...]:
        """Return mean and largest drift over texts and layers for each kind of text, in the order of `TextKind`."""
        found = []
        for kind in TextKind:
            rows = [row for row, text in enumerate(self.texts) if text.kind is kind]
            if rows:
                values = self.values[rows]
                found.append(
                    DriftSummary(kind=kind, n=len(rows), mean=float(values.mean()), largest=float(values.max()))
                )
        return tuple(found)


def measure_overlap(patches: Sequence[EditPatch], free: Mapping[int, NullSpace]) -> KeyOverlap:
    """Compare the keys of all edits at the layers that every patch writes and that are in `free`.

    Args:
        patches: the patches, in order; an edit with several keys counts with their mean.
        free: free directions by layer.

    Raises:
        ValueError: if the patches have no layer in common.
    """
    layers = sorted(set(free).intersection(*(set(patch.keys) for patch in patches)))
    if not layers:
        raise ValueError("these patches have no layer in common, so their keys cannot be compared")
    edits = [(number, edit) for number, patch in enumerate(patches) for edit in patch.edits]
    owner = torch.tensor([number for number, _ in edits], dtype=torch.long)
    cosine, free_cosine, crosstalk = [], [], []
    for layer in layers:
        keys = torch.cat([_edit_keys(patch, layer) for patch in patches])
        cosine.append(_cosines(keys))
        free_cosine.append(_cosines(free[layer].project(keys)))
        crosstalk.append(_crosstalk(patches, layer, keys, owner))
    return KeyOverlap(
        layers=tuple(layers),
        edits=tuple(edit for _, edit in edits),
        cosine=torch.stack(cosine),
        free_cosine=torch.stack(free_cosine),
        crosstalk=torch.stack(crosstalk),
    )


def measure_drift(
    lm: LoadedLM,
    patch: EditPatch,
    texts: Sequence[InspectedText],
    *,
    earlier: Sequence[EditPatch] = (),
    progress: Progress | None = None,
) -> Drift:
    """Measure drift by running each text up to the highest edited layer, with the patch off and on.

    Args:
        lm: the model; nothing needs to be attached.
        patch: the patch to inspect.
        texts: measured at the subject's last token, or at the last token without a subject.
        earlier: patches that are attached in both cases.
        progress: receives every text; can cancel.
    """
    progress = progress or Silent()
    layers = tuple(update.layer for update in patch.updates)
    rows = []
    for number, text in enumerate(texts):
        progress.report(ProgressEvent(stage=Stage.DRIFT, done=number, total=len(texts)))
        progress.check()
        span = locate(lm, text.phrase)
        ids = span.input_ids[: span.lookup.position + 1]
        with attached(list(earlier), lm):
            before = _outputs(lm, ids, layers)
        with attached([*earlier, patch], lm):
            after = _outputs(lm, ids, layers)
        size = before.norm(dim=-1).clamp(min=torch.finfo(torch.float64).tiny)
        rows.append((after - before).norm(dim=-1) / size)
    progress.report(ProgressEvent(stage=Stage.DRIFT, done=len(texts), total=len(texts)))
    values = torch.stack(rows) if rows else torch.zeros(0, len(layers), dtype=torch.float64)
    return Drift(texts=tuple(texts), layers=layers, values=values)


def _outputs(lm: LoadedLM, input_ids: Sequence[int], layers: Sequence[int]) -> Tensor:
    """Return each down-projection's output at the last token, with patches: (n_layer, d_model), float64."""
    modules = [lm.family.write_module(lm.model, layer) for layer in layers]
    ids = torch.tensor([list(input_ids)], dtype=torch.long, device=lm.device)
    with torch.no_grad(), recorded(modules) as seen, stopped_after(lm, max(layers)):
        lm.base(ids, use_cache=False)
    return torch.stack([output[0, -1].detach().double().cpu() for output in seen if output is not None])


def _edit_keys(patch: EditPatch, layer: int) -> Tensor:
    """Return one key per edit, (n_edit, d_key), float64: the mean of its keys."""
    names, keys = patch.keys[layer]
    own, _ = own_and_protected_rows(patch, layer)
    rows: dict[str, list[int]] = {edit.id: [] for edit in patch.edits}
    for row in own:
        rows[names[row].rpartition("/")[0]].append(row)
    return torch.stack([keys[members].double().mean(0) for members in rows.values()])


def _cosines(keys: Tensor) -> Tensor:
    unit = keys / keys.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    cosines: Tensor = (unit @ unit.T).clamp(-1, 1)
    return cosines


def _crosstalk(patches: Sequence[EditPatch], layer: int, keys: Tensor, owner: Tensor) -> Tensor:
    moved = torch.stack([_moved(patch, layer, keys) for patch in patches])
    own = moved[owner, torch.arange(len(keys))].clamp(min=torch.finfo(torch.float64).tiny)
    table = moved[owner] / own
    together = (owner[:, None] == owner[None, :]) & ~torch.eye(len(keys), dtype=torch.bool)
    table[together] = float("nan")
    return table


def _moved(patch: EditPatch, layer: int, keys: Tensor) -> Tensor:
    """Return ‖ΔW k‖ for each key, (n_edit,)."""
    update = next(item for item in patch.updates if item.layer == layer)
    moved: Tensor = (keys @ update.input_factor.double().T) @ update.output_factor.double()
    return moved.square().sum(-1).sqrt()
