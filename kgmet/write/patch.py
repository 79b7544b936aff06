"""`EditPatch`: the low-rank updates of one batch of edits; `attached` adds them to the model's outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor

from kgmet.base.artifact import digest_tensors, load_tensors, write_tensors
from kgmet.base.cache import written_whole
from kgmet.base.errors import BrokenArtifactError, StaleArtifactError
from kgmet.base.files import Limits, failures_as, is_file, read_json_object
from kgmet.base.fingerprint import digest, plain
from kgmet.base.shapes import check_shape
from kgmet.base.values import value_from
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.tracing import Rows, added
from kgmet.write.ledger import PROTECTED
from kgmet.write.running import RunningMoments
from kgmet.write.solve import LayerUpdate
from kgmet.write.stated import StatedFact, own_statement, still_stated

__all__ = [
    "MAX_BYTES",
    "PATCH_FILES",
    "EditPatch",
    "attached",
    "attached_updates",
    "check_patch",
    "is_patch",
    "load_patch",
    "merged_patch",
    "merged_updates",
    "save_patch",
]

MAX_BYTES = 4 << 30
"""Largest file of factors that is accepted, in bytes."""
_TENSORS = Limits(n_bytes=MAX_BYTES)
PATCH_FILES = ("patch.json", "patch.safetensors")
"""Files of a saved patch: what it is, and its factors."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EditPatch:
    """Edits, their weight updates, and what they were made from.

    `updates` has one entry per edited layer, ascending. `config` is the editor's settings as JSON types. `created` is
    an ISO 8601 time. `keys` holds, by layer, the names and keys that later edits must protect. `asked` holds, with
    error compensation, the wanted outputs (n_edit_key, d_model) of the edits' own keys by layer; `features`, for
    UltraEdit, the moments of keys and gradients. `stated` are the facts that the edits make true, by the graph too.
    """

    edits: tuple[FactEdit, ...]
    updates: tuple[LayerUpdate, ...]
    model_fingerprint: str
    editor: str
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    keys: Mapping[int, tuple[tuple[str, ...], Tensor]] = field(default_factory=dict)
    asked: Mapping[int, Tensor] = field(default_factory=dict)
    features: Mapping[int, RunningMoments] = field(default_factory=dict)
    stated: tuple[StatedFact, ...] = ()

    @cached_property
    def id(self) -> str:
        """16 hex digits over the edits and the updates' values."""
        parts: list[str | bytes] = [self.model_fingerprint, *(edit.id for edit in self.edits)]
        for update in self.updates:
            parts += [update.weight_name, _bytes(update.output_factor), _bytes(update.input_factor)]
        return digest(*parts)[:16]

    @property
    def statements(self) -> tuple[StatedFact, ...]:
        """`stated`, or the edited facts alone where a patch of an earlier version does not say."""
        return self.stated or tuple(own_statement(edit) for edit in self.edits)

    @property
    def n_bytes(self) -> int:
        """Size of the factors."""
        return sum(4 * (update.output_factor.numel() + update.input_factor.numel()) for update in self.updates)


