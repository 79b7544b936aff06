"""`ModelProfile`: settings that were calibrated for one model, what they reached, and how that was found out.

A profile is a small JSON file that can be passed on. It names its model by fingerprint and is refused by any other.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kgmet
from kgmet.base.cache import cache_dir, written_whole
from kgmet.base.errors import BrokenArtifactError, StaleArtifactError
from kgmet.base.files import SETTINGS_FILE, failures_as, read_json_object
from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.columns import Columns

__all__ = [
    "PROFILE_FORMAT",
    "SHIPPED_PROFILES",
    "CalibratedEditor",
    "ModelProfile",
    "check_profile",
    "find_profile",
    "load_profile",
    "own_profile",
    "profile_from_json",
    "profile_path",
    "save_profile",
    "shipped_profile",
]

PROFILE_FORMAT = 1
SHIPPED_PROFILES = Path(__file__).resolve().parent / "profiles"
"""Profiles that come with the program, by the model's fingerprint; `scripts/make_profiles.py` makes them."""
_ADVICE = "Calibrate again with `python -m kgmet calibrate`, or delete the file."


@dataclass(frozen=True, kw_only=True)
class CalibratedEditor:
    """One editor's settings for the model, and what they reached beside its uncalibrated ones.

    `tried` settings were compared on at most `n_search` facts. `searched` and `checked` are of `config`, the others of
    the uncalibrated settings; the check is on `n_check` other facts in other words and was made once. Where nothing
    tried was better, `is_default` is set and the two are the same.
    """

    editor: str
    config: EditConfig
    changes: str
    reason: str
    is_default: bool
    tried: int
    seed: int
    n_search: int
    n_check: int
    searched: Columns
    searched_default: Columns
    checked: Columns
    checked_default: Columns

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dict(plain(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, what: str = "This is no calibrated editor") -> CalibratedEditor:
        """Read what `to_json` made; `what` begins the sentence of an error."""
        found = value_from(cls, {**data, "config": {}}, what, advice=_ADVICE)
        return replace(found, config=config_from_mapping(data["config"]))


@dataclass(frozen=True, kw_only=True)
class ModelProfile:
    """What was found out about one model: what it knows, where facts are kept, and each editor's settings.

    `knows` and `layers` are plain values for people (`KnownFacts.to_json`, `LayerEffects.to_json`); empty where they
    were not measured.
    """

    model: str
    model_fingerprint: str
    graph: str
    editors: Mapping[str, CalibratedEditor]
    knows: Mapping[str, Any]
    layers: Mapping[str, Any]
    version: str = kgmet.__version__

    def with_editor(self, found: CalibratedEditor) -> ModelProfile:
        """Return the profile with one editor's settings added or replaced."""
        return replace(self, editors={**self.editors, found.editor: found})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"format": PROFILE_FORMAT, **plain(self)}


def profile_path(lm: LoadedLM) -> Path:
    """Return where the profile of a model is kept, and found by default."""
    return cache_dir() / "profiles" / f"{lm.fingerprint}.json"


def save_profile(profile: ModelProfile, path: Path) -> None:
    """Write a profile, whole or not at all.

    Raises:
        UnwritableError: if the place is read-only, full or gone.
    """
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(profile.to_json(), ensure_ascii=False, indent=1), encoding="utf-8")


def load_profile(path: Path) -> ModelProfile:
    """Read what `save_profile` wrote.

    Raises:
        BrokenArtifactError: if the file holds no profile.
        StaleArtifactError: if it was written by a version whose profiles are others.
    """
    return profile_from_json(read_json_object(path, limits=SETTINGS_FILE), where=str(path))


def profile_from_json(data: Any, *, where: str) -> ModelProfile:
    """Read what `ModelProfile.to_json` made, for data from outside.

    Args:
        data: the parsed JSON.
        where: the file's name, for messages.

    Raises:
        BrokenArtifactError: if this is no profile.
        StaleArtifactError: if it was written by a version whose profiles are others.
    """
    if isinstance(data, Mapping) and "model_fingerprint" in data and data.get("format") != PROFILE_FORMAT:
        raise StaleArtifactError(
            f"{where} is a profile of format {str(data.get('format'))[:20]}, written by kgmet "
            f"{str(data.get('version'))[:20]}; kgmet {kgmet.__version__} reads format {PROFILE_FORMAT}. {_ADVICE}"
        )
    what = f"{where} holds no profile"
    with failures_as(BrokenArtifactError, what, advice=_ADVICE):
        profile = value_from(ModelProfile, {**data, "editors": {}}, what, advice=_ADVICE)
        editors = {str(name): CalibratedEditor.from_json(item, what=what) for name, item in data["editors"].items()}
        return replace(profile, editors=editors)


def check_profile(profile: ModelProfile, lm: LoadedLM, *, path: Path | None = None) -> None:
    """Make sure that a profile is of this model, and that the model has the layers it names.

    Raises:
        StaleArtifactError: if it is of another one; names both.
        BrokenArtifactError: if it writes to a layer that the model does not have.
    """
    name = path or "The profile"
    if profile.model_fingerprint != lm.fingerprint:
        raise StaleArtifactError(
            f"{name} was calibrated for {profile.model} ({profile.model_fingerprint}); loaded is "
            f"{lm.name} ({lm.fingerprint}). Settings do not carry over between models: calibrate this one."
        )
    for editor in profile.editors.values():
        highest = max(editor.config.write.layers)
        if highest >= lm.n_layer:
            raise BrokenArtifactError(
                f"{name} writes to layer {highest} with {editor.editor}, and {lm.name} has layers 0 to "
                f"{lm.n_layer - 1}. {_ADVICE}"
            )


def find_profile(lm: LoadedLM) -> ModelProfile | None:
    """Return the profile of this model: the one in the cache folder, and of editors it lacks the shipped one.

    Raises:
        ArtifactError: if there is one in the cache folder that cannot be used.
    """
    own, shipped = own_profile(lm), shipped_profile(lm)
    if own is None or shipped is None:
        return own or shipped
    return replace(
        own,
        editors={**shipped.editors, **own.editors},
        knows=own.knows or shipped.knows,
        layers=own.layers or shipped.layers,
    )


def own_profile(lm: LoadedLM) -> ModelProfile | None:
    """Return the profile of this model in the cache folder, if it was calibrated here or one was brought along.

    Raises:
        ArtifactError: if there is one that cannot be used.
    """
    return _found(profile_path(lm), lm)


def shipped_profile(lm: LoadedLM) -> ModelProfile | None:
    """Return the profile of this model that comes with the program, if there is one."""
    return _found(SHIPPED_PROFILES / f"{lm.fingerprint}.json", lm)


def _found(path: Path, lm: LoadedLM) -> ModelProfile | None:
    try:
        known = path.stat()
    except OSError:
        return None
    profile = _read(path, known.st_mtime_ns, known.st_size)
    check_profile(profile, lm, path=path)
    return profile


@functools.lru_cache(maxsize=8)
def _read(path: Path, _changed: int, _size: int) -> ModelProfile:
    # Pages ask at every run of their script; the time of the last change makes a new file be read.
    return load_profile(path)
