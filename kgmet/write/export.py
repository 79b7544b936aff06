"""Export of patches: a LoRA adapter in PEFT's format, or a merged copy of the checkpoint.

An edit is exactly a LoRA on the down-projections: ΔW = output_factorᵀ · input_factor is PEFT's B · A, with one row per
key and a scaling of 1. This is the only module that makes new weights, and it writes them to a new folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from kgmet.base.artifact import write_tensors
from kgmet.base.cache import folder_written_whole
from kgmet.base.errors import ConfigError, NonFiniteError
from kgmet.base.fingerprint import plain
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.lm.load.family import Layout
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import EditPatch, check_patch, merged_updates
from kgmet.write.solve import LayerUpdate

__all__ = ["ADAPTER_CONFIG", "ADAPTER_WEIGHTS", "EDITS_FILE", "MergeReport", "export_lora", "export_merged"]

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
EDITS_FILE = "kgmet_edits.json"
"""Our file beside PEFT's two: the adapter's edits and model. PEFT ignores it."""


@dataclass(frozen=True, kw_only=True)
class MergeReport:
    """Rounding error of a merge.

    By weight name, `rounding` is the largest |stored − exact| of any entry, in units of the weight. `relative` is
    ‖stored − exact‖ / ‖update‖ (Frobenius norm): at 1 the update is lost in the rounding.
    """

    folder: Path
    dtype: str
    rounding: Mapping[str, float]
    relative: Mapping[str, float]

    @property
    def largest(self) -> float:
        """The largest rounding error of any entry of any weight."""
        return max(self.rounding.values(), default=0.0)


def export_lora(patches: EditPatch | Sequence[EditPatch], lm: LoadedLM, folder: Path) -> Path:
    """Write patches as one LoRA adapter that `peft` loads.

    Args:
        patches: one, or several that are to be attached together.
        lm: the model they were made for.
        folder: a new or empty folder.

    Returns:
        The folder, with adapter_config.json, adapter_model.safetensors and kgmet_edits.json.

    Raises:
        StaleArtifactError: if a patch was made for another model.
        BrokenArtifactError: if a layer or a shape does not fit.
        ArtifactError: if the folder is not empty, or cannot be written.
        ConfigError: if there is nothing to export.
    """
    several = [patches] if isinstance(patches, EditPatch) else list(patches)
    updates = _checked(several, lm)
    tensors: dict[str, Tensor] = {}
    for update in updates:
        name = f"base_model.model.{update.weight_name}"
        tensors[f"{name}.lora_A.weight"] = update.input_factor.contiguous()
        tensors[f"{name}.lora_B.weight"] = update.output_factor.T.contiguous()
    edits = {
        "format": 1,
        "model_fingerprint": lm.fingerprint,
        "editors": [patch.editor for patch in several],
        "edits": [edit.to_json() for patch in several for edit in patch.edits],
        "config": plain(several[0].config) if len(several) == 1 else {},
    }

    def fill(made: Path) -> None:
        write_tensors(made / ADAPTER_WEIGHTS, tensors, {"format": "pt"})
        _write_json(made / ADAPTER_CONFIG, _adapter_config(lm, updates))
        _write_json(made / EDITS_FILE, edits)

    return _in_new_folder(folder, fill)


def export_merged(
    patches: EditPatch | Sequence[EditPatch],
    lm: LoadedLM,
    folder: Path,
    *,
    progress: Progress | None = None,
) -> MergeReport:
    """Write a copy of the checkpoint with the patches merged in, in the model's own dtype.

    Args:
        patches: one, or several that are to be attached together.
        lm: the model they were made for.
        folder: a new or empty folder for the config, weights and tokenizer.
        progress: receives each layer and can cancel; no files remain then.

    Raises:
        StaleArtifactError: if a patch was made for another model.
        BrokenArtifactError: if a layer or a shape does not fit.
        ConfigError: if a weight is quantised or offloaded and cannot be merged into, or there is nothing to export.
        ArtifactError: if the folder is not empty, or cannot be written.
        NonFiniteError: if a merged weight overflows the model's dtype.
        Cancelled: if asked to stop.
    """
    several = [patches] if isinstance(patches, EditPatch) else list(patches)
    progress, updates = progress or Silent(), _checked(several, lm)
    state = lm.model.state_dict()
    _check_mergeable(lm, state, updates)
    rounding: dict[str, float] = {}
    relative: dict[str, float] = {}
    total = len(updates) + 1
    for done, update in enumerate(updates):
        progress.report(ProgressEvent(stage=Stage.EXPORT, done=done, total=total))
        progress.check()
        name = f"{update.weight_name}.weight"
        change = update.dense().double()
        change = change if lm.family.layout is Layout.OUT_IN else change.T
        exact = state[name].detach().cpu().double() + change
        stored = exact.to(state[name].dtype)
        if not bool(torch.isfinite(stored).all()):
            raise NonFiniteError(
                f"The edit is too large for {update.weight_name} in {str(stored.dtype).removeprefix('torch.')}. Load "
                "the model in float32 or bfloat16 and merge there, or export a LoRA adapter."
            )
        error = stored.double() - exact
        rounding[update.weight_name] = float(error.abs().max())
        relative[update.weight_name] = float(error.norm() / change.norm().clamp(min=1e-300))
        state[name] = stored
    progress.report(ProgressEvent(stage=Stage.EXPORT, done=total - 1, total=total))
    progress.check()

    def fill(made: Path) -> None:
        lm.model.save_pretrained(made, state_dict=state)  # type: ignore[operator]
        lm.tokenizer.save_pretrained(made)

    _in_new_folder(folder, fill)
    progress.report(ProgressEvent(stage=Stage.EXPORT, done=total, total=total))
    return MergeReport(folder=folder, dtype=lm.dtype_name, rounding=rounding, relative=relative)


def _checked(patches: Sequence[EditPatch], lm: LoadedLM) -> list[LayerUpdate]:
    for patch in patches:
        check_patch(patch, lm)
    updates = merged_updates([update for patch in patches for update in patch.updates], lm)
    if not updates:
        raise ConfigError("There is nothing to export: the patch changes no layer. Make an edit first.")
    return updates


def _check_mergeable(lm: LoadedLM, state: Mapping[str, Tensor], updates: Sequence[LayerUpdate]) -> None:
    for update in updates:
        weight = state.get(f"{update.weight_name}.weight")
        if (
            weight is None
            or weight.is_meta
            or not weight.is_floating_point()
            or weight.numel() != lm.d_model * lm.d_key
        ):
            raise ConfigError(
                f"The weight of {update.weight_name} is quantised or offloaded, so nothing can be merged into it. "
                "Export a LoRA adapter instead, or load the model whole and unquantised."
            )


def _adapter_config(lm: LoadedLM, updates: Sequence[LayerUpdate]) -> dict[str, Any]:
    """Return PEFT's LoraConfig as JSON: rank and alpha per module, so that every scaling is 1."""
    ranks = {update.weight_name: update.output_factor.shape[0] for update in updates}
    largest = max(ranks.values())
    pattern = {name: rank for name, rank in ranks.items() if rank != largest}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": lm.name,
        "r": largest,
        "lora_alpha": largest,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "target_modules": sorted(ranks),
        "fan_in_fan_out": lm.family.layout is Layout.IN_OUT,
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
    }


def _in_new_folder(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Call `fill` on a temporary folder, then move it to `folder` atomically."""
    with folder_written_whole(folder) as made:
        try:
            fill(made)
        except SafetensorError as error:  # raised by safetensors when the disk is full
            raise OSError(str(error)) from error
    return folder


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