@dataclass(frozen=True, kw_only=True)
class _LayerRow:
    """One update as the header names it."""

    layer: Annotated[int, msgspec.Meta(ge=0, lt=10_000)]
    weight_name: str


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What ``patch.json`` holds, apart from format and digest; `FactEdit` reads its own rows."""

    id: str
    editor: str
    model_fingerprint: str
    created: str
    edits: tuple[dict[str, Any], ...]
    layers: tuple[_LayerRow, ...]
    key_names: dict[str, tuple[str, ...]]
    config: dict[str, Any]
    versions: dict[str, str]
    stated: tuple[StatedFact, ...] = ()


def check_patch(patch: EditPatch, lm: LoadedLM) -> None:
    """Check that a patch was made for this model and fits it.

    Raises:
        StaleArtifactError: if it was made for another model.
        BrokenArtifactError: if a layer, a name or a shape does not fit.
    """
    if patch.model_fingerprint != lm.fingerprint:
        raise StaleArtifactError(
            f"This patch was made for model {patch.model_fingerprint}; loaded is {lm.name} ({lm.fingerprint}). "
            "Load the model it was made for, or make the edit again."
        )
    for layer, (_, keys) in patch.keys.items():
        if keys.shape[1] != lm.d_key:
            raise BrokenArtifactError(
                f"The keys of layer {layer} are {keys.shape[1]} wide; those of {lm.name} are {lm.d_key} wide."
            )
    for update in patch.updates:
        _check_fits(update, lm)
        if update.weight_name != lm.family.write_name(update.layer):
            raise BrokenArtifactError(
                f"This patch calls the weight of layer {update.layer} {update.weight_name!r}; in {lm.name} it is "
                f"{lm.family.write_name(update.layer)!r}."
            )


@contextmanager
def attached(patches: EditPatch | Sequence[EditPatch], lm: LoadedLM) -> Iterator[None]:
    """Attach patches for the length of a ``with``, in this thread only; the weights never change.

    Raises:
        StaleArtifactError: if a patch was made for another model.
        BrokenArtifactError: if a layer or a shape does not fit.
    """
    several = [patches] if isinstance(patches, EditPatch) else list(patches)
    for patch in several:
        check_patch(patch, lm)
    with attached_updates([update for patch in several for update in patch.updates], lm):
        yield


@contextmanager
def attached_updates(updates: Sequence[LayerUpdate], lm: LoadedLM, *, rows: Rows | None = None) -> Iterator[None]:
    """Attach plain updates to some rows of a batch or to all; updates of one layer are combined."""
    with ExitStack() as stack:
        for update in merged_updates(updates, lm):
            module = lm.family.write_module(lm.model, update.layer)
            output = None if update.is_whole else update.output_factor
            stack.enter_context(added(module, input_factor=update.input_factor, output_factor=output, rows=rows))
        yield


def merged_patch(patches: Sequence[EditPatch], lm: LoadedLM) -> EditPatch:
    """Merge patches into one with the same effect, without their written keys; for a stack that stays attached.

    Raises:
        StaleArtifactError: if a patch was made for another model.
        BrokenArtifactError: if a layer or a shape does not fit.
    """
    for patch in patches:
        check_patch(patch, lm)
    return EditPatch(
        edits=tuple(edit for patch in patches for edit in patch.edits),
        updates=tuple(merged_updates([update for patch in patches for update in patch.updates], lm)),
        model_fingerprint=lm.fingerprint,
        editor=", ".join(dict.fromkeys(patch.editor for patch in patches)),
        stated=still_stated(patch.statements for patch in patches),
    )


def merged_updates(updates: Sequence[LayerUpdate], lm: LoadedLM) -> list[LayerUpdate]:
    """Merge updates into one per layer, ascending, with the same effect.

    Raises:
        BrokenArtifactError: if a layer or a shape does not fit the model.
    """
    by_layer: dict[int, list[LayerUpdate]] = {}
    for update in updates:
        _check_fits(update, lm)
        by_layer.setdefault(update.layer, []).append(update)
    return [
        LayerUpdate(
            layer=layer,
            weight_name=group[0].weight_name,
            output_factor=torch.cat([update.output_factor for update in group]),
            input_factor=torch.cat([update.input_factor for update in group]),
        ).compacted()
        for layer, group in sorted(by_layer.items())
    ]


def _check_fits(update: LayerUpdate, lm: LoadedLM) -> None:
    widths = (update.output_factor.shape[1], update.input_factor.shape[1])
    if not 0 <= update.layer < lm.n_layer or widths != (lm.d_model, lm.d_key):
        raise BrokenArtifactError(
            f"An update of layer {update.layer} with factors {tuple(update.output_factor.shape)} and "
            f"{tuple(update.input_factor.shape)} does not fit {lm.name}: {lm.n_layer} layers, width {lm.d_model}, "
            f"key width {lm.d_key}."
        )


def save_patch(patch: EditPatch, folder: Path) -> None:
    """Write ``patch.safetensors`` and ``patch.json`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for update in patch.updates:
        tensors[f"{update.layer}.output"] = update.output_factor.contiguous()
        tensors[f"{update.layer}.input"] = update.input_factor.contiguous()
    for layer, (_, keys) in patch.keys.items():
        tensors[f"{layer}.keys"] = keys.float().contiguous()
    for layer, outputs in patch.asked.items():
        tensors[f"{layer}.asked"] = outputs.float().contiguous()
    for layer, moments in patch.features.items():
        tensors[f"{layer}.features"] = moments.packed().contiguous()
    header = {
        "format": 1,
        "id": patch.id,
        "editor": patch.editor,
        "model_fingerprint": patch.model_fingerprint,
        "created": patch.created,
        "edits": [edit.to_json() for edit in patch.edits],
        "layers": [{"layer": update.layer, "weight_name": update.weight_name} for update in patch.updates],
        "key_names": {str(layer): list(names) for layer, (names, _) in patch.keys.items()},
        "config": plain(patch.config),
        "versions": dict(patch.versions),
        "stated": plain(patch.stated),
    }
    header["digest"] = _digest_of(header, tensors)
    with written_whole(folder / PATCH_FILES[1]) as temporary:
        write_tensors(temporary, tensors)
    with written_whole(folder / PATCH_FILES[0]) as temporary:
        temporary.write_text(json.dumps(header, ensure_ascii=False, indent=1), encoding="utf-8")


def is_patch(folder: Path) -> bool:
    """Return whether a folder says that it holds a patch."""
    return is_file(folder / PATCH_FILES[0])


def load_patch(folder: Path) -> EditPatch:
    """Read what `save_patch` wrote; nothing in it is executed.

    A patch of an earlier version has no digest; then only the updates are checked against its id.

    Raises:
        BrokenArtifactError: if a file is missing, damaged, too large or does not hold what it says.
        RequestError: if an edit in it is not valid.
    """
    advice = "Choose a folder that save made."
    header = read_json_object(folder / PATCH_FILES[0], within=folder)
    path = folder / PATCH_FILES[1]
    _, tensors = load_tensors(path, what="patch", advice=advice, limits=_TENSORS, within=folder)
    with failures_as(BrokenArtifactError, f"{folder} holds no usable patch", advice=advice):
        stated = _header_from(header)
        patch = _patch_from(stated, tensors)
    if patch.id != stated.id:
        raise BrokenArtifactError(f"{folder} was changed after it was saved: its values do not match its id.")
    if header.get("digest", "") not in ("", _digest_of(header, tensors)):
        raise BrokenArtifactError(f"{folder} was changed after it was saved: it does not match its digest.")
    return patch


def _digest_of(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Hash everything that is saved, including keys and settings."""
    own = {name: value for name, value in header.items() if name != "digest"}
    return digest(json.dumps(own, sort_keys=True), digest_tensors(tensors))


def _header_from(data: Mapping[str, Any]) -> _Header:
    if data["format"] != 1:
        raise BrokenArtifactError(f"The patch is of format {data['format']!r}; this version reads 1.")
    header = value_from(_Header, data, f"{PATCH_FILES[0]} holds something else")
    layers = [row.layer for row in header.layers]
    if layers != sorted(set(layers)):
        raise BrokenArtifactError(f"The patch lists its layers as {layers}; they must ascend, each once.")
    return header


def _patch_from(header: _Header, tensors: Mapping[str, Tensor]) -> EditPatch:
    layers = [row.layer for row in header.layers]
    return EditPatch(
        edits=tuple(FactEdit.from_json(row) for row in header.edits),
        updates=tuple(_update_from(row, tensors) for row in header.layers),
        model_fingerprint=header.model_fingerprint,
        editor=header.editor,
        config=header.config,
        versions=header.versions,
        stated=header.stated,
        created=header.created,
        keys={int(layer): _keys_from(int(layer), names, tensors) for layer, names in header.key_names.items()},
        asked=_asked_from(header.key_names, tensors),
        features={
            layer: RunningMoments.unpacked(tensors[f"{layer}.features"])
            for layer in layers
            if f"{layer}.features" in tensors
        },
    )


def _update_from(row: _LayerRow, tensors: Mapping[str, Tensor]) -> LayerUpdate:
    layer = row.layer
    output, given = tensors[f"{layer}.output"], tensors[f"{layer}.input"]
    if not output.numel() or not given.numel() or not output.is_floating_point() or not given.is_floating_point():
        raise BrokenArtifactError(f"The update of layer {layer} is empty, or does not hold floating-point numbers.")
    return LayerUpdate(
        layer=layer, weight_name=row.weight_name, output_factor=output.float(), input_factor=given.float()
    )


def _keys_from(layer: int, names: Sequence[str], tensors: Mapping[str, Tensor]) -> tuple[tuple[str, ...], Tensor]:
    keys = tensors[f"{layer}.keys"]
    check_shape(f"keys of layer {layer}", keys, len(names), None)
    return tuple(names), keys.float()


def _asked_from(key_names: Mapping[str, Sequence[str]], tensors: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Return the wanted outputs of the edits' own keys, by layer."""
    found: dict[int, Tensor] = {}
    for layer, names in key_names.items():
        outputs = tensors.get(f"{layer}.asked")
        if outputs is not None:
            own = sum(not name.startswith(PROTECTED) for name in names)
            check_shape(f"wanted outputs of layer {layer}", outputs, own, tensors[f"{layer}.output"].shape[1])
            found[int(layer)] = outputs.float()
    return found


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()
