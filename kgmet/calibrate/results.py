"""The result of a model's last calibration, on disk until it is put to use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kgmet.base.errors import ArtifactError
from kgmet.calibrate.trials import calibration_folder
from kgmet.editing.profile import ModelProfile, load_profile, own_profile
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["found_path", "kept_profile", "last_found"]


def found_path(lm: LoadedLM) -> Path:
    """Return where the result of a model's last calibration is kept, editor after editor, before it is put to use."""
    return calibration_folder(lm) / "found.json"


def last_found(lm: LoadedLM) -> ModelProfile | None:
    """Return the result of a model's last calibration, whole or as far as it came.

    Raises:
        ArtifactError: if it cannot be read.
    """
    path = found_path(lm)
    return load_profile(path) if path.exists() else None


def kept_profile(lm: LoadedLM, found: ModelProfile) -> ModelProfile:
    """Return `found` with the editors that were calibrated for this model before and are not in it."""
    try:
        earlier = own_profile(lm)
    except ArtifactError:  # damaged, or of another version: replaced
        earlier = None
    return found if earlier is None else replace(found, editors={**earlier.editors, **found.editors})
