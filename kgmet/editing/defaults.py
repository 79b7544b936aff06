"""`default_settings`: the settings an editor has for a model: calibrated ones, else its own on this model's layers.

Every editor's own settings were chosen on SmolLM2 with 30 layers. For another model the layers are those that were
published for it, else SmolLM2's at the same relative depth. Rates and lengths are in units of the hidden state and stay
as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from kgmet.base.errors import ArtifactError
from kgmet.editing.config import EditConfig
from kgmet.editing.editors import EDITORS, Editor
from kgmet.editing.profile import CalibratedEditor, ModelProfile, check_profile, find_profile, shipped_profile
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["DefaultSettings", "SettingsSource", "default_config", "default_settings", "listed_layers", "scaled_layers"]

_CHOSEN_ON = ("llama", 30, 576)
"""Type, layers and width of the model on which the editors' own settings were chosen."""
_PUBLISHED: Mapping[tuple[str, int, int], tuple[str, tuple[int, ...], str]] = {
    ("gpt2", 48, 1600): ("GPT-2 XL", tuple(range(13, 18)), "arXiv:2210.07229"),
    ("gptj", 28, 4096): ("GPT-J", tuple(range(3, 9)), "arXiv:2210.07229"),
    ("llama", 32, 4096): ("Llama 3 8B", tuple(range(4, 9)), "arXiv:2410.02355"),
    ("qwen2", 28, 3584): ("Qwen2.5 7B", tuple(range(4, 9)), "EasyEdit"),
    ("mistral", 32, 4096): ("Mistral 7B", tuple(range(4, 9)), "EasyEdit"),
}
"""Type, layers and width → name, layers that MEMIT and AlphaEdit write to in published work, and where."""


class SettingsSource(Enum):
    """Where settings come from."""

    CALIBRATED = "calibrated"
    OWN = "own"
    """The editor's, chosen on this very model; or a changed editor's."""
    PUBLISHED = "published"
    """The layers were published for this model."""
    SCALED = "scaled"
    """The layers are SmolLM2's at the same relative depth."""


@dataclass(frozen=True, kw_only=True)
class DefaultSettings:
    """The settings an editor has for a model, and in one sentence for people where they come from.

    `checked` says what calibrated settings scored on facts they were not chosen on; `words` is both.
    """

    config: EditConfig
    source: SettingsSource
    sentence: str
    checked: str = ""

    @property
    def words(self) -> str:
        """Where they come from, with what they scored."""
        return f"{self.sentence}; {self.checked}" if self.checked else self.sentence


def default_config(editor: Editor, lm: LoadedLM, *, profile: ModelProfile | None = None) -> EditConfig:
    """Return the settings of `default_settings`."""
    return default_settings(editor, lm, profile=profile).config


def default_settings(editor: Editor, lm: LoadedLM, *, profile: ModelProfile | None = None) -> DefaultSettings:
    """Return the settings of an editor for a model.

    Args:
        editor: the method; one whose settings were changed keeps them.
        lm: the model.
        profile: settings calibrated for this model; by default those in the cache folder, else those shipped with the
            program. Where a profile says that nothing was better, the uncalibrated settings are taken.

    Raises:
        StaleArtifactError: if the given profile is of another model.
    """
    if profile is not None:
        check_profile(profile, lm)
    known = EDITORS.get(editor.name)
    if known is None or editor.config != known.config:
        return DefaultSettings(config=editor.config, source=SettingsSource.OWN, sentence="the editor's as given")
    note = ""
    if profile is None:
        profile, note = _usable_profile(lm)
    uncalibrated = uncalibrated_settings(editor, lm)
    found = None if profile is None else profile.editors.get(editor.name)
    if found is None:
        return replace(uncalibrated, sentence=uncalibrated.sentence + note)
    config = uncalibrated.config if found.is_default else found.config
    sentence, checked = _calibrated_words(found)
    return DefaultSettings(config=config, source=SettingsSource.CALIBRATED, sentence=sentence + note, checked=checked)


def _usable_profile(lm: LoadedLM) -> tuple[ModelProfile | None, str]:
    """Return the profile to use, and a note about one that cannot be read: no edit fails because of a profile."""
    note = ""
    for find in (find_profile, shipped_profile):
        try:
            return find(lm), note
        except ArtifactError as error:
            note = f" A calibration could not be used: {error}"
    return None, note


def uncalibrated_settings(editor: Editor, lm: LoadedLM) -> DefaultSettings:
    """Return the settings an editor has for a model whatever was calibrated: its own on layers that fit."""
    return settings_for(editor, str(getattr(lm.config, "model_type", "")), n_layer=lm.n_layer, d_model=lm.d_model)


def settings_for(editor: Editor, model_type: str, *, n_layer: int, d_model: int) -> DefaultSettings:
    """Return the same for a model that is not loaded."""
    config, shape = editor.config, (model_type, n_layer, d_model)
    if shape == _CHOSEN_ON:
        return DefaultSettings(config=config, source=SettingsSource.OWN, sentence="the editor's own for this model")
    own = config.write.layers
    layers = scaled_layers(own, n_layer)
    source, words = SettingsSource.SCALED, f"scaled from SmolLM2, layers {listed_layers(layers)} of {n_layer}"
    published = _PUBLISHED.get(shape)
    if published is not None and own == EditConfig().write.layers:
        name, layers, where = published
        source, words = SettingsSource.PUBLISHED, f"layers {listed_layers(layers)} as published for {name} ({where})"
    direction = config.direction
    features = scaled_layers((direction.feature_layer,), n_layer)[0]
    config = replace(
        config,
        write=replace(config.write, layers=layers),
        direction=replace(direction, feature_layer=features),
    )
    return DefaultSettings(config=config, source=source, sentence=f"not calibrated: {words}")


def scaled_layers(layers: Sequence[int], n_layer: int) -> tuple[int, ...]:
    """Return the same relative depths in a model of `n_layer` layers: of their span's ends, the middles of the layers.

    At least one, and none beyond the last but one, after which a shift can still be searched.
    """
    ratio, top = n_layer / _CHOSEN_ON[1], max(n_layer - 2, 0)
    first, last = (min(max(round((layer + 0.5) * ratio - 0.5), 0), top) for layer in (layers[0], layers[-1]))
    return tuple(range(first, last + 1))


def _calibrated_words(found: CalibratedEditor) -> tuple[str, str]:
    kept = f" ({found.changes})"
    if found.is_default:
        kept = "; no other settings tried were better, so these are the uncalibrated ones"
    checked = ", ".join(f"{kind} {counts}" for kind, counts in found.checked.items())
    return (
        f"calibrated on {found.n_search} facts{kept}",
        f"on {found.n_check} other facts: {checked}" if checked else "",
    )


def listed_layers(layers: Sequence[int]) -> str:
    """Return ascending layers as text: ``2–5``, ``3, 5, 7``, ``5``, ``none``."""
    if len(layers) > 1 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]}–{layers[-1]}"
    return ", ".join(map(str, layers)) or "none"
