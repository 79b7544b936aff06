"""Reading LoRA adapters of any origin; nothing in them is executed.

`import_lora` reads one on the down-projections as a patch. `read_lora` reads one of any linear modules, to be attached.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kgmet.base.artifact import load_tensors
from kgmet.base.errors import BrokenArtifactError, StaleArtifactError
from kgmet.base.files import Limits, failures_as, read_json_object
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.tracing import Rows, added
from kgmet.write.export import ADAPTER_CONFIG, ADAPTER_WEIGHTS, EDITS_FILE
from kgmet.write.patch import MAX_BYTES, EditPatch, check_patch
from kgmet.write.solve import LayerUpdate

__all__ = ["LoraAdapter", "LoraFactors", "attached_lora", "import_lora", "read_lora"]

_JSON = Limits(n_bytes=64 << 20)
_TENSORS = Limits(n_bytes=MAX_BYTES)
_ADVICE = "Choose a folder with a LoRA adapter on the down-projections."
_MERGE = "Merge it into its model with PEFT (merge_and_unload) and give both models: --model MERGED --base BASE."
"""What to do with an adapter that is more than factors of linear modules."""
_ANY_ADVICE = "Choose a folder with a LoRA adapter, as PEFT saves it."
_PICKLE = "adapter_model.bin"
_UNUSED = {"bias": "none", "use_dora": False, "modules_to_save": None, "lora_bias": False, "layer_replication": None}
"""Settings that make an adapter more than B · A, and the only value of each that can be read."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LoraFactors:
    """Update of one linear module: `output` (d_out, rank) · `input` (rank, d_in), including the scaling."""

    module: str
    input: Tensor
    output: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class LoraAdapter:
    """An adapter on any linear modules.

    `made_for` is the model it names. `edits` are its edits, if `export_lora` recorded them.
    """

    factors: tuple[LoraFactors, ...]
    made_for: str
    edits: tuple[FactEdit, ...] = ()


def read_lora(folder: Path, lm: LoadedLM) -> LoraAdapter:
    """Read an adapter folder that changes any linear modules.

    Args:
        folder: holds adapter_config.json and adapter_model.safetensors.
        lm: the model the adapter is for.

    Raises:
        BrokenArtifactError: if a file is missing, damaged or too large, or if the model has no such module, or one of
            another shape; names the module and the model that the adapter was made for.
        StaleArtifactError: if it names another model.
    """
    config, noted, tensors = _files(folder, _ANY_ADVICE)
    base = str(config.get("base_model_name_or_path") or "a model that it does not name")[:200]
    with failures_as(BrokenArtifactError, f"{folder} holds no usable adapter", advice=_ANY_ADVICE):
        _check_made_for(noted, lm, folder)
        _check_settings(config, folder)
        pairs: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            module, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
            if part not in ("A.weight", "B.weight"):
                raise BrokenArtifactError(
                    f"The adapter in {folder} holds {key!r}, which is no factor of a linear module. {_MERGE}"
                )
            pairs.setdefault(module, {})[part[0]] = tensor
        if not pairs:
            raise BrokenArtifactError(f"The adapter in {folder} changes nothing. Export it again.")
        return LoraAdapter(
            factors=tuple(_factors(lm, name, (pair["A"], pair["B"]), config, base) for name, pair in pairs.items()),
            made_for=base,
            edits=tuple(FactEdit.from_json(row) for row in noted.get("edits", [])),
        )


@contextmanager
def attached_lora(factors: Sequence[LoraFactors], lm: LoadedLM, *, rows: Rows | None = None) -> Iterator[None]:
    """Attach the factors to some rows of a batch, or to all, for the length of a ``with``."""
    with ExitStack() as stack:
        for one in factors:
            module = lm.model.get_submodule(one.module)
            stack.enter_context(added(module, input_factor=one.input, output_factor=one.output.T, rows=rows))
        yield


def _factors(lm: LoadedLM, name: str, pair: tuple[Tensor, Tensor], config: Mapping[str, Any], base: str) -> LoraFactors:
    module = dict(lm.model.named_modules()).get(name)
    weight = getattr(module, "weight", None)
    if not isinstance(module, nn.Module) or not isinstance(weight, Tensor) or weight.ndim != 2:
        raise BrokenArtifactError(
            f"The adapter changes {name[:200]!r}, and {lm.name} has no linear module of that name. It was made for "
            f"{base}. Load the model it was made for."
        )
    scaling = _scaling(name, pair, config)
    a, b = pair
    shape = (b.shape[0], a.shape[1])
    if tuple(weight.shape) not in (shape, shape[::-1]) or isinstance(module, nn.Embedding):
        raise BrokenArtifactError(
            f"The adapter changes {name} as if it were {shape[0]} x {shape[1]}; in {lm.name} it is "
            f"{weight.shape[0]} x {weight.shape[1]}. It was made for {base}. Load the model it was made for."
        )
    return LoraFactors(module=name, input=a.float(), output=_scaled(name, b, scaling))


