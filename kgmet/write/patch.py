"""`EditPatch`: all changes of one batch of edits, as factors beside the weights; `attached` puts them on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kgmet.cache import written_whole
from kgmet.errors import BrokenArtifactError, StaleArtifactError
from kgmet.fingerprint import digest, plain
from kgmet.lm.loaded import LoadedLM
from kgmet.lm.tracing import added
from kgmet.request import FactEdit
from kgmet.write.solve import LayerUpdate

__all__ = ["EditPatch", "attached", "load_patch", "save_patch"]

_MAX_BYTES = 4 << 30


@dataclass(frozen=True, eq=False, kw_only=True)
class EditPatch:
    """Edits, the updates that carry them out, and what they were made from.

    `updates` has one entry per edited layer, ascending. `config` is the editor's settings as JSON types. `created` is
    an ISO 8601 time. `keys` holds, by layer, the names and keys that later edits must leave alone.
    """

    edits: tuple[FactEdit, ...]
    updates: tuple[LayerUpdate, ...]
    model_fingerprint: str
    editor: str
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    keys: Mapping[int, tuple[tuple[str, ...], Tensor]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """16 hex digits over the edits and the updates' values."""
        parts: list[str | bytes] = [self.model_fingerprint, *(edit.id for edit in self.edits)]
        for update in self.updates:
            parts += [update.weight_name, _bytes(update.output_factor), _bytes(update.input_factor)]
        return digest(*parts)[:16]

    @property
    def n_bytes(self) -> int:
        """Size of the factors."""
        return sum(4 * (update.output_factor.numel() + update.input_factor.numel()) for update in self.updates)


@contextmanager
def attached(patches: EditPatch | Sequence[EditPatch], lm: LoadedLM) -> Iterator[None]:
    """The model behaves as edited inside the ``with``, in this thread only; no weight differs at any time.

    Raises:
        StaleArtifactError: if a patch was made for another model.
        BrokenArtifactError: if a layer or a shape does not fit.
    """
    several = [patches] if isinstance(patches, EditPatch) else list(patches)
    by_layer: dict[int, list[LayerUpdate]] = {}
    for patch in several:
        if patch.model_fingerprint != lm.fingerprint:
            raise StaleArtifactError(
                f"This patch was made for model {patch.model_fingerprint}; loaded is {lm.name} ({lm.fingerprint}). "
                "Load the model it was made for, or make the edit again."
            )
        for update in patch.updates:
            by_layer.setdefault(update.layer, []).append(update)
    with attached_updates([update for layer in sorted(by_layer) for update in by_layer[layer]], lm):
        yield


@contextmanager
def attached_updates(updates: Sequence[LayerUpdate], lm: LoadedLM) -> Iterator[None]:
    """Attach bare updates; several of one layer are put together."""
    by_layer: dict[int, list[LayerUpdate]] = {}
    for update in updates:
        by_layer.setdefault(update.layer, []).append(update)
    with ExitStack() as stack:
        for layer, group in sorted(by_layer.items()):
            merged = _merged(group, lm, layer)
            module = lm.family.write_module(lm.model, layer)
            stack.enter_context(added(module, input_factor=merged.input_factor, output_factor=merged.output_factor))
        yield


def _merged(group: Sequence[LayerUpdate], lm: LoadedLM, layer: int) -> LayerUpdate:
    for update in group:
        if not 0 <= layer < lm.n_layer or (update.output_factor.shape[1], update.input_factor.shape[1]) != (
            lm.d_model,
            lm.d_key,
        ):
            raise BrokenArtifactError(
                f"An update of layer {layer} with factors {tuple(update.output_factor.shape)} and "
                f"{tuple(update.input_factor.shape)} does not fit {lm.name}: {lm.n_layer} layers, width {lm.d_model}, "
                f"key width {lm.d_key}."
            )
    return LayerUpdate(
        layer=layer,
        weight_name=group[0].weight_name,
        output_factor=torch.cat([update.output_factor for update in group]),
        input_factor=torch.cat([update.input_factor for update in group]),
    ).compacted()


def save_patch(patch: EditPatch, folder: Path) -> None:
    """Write ``patch.safetensors`` and ``patch.json`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for update in patch.updates:
        tensors[f"{update.layer}.output"] = update.output_factor.contiguous()
        tensors[f"{update.layer}.input"] = update.input_factor.contiguous()
    for layer, (_, keys) in patch.keys.items():
        tensors[f"{layer}.keys"] = keys.float().contiguous()
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
    }
    with written_whole(folder / "patch.safetensors") as temporary:
        save_file(tensors, temporary)
    with written_whole(folder / "patch.json") as temporary:
        temporary.write_text(json.dumps(header, ensure_ascii=False, indent=1), encoding="utf-8")


def load_patch(folder: Path) -> EditPatch:
    """Read what `save_patch` wrote; nothing in it is ever executed.

    Raises:
        BrokenArtifactError: if a file is missing, damaged, too large or does not hold what it says.
        RequestError: if an edit in it is not valid.
    """
    try:
        path = folder / "patch.safetensors"
        if path.stat().st_size > _MAX_BYTES:
            raise BrokenArtifactError(f"{path} is larger than {_MAX_BYTES >> 30} GB; that is no patch.")
        header = json.loads((folder / "patch.json").read_text(encoding="utf-8"))
        tensors = load_file(path)
        if header["format"] != 1:
            raise BrokenArtifactError(f"{folder} holds a patch of format {header['format']!r}; this version reads 1.")
        patch = EditPatch(
            edits=tuple(FactEdit.from_json(row) for row in header["edits"]),
            updates=tuple(_update_from(row, tensors) for row in header["layers"]),
            model_fingerprint=str(header["model_fingerprint"]),
            editor=str(header["editor"]),
            config=dict(header["config"]),
            versions={str(name): str(version) for name, version in header["versions"].items()},
            created=str(header["created"]),
            keys={
                int(layer): (tuple(str(name) for name in names), tensors[f"{int(layer)}.keys"])
                for layer, names in header["key_names"].items()
            },
        )
    except (
        OSError,
        SafetensorError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
    ) as error:
        raise BrokenArtifactError(
            f"{folder} holds no usable patch: {error!r}. Choose a folder that save made."
        ) from error
    except json.JSONDecodeError as error:
        raise BrokenArtifactError(f"{folder / 'patch.json'} is no JSON: {error}.") from error
    if patch.id != header["id"]:
        raise BrokenArtifactError(f"{folder} was changed after it was saved: its values do not give its id.")
    return patch


def _update_from(row: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> LayerUpdate:
    layer = int(row["layer"])
    output, given = tensors[f"{layer}.output"].float(), tensors[f"{layer}.input"].float()
    if not math.prod(output.shape) or not math.prod(given.shape):
        raise BrokenArtifactError(f"The update of layer {layer} is empty.")
    return LayerUpdate(layer=layer, weight_name=str(row["weight_name"]), output_factor=output, input_factor=given)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()
