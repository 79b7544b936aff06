"""Checks of a model's config and weight-file headers before memory is allocated."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kgmet.base.errors import BrokenModelError, FileError, KgmetError, UnsupportedModelError
from kgmet.base.files import Limits, check_file, is_folder, read_json_object
from kgmet.lm.load.family import family_of
from kgmet.lm.load.local_dtype import building, built_in, keep_default_dtype

__all__ = ["TEXT_KEYS", "check_files", "check_layers", "outline", "read_config"]

MOST_LAYERS = 512
"""Most decoder layers; published models have at most about 130."""
_SIZES = {
    "hidden_size": 1 << 17,
    "intermediate_size": 1 << 20,
    "num_hidden_layers": MOST_LAYERS,
    "num_attention_heads": 1 << 12,
    "num_key_value_heads": 1 << 12,
    "vocab_size": 1 << 24,
    "max_position_embeddings": 1 << 30,
    "head_dim": 1 << 16,
}
"""Largest accepted value of each config field; the smallest is 1."""
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok")
_STATES = ("state_size", "ssm_state_size", "mamba_d_state", "ssm_cfg", "d_state", "lru_width", "linear_num_value_heads")
_SPARSE = ("mixtral", "moe", "dbrx", "deepseek", "llama4", "gpt_oss", "grok", "olmoe")
_RECURRENT = ("mamba", "rwkv", "zamba", "bamba", "jamba", "recurrent_gemma", "xlstm", "nemotron_h", "lfm2", "retnet")
_OF_OTHER_PARTS = re.compile("vision|visual|audio|image|mtp")
_OF_A_LAYER = re.compile(r"(?:^|\.)(?:layers|h)\.(\d{1,9})\.")
_TEXT_PARTS = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3"}
"""Text parts for which transformers has no model class, and the equivalent model. Positions of a text without images
are the same on all three axes, so the part equals the model it was made from."""
_DESCRIPTIONS = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
_JSON, _LARGE_JSON = Limits(n_bytes=64 << 20), Limits(n_bytes=512 << 20)
"""Limits of a description, and of a tokenizer's file."""
TEXT_KEYS = {
    r"^language_model\.lm_head\.": "lm_head.",
    r"^(?:model\.)?language_model\.(?:model\.)?(?!lm_head)": "model.",
}
"""Weight-name prefixes of the text part in a multimodal model's files, and their names in the text model."""


def read_config(folder: str) -> tuple[Any, bool]:
    """Return the text model's config from a folder or hub id, and whether it is part of a multimodal model.

    Raises:
        BrokenModelError: if a value has the wrong type or an implausible size.
        UnsupportedModelError: if it is not a decoder of a supported family; says why.
        OSError: if there is no config (raised by transformers).
    """
    from transformers import AutoConfig

    if is_folder(Path(folder)):
        _check_json_files(Path(folder))
    try:
        whole = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except OSError:
        raise
    except Exception as error:  # config classes validate in their own ways and raise many types
        said = " ".join(str(error).split())[:200]
        if "does not recognize this architecture" in said or "Unrecognized model" in said:
            raise UnsupportedModelError(
                f"transformers knows no model of the kind that config.json of {folder!r} names: {said}"
            ) from error
        raise BrokenModelError(f"config.json of {folder!r} describes no model: {said}") from error
    config = getattr(whole, "text_config", None) or whole
    is_part = config is not whole
    refuse_other_kinds(whole)
    refuse_other_kinds(config)
    config = _text_model(config)
    if is_part:  # whole and part may disagree on this; a head in the files is used in any case
        config.tie_word_embeddings = True
    family_of(config)
    _check_sizes(config, folder)
    return config, is_part


def _check_json_files(folder: Path) -> None:
    """Read the folder's descriptions by the rules for every untrusted file, before transformers does.

    Raises:
        BrokenModelError: if one is no regular file, too large, no JSON, or nested too deeply.
    """
    try:
        for path in sorted({*(folder / name for name in _DESCRIPTIONS), *folder.glob("*.index.json")}):
            if os.path.lexists(path):
                read_json_object(path, limits=_JSON)
        for path in sorted(folder.glob("*.json")):
            check_file(path, limits=_LARGE_JSON)
    except FileError as error:
        raise BrokenModelError(f"{error} Copy the file again from where the model was published.") from error