def import_lora(folder: Path, lm: LoadedLM) -> EditPatch:
    """Read an adapter folder as a patch.

    Args:
        folder: holds adapter_config.json and adapter_model.safetensors.
        lm: the model the adapter is for.

    Returns:
        A patch; with its edits if `export_lora` recorded them, else without.

    Raises:
        BrokenArtifactError: if a file is missing, damaged, too large, touches anything but the down-projections, or
            does not fit the model.
        StaleArtifactError: if it names another model.
    """
    config, noted, tensors = _files(folder, _ADVICE)
    with failures_as(BrokenArtifactError, f"{folder} holds no usable adapter", advice=_ADVICE):
        _check_made_for(noted, lm, folder)
        _check_settings(config, folder)
        pairs = _pairs(tensors, lm, folder)
        patch = EditPatch(
            edits=tuple(FactEdit.from_json(row) for row in noted.get("edits", [])),
            updates=tuple(_update(lm, layer, pair, config) for layer, pair in sorted(pairs.items())),
            model_fingerprint=lm.fingerprint,
            editor=" + ".join(str(name) for name in noted.get("editors", [])) or "imported adapter",
            config=dict(noted.get("config", {})),
        )
    check_patch(patch, lm)
    return patch


def _files(folder: Path, advice: str) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Tensor]]:
    """Return the adapter's settings, the record of `export_lora`, and its tensors."""
    config = read_json_object(folder / ADAPTER_CONFIG, limits=_JSON, within=folder)
    if not (folder / ADAPTER_WEIGHTS).exists() and (folder / _PICKLE).exists():
        raise BrokenArtifactError(
            f"{folder} holds {_PICKLE}, which can run code when it is read. If you trust it, load it with PEFT and "
            f"call save_pretrained, which writes {ADAPTER_WEIGHTS}."
        )
    noted = read_json_object(folder / EDITS_FILE, limits=_JSON, within=folder) if (folder / EDITS_FILE).exists() else {}
    _, tensors = load_tensors(folder / ADAPTER_WEIGHTS, what="adapter", advice=advice, limits=_TENSORS, within=folder)
    return config, noted, tensors


def _check_made_for(noted: Mapping[str, Any], lm: LoadedLM, folder: Path) -> None:
    made_for = str(noted.get("model_fingerprint", lm.fingerprint))
    if made_for != lm.fingerprint:
        raise StaleArtifactError(
            f"The adapter in {folder} was made for model {made_for}; loaded is {lm.name} ({lm.fingerprint}). "
            "Load the model it was made for."
        )


def _check_settings(config: Mapping[str, Any], folder: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise BrokenArtifactError(
            f"{folder} holds an adapter of type {config.get('peft_type')!r}; only LORA is read. {_MERGE}"
        )
    for name, plain_value in _UNUSED.items():
        if config.get(name, plain_value) not in (plain_value, None):
            raise BrokenArtifactError(
                f"The adapter in {folder} has {name} {config[name]!r}, which is more than B · A added to a weight. "
                f"Such adapters cannot be read. {_MERGE}"
            )


def _pairs(tensors: Mapping[str, Tensor], lm: LoadedLM, folder: Path) -> dict[int, tuple[Tensor, Tensor]]:
    """Return A and B by layer; every tensor must belong to a down-projection."""
    names = {lm.family.write_name(layer): layer for layer in range(lm.n_layer)}
    found: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        module, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
        if module not in names or part not in ("A.weight", "B.weight"):
            raise BrokenArtifactError(
                f"The adapter in {folder} changes {key!r}; a patch can only change the down-projections, "
                f"for example {next(iter(names))}."
            )
        found.setdefault(names[module], {})[part[0]] = tensor
    if not found:
        raise BrokenArtifactError(f"The adapter in {folder} changes nothing. Export it again.")
    return {layer: (pair["A"], pair["B"]) for layer, pair in found.items()}


def _update(lm: LoadedLM, layer: int, pair: tuple[Tensor, Tensor], config: Mapping[str, Any]) -> LayerUpdate:
    a, b = pair
    name = lm.family.write_name(layer)
    scaling = _scaling(name, pair, config)
    return LayerUpdate(layer=layer, weight_name=name, output_factor=_scaled(name, b, scaling).T, input_factor=a.float())


def _scaled(name: str, b: Tensor, scaling: float) -> Tensor:
    scaled = scaling * b.float()
    if not bool(scaled.isfinite().all()):
        raise BrokenArtifactError(f"The adapter multiplies its factors of {name} by {scaling:g}, which overflows.")
    return scaled


def _scaling(name: str, pair: tuple[Tensor, Tensor], config: Mapping[str, Any]) -> float:
    """Return the factor of B · A, after checking that the two match each other and the stated rank."""
    a, b = pair
    if a.ndim != 2 or b.ndim != 2 or not a.numel() or a.shape[0] != b.shape[1]:
        raise BrokenArtifactError(f"The adapter's factors of {name} have shapes {tuple(a.shape)} and {tuple(b.shape)}.")
    rank = a.shape[0]
    stated = _setting(config.get("rank_pattern") or {}, name, config["r"])
    if stated != rank:
        raise BrokenArtifactError(f"The adapter says rank {stated:g} for {name}, but its factors have {rank}.")
    alpha = _setting(config.get("alpha_pattern") or {}, name, config.get("lora_alpha", 8))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _setting(pattern: Mapping[str, Any], name: str, default: Any) -> float:
    """Return a module's value: that of the first key equal to its name or to the end of it, as in PEFT.

    PEFT treats keys as regular expressions. An untrusted expression can run for years, so only names are accepted.
    """
    for key, value in pattern.items():
        bare = key.removeprefix("^").removesuffix("$").replace(r"\.", ".")
        if not re.fullmatch(r"[\w.]+", bare):
            raise BrokenArtifactError(
                f"The adapter's pattern {key[:80]!r} is not a module name. Name each module in full and save it again."
            )
        if name == bare or name.endswith(f".{bare}"):
            return float(value)
    return float(default)
