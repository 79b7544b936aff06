"""`load_hparams`: settings files of the AlphaEdit code (`Llama3-8B.json`) and of ours (`.toml`) as `EditConfig`.

Every key of the published files is either translated, or accepted and reported with the reason why it has no effect
here; any other key is an error. Seven of those keys are unused in the AlphaEdit code too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgmet.base.errors import ConfigError, ConfigFileError
from kgmet.base.files import SETTINGS_FILE, is_file, is_folder, parse_json, read_text
from kgmet.editing.config import EditConfig, config_from_mapping, load_config

__all__ = ["Hparams", "load_hparams", "shipped_hparams"]

_FOLDER = Path(__file__).with_name("hparams")
_FAMILY = "module names come from the table of model families"
_UNITS = "ours is in units of the hidden state's length (target.rate), so it carries over between models"
_STATISTICS = "key statistics come from the text given to KeyStatistics"

_LIVE: Mapping[str, tuple[str, ...]] = {
    "layers": ("write", "layers"),
    "clamp_norm_factor": ("target", "max_norm_ratio"),
    "v_num_grad_steps": ("target", "max_steps"),
    "gnn_grad_steps": ("target", "max_steps"),
    "early_stopping_loss": ("target", "stop_nll"),
    "v_weight_decay": ("target", "weights", "length"),
    "kl_factor": ("target", "weights", "anchor"),
    "nullspace_threshold": ("cutoff", "value"),
    "L2": ("write", "ridge"),
    "mom2_update_weight": ("write", "moment_weight"),
    "subgraph_size": ("subgraph", "max_triples"),
    "get_repr_layer": ("direction", "feature_layer"),
}
"""Published key → path in `EditConfig`."""

_DEAD: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("rewrite_module_tmp", "layer_module_tmp", "mlp_module_tmp", "attn_module_tmp"),
            *("layer_mlp_input", "ln_f_module", "lm_head_module"),
        ),
        _FAMILY,
    ),
    **dict.fromkeys(("v_lr", "gnn_lr", "factor_g"), _UNITS),
    **dict.fromkeys(("mom2_dataset", "mom2_n_samples", "mom2_dtype", "mom2_adjustment", "stats_dir"), _STATISTICS),
    **dict.fromkeys(("v_loss_layer", "gnn_loss_layer"), "the loss is always taken after the last layer"),
    **dict.fromkeys(("gnn_fact_token_strategy", "gnn_dim_factor", "gnn_attn_drop"), "the encoder has no such part"),
    "gnn_feat_drop": "what is searched is what is written, so nothing is dropped at random",
    "gnn_weight_decay": "the encoder's weights are not decayed; the shift's length is penalised",
    "context_template_length_params": "contexts are fixed neutral prefixes (hold.contexts)",
    "alg_name": "the editor is named by --alg_name",
    "device": "--device says where",
    "batch_size": "batches are --num_edits",
}
"""Published key → reason why it has no effect."""

_FIXED: Mapping[str, tuple[Any, ...]] = {"fact_token": ("subject_last",), "layer_selection": ("all",)}
"""Published keys with only one supported value."""


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """Settings read from a file; `without_effect` maps key → reason."""

    config: EditConfig
    without_effect: Mapping[str, str]


def shipped_hparams() -> tuple[str, ...]:
    """Return the names of the bundled files."""
    return tuple(sorted(item.name for item in _FOLDER.iterdir() if item.name.endswith(".json")))


def load_hparams(name: str | Path, *, base: EditConfig) -> Hparams:
    """Read a settings file; missing settings come from `base`.

    Args:
        name: a path, or the name of a bundled file, with or without the folder of an editor.
        base: usually the editor's own settings.

    Raises:
        ConfigError: if there is no such file, or a key is unknown, of the wrong type or out of range.
    """
    path = Path(name)
    if path.suffix == ".toml" and is_file(path):
        return Hparams(config=load_config(path, base=base), without_effect={})
    data = parse_json(_text(path), where=str(name), limits=SETTINGS_FILE, error=ConfigFileError)
    if not isinstance(data, dict):
        raise ConfigFileError(f"{name} must hold an object of settings, got {type(data).__name__}.")
    return _translated(data, path.name, base)


def _text(path: Path) -> str:
    if is_file(path) or is_folder(path):
        return read_text(path, limits=SETTINGS_FILE, error=ConfigFileError)
    if path.name in shipped_hparams():
        return (_FOLDER / path.name).read_text(encoding="utf-8")
    raise ConfigFileError(
        f"There is no settings file {str(path)!r}. Give a path, or one of {', '.join(shipped_hparams())}."
    )


def _translated(data: Mapping[str, Any], name: str, base: EditConfig) -> Hparams:
    settings: dict[str, Any] = {}
    without: dict[str, str] = {}
    for key, value in data.items():
        if key == "model_name":
            continue
        if key in _LIVE:
            _put(settings, _LIVE[key], _ascending(value) if key == "layers" else value)
        elif key in _DEAD:
            without[key] = _DEAD[key]
        elif key in _FIXED:
            if value not in _FIXED[key]:
                raise ConfigError(f"{name}: {key} can only be {_FIXED[key][0]!r} here, got {value!r}.")
            without[key] = "it is always so"
        else:
            known = ", ".join(sorted({*_LIVE, *_DEAD, *_FIXED, "model_name"}))
            raise ConfigError(f"{name} has an unknown key {key!r}; known are {known}.")
    try:
        config = config_from_mapping(settings, base=base)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    return Hparams(config=config, without_effect=without)


def _put(settings: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for part in place[:-1]:
        settings = settings.setdefault(part, {})
    settings[place[-1]] = value


def _ascending(layers: Any) -> Any:
    """Sort a list of layers; what is none is refused with the other settings."""
    return sorted(layers) if isinstance(layers, list) and all(type(layer) is int for layer in layers) else layers