def refuse_other_kinds(config: Any) -> None:
    """Refuse architectures that no row of the family table can describe.

    Raises:
        UnsupportedModelError: for a mixture of experts, a state-space model, or an encoder-decoder; says why.
    """
    kind = str(getattr(config, "model_type", ""))
    why = None
    if getattr(config, "is_encoder_decoder", False):
        why = "an encoder-decoder: the subject is read by an encoder, and the answer written by another part"
    elif any(name in kind for name in _RECURRENT) or any(_is_set(config, name) for name in _STATES):
        why = "a state-space or recurrent model: later tokens read a running state, not the subject's own"
    elif any(name in kind for name in _SPARSE) or any(_is_set(config, name) for name in _EXPERTS):
        why = "a mixture of experts: each token takes other down-projections, so there is no one weight to write to"
    if why is not None:
        raise UnsupportedModelError(f"A model of type {kind!r} is {why}. Choose a dense decoder, such as Llama.")


def check_files(folder: Path, config: Any, *, n_parameter: int | None) -> None:
    """Check from the headers that the weight files can hold the model the config describes.

    `n_parameter` is the number of parameters the files must hold, ``None`` if it cannot be derived.

    Raises:
        BrokenModelError: if the files have more layers than the config, or fewer values than it needs.
        SafetensorError: if a file is damaged.
    """
    from safetensors import safe_open

    shapes: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as weights:
            shapes |= {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    if not shapes:
        return
    check_layers(shapes, config, str(folder))
    held = sum(torch.Size(shape).numel() for shape in shapes.values())
    if n_parameter is not None and n_parameter > 1.02 * held + 1000:
        raise BrokenModelError(
            f"config.json of {str(folder)!r} describes a model of {n_parameter:,} parameters, and its files "
            f"hold {held:,} numbers. Were all of them copied, and is config.json of this model?"
        )


def check_layers(names: Iterable[str], config: Any, folder: str) -> None:
    """Refuse weights of more layers than the config has; the rest would be dropped, giving another model.

    Raises:
        BrokenModelError: if so; gives both numbers.
    """
    numbers = [
        int(found[1]) for name in names if not _OF_OTHER_PARTS.search(name) and (found := _OF_A_LAYER.search(name))
    ]
    n_layer = int(config.num_hidden_layers)
    if numbers and max(numbers) >= n_layer:
        raise BrokenModelError(
            f"The files of {folder!r} hold {max(numbers) + 1} layers and its config.json names {n_layer}. Put the "
            "config.json of this model beside its weights."
        )


def _text_model(config: Any) -> Any:
    """Return the config as that of a model class in transformers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = _TEXT_PARTS.get(str(getattr(config, "model_type", "")))
    if kind is None:
        return config
    values: dict[str, Any] = copy.deepcopy(config.to_dict())
    rope = dict(values.get("rope_parameters") or values.pop("rope_scaling", None) or {})
    for name in ("mrope_section", "mrope_interleaved", "type"):
        rope.pop(name, None)
    if rope.get("rope_type") == "mrope":
        rope["rope_type"] = "default"
    left_out = {"model_type", "transformers_version", "rope_scaling"}
    return CONFIG_MAPPING[kind](**{k: v for k, v in values.items() if k not in left_out} | {"rope_parameters": rope})


def _check_sizes(config: Any, folder: str) -> None:
    for name, most in _SIZES.items():
        value = getattr(config, name, None)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise BrokenModelError(
                f"config.json of {folder!r} names {name} {str(value)[:40]}; from 1 to {most:,} are possible. Put the "
                "config.json of this model beside its weights."
            )


def outline(config: Any) -> nn.Module:
    """Build the model on the meta device, without memory for weights."""
    from transformers import AutoModelForCausalLM

    causal: Any = AutoModelForCausalLM
    keep_default_dtype()
    try:
        with building, torch.device("meta"), built_in(torch.float32):
            model: nn.Module = causal.from_config(copy.deepcopy(config), dtype=torch.float32, trust_remote_code=False)
        return model
    except KgmetError:
        raise
    except Exception as error:  # config values are first used here, by modules of many kinds
        raise BrokenModelError(f"config.json describes no model that can be built: {error!r}"[:300]) from error


def _is_set(config: Any, name: str) -> bool:
    value = getattr(config, name, None)
    return isinstance(value, Mapping) or (isinstance(value, int) and value > 1)
