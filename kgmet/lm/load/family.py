"""`ModelFamily`: the table of module paths that editing uses, one row per model family.

To add a model, add a row here and its config to the conformance test. No other code depends on a model's name or
guesses from shapes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from kgmet.base.errors import UnsupportedModelError

__all__ = ["FAMILIES", "Layout", "ModelFamily", "execution_device", "family_of", "norm_gain"]

_PROBED_AT_ONCE = 512


class Layout(Enum):
    """Storage order of a projection's weight matrix."""

    OUT_IN = "out, in"
    """`torch.nn.Linear`: weight is (d_model, d_key)."""
    IN_OUT = "in, out"
    """GPT-2's `Conv1D`: weight is (d_key, d_model)."""


@dataclass(frozen=True, kw_only=True)
class ModelFamily:
    """Module paths of one family. `write` and `norm` are relative to a layer and to the whole model respectively."""

    name: str
    model_types: tuple[str, ...]
    """Values of ``config.model_type`` in this family."""
    layers: str
    """Path of the list of decoder layers."""
    write: str
    """Path, inside a layer, of the MLP's down-projection, to which edits are written."""
    attend: str
    """Path, inside a layer, of the attention's output projection; its input is the concatenated heads."""
    final_norm: str
    """Path of the normalisation before the vocabulary projection."""
    layout: Layout = Layout.OUT_IN
    write_norm: str | None = None
    """Path, inside a layer, of a normalisation between the down-projection and the residual stream, if any."""
    attend_norm: str | None = None
    """The same between the attention's output projection and the residual stream."""

    def decoder_layers(self, model: nn.Module) -> nn.ModuleList:
        """Return the decoder layers, lowest first."""
        layers = _submodule(model, self.layers, self.name)
        if not isinstance(layers, nn.ModuleList):
            raise UnsupportedModelError(f"{self.layers} of this {self.name} model is no list of layers.")
        return layers

    def write_module(self, model: nn.Module, layer: int) -> nn.Module:
        """Return the down-projection of one layer."""
        return _submodule(self.decoder_layers(model)[layer], self.write, self.name)

    def norm_after_write(self, model: nn.Module, layer: int) -> nn.Module | None:
        """Return the normalisation between the down-projection and the residual stream, or ``None``."""
        if self.write_norm is None:
            return None
        return _submodule(self.decoder_layers(model)[layer], self.write_norm, self.name)

    def attend_module(self, model: nn.Module, layer: int) -> nn.Module:
        """Return the attention's output projection of one layer."""
        return _submodule(self.decoder_layers(model)[layer], self.attend, self.name)

    def norm_after_attend(self, model: nn.Module, layer: int) -> nn.Module | None:
        """Return the normalisation between the attention and the residual stream, or ``None``."""
        if self.attend_norm is None:
            return None
        return _submodule(self.decoder_layers(model)[layer], self.attend_norm, self.name)

    def write_name(self, layer: int) -> str:
        """Return the full dotted name of the down-projection, as in the state dict without ``.weight``."""
        return f"{self.layers}.{layer}.{self.write}"

    def key_width(self, model: nn.Module) -> int:
        """Return the width of the down-projection's input, for any weight format."""
        module = self.write_module(model, 0)
        width = getattr(module, "in_features", None)  # packed 4-bit weights have another shape
        if width is None:
            width = module.weight.shape[1 if self.layout is Layout.OUT_IN else 0]  # type: ignore[index]
        return int(width)

    def weight_out_in(self, model: nn.Module, layer: int) -> Tensor:
        """Return the down-projection's weight as (d_model, d_key), detached; a view if it is stored as floats.

        A quantised or offloaded weight is computed from the module's outputs for the unit vectors.
        """
        module = self.write_module(model, layer)
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.is_floating_point() and not weight.is_meta:
            return weight.detach() if self.layout is Layout.OUT_IN else weight.detach().T
        return _probed(module, self.key_width(model), model)

    def norm(self, model: nn.Module) -> nn.Module:
        """Return the normalisation before the vocabulary projection."""
        return _submodule(model, self.final_norm, self.name)


def _probed(module: nn.Module, d_key: int, model: nn.Module) -> Tensor:
    """Compute a linear module's matrix (d_model, d_key) from its outputs, without hooks (attached patches)."""
    embedding = model.get_input_embeddings()  # type: ignore[operator]
    columns = []
    with torch.no_grad():
        for begin in range(0, d_key, _PROBED_AT_ONCE):
            count = min(_PROBED_AT_ONCE, d_key - begin)
            unit = torch.zeros(count + 1, d_key, dtype=embedding.weight.dtype, device=execution_device(embedding))
            unit[torch.arange(count), begin + torch.arange(count)] = 1
            output = module.forward(unit)  # the last row is 0, so its output is the bias
            columns.append((output[:-1] - output[-1]).detach())
    return torch.cat(columns).T


def norm_gain(norm: nn.Module, like: Tensor) -> Tensor:
    """Return the gain g (1, d_model), float64, of an RMS normalisation ``g ⊙ y/rms(y)``, for states like (n, d_model).

    It is read from an output, because some modules store g, others g - 1.
    """
    with torch.no_grad():
        # At this length the module's ε is negligible, and the output is the gain itself.
        found: Tensor = norm(torch.full_like(like[:1], 1e3, device=execution_device(norm)))
    return found.to(like.device).double()


def execution_device(module: nn.Module) -> torch.device:
    """Return a module's device: that of its parameters, or the one Accelerate moves them to for a call."""
    hook = getattr(module, "_hf_hook", None)
    for one in getattr(hook, "hooks", (hook,)):
        device = getattr(one, "execution_device", None)
        if device is not None:
            return torch.device(device)
    return next(itertools.chain(module.parameters(), module.buffers())).device


def _submodule(model: nn.Module, path: str, family: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise UnsupportedModelError(
            f"A {family} model should have a module {path!r}, but this one has not. "
            "Is it wrapped, or a newer layout? See docs/adding_a_model.md."
        ) from error


def _llama_like(name: str, *model_types: str, has_norms_after: bool = False) -> ModelFamily:
    return ModelFamily(
        name=name,
        model_types=model_types,
        layers="model.layers",
        write="mlp.down_proj",
        attend="self_attn.o_proj",
        final_norm="model.norm",
        write_norm="post_feedforward_layernorm" if has_norms_after else None,
        attend_norm="post_attention_layernorm" if has_norms_after else None,
    )


FAMILIES: tuple[ModelFamily, ...] = (
    _llama_like("Llama", "llama"),
    _llama_like("Mistral", "mistral"),
    _llama_like("Qwen", "qwen2", "qwen3"),
    _llama_like("Gemma", "gemma2", "gemma3_text", has_norms_after=True),
    _llama_like("OLMo", "olmo"),
    _llama_like("OLMo 2", "olmo2", has_norms_after=True),
    ModelFamily(
        name="GPT-2",
        model_types=("gpt2",),
        layers="transformer.h",
        write="mlp.c_proj",
        attend="attn.c_proj",
        final_norm="transformer.ln_f",
        layout=Layout.IN_OUT,
    ),
    ModelFamily(
        name="GPT-J",
        model_types=("gptj",),
        layers="transformer.h",
        write="mlp.fc_out",
        attend="attn.out_proj",
        final_norm="transformer.ln_f",
    ),
    ModelFamily(
        name="GPT-NeoX",
        model_types=("gpt_neox",),
        layers="gpt_neox.layers",
        write="mlp.dense_4h_to_h",
        attend="attention.dense",
        final_norm="gpt_neox.final_layer_norm",
    ),
    ModelFamily(
        name="Phi",
        model_types=("phi",),
        layers="model.layers",
        write="mlp.fc2",
        attend="self_attn.dense",
        final_norm="model.final_layernorm",
    ),
    _llama_like("Phi-3", "phi3"),
)


def family_of(config: Any) -> ModelFamily:
    """Return the row for a model's config.

    Raises:
        UnsupportedModelError: if no row has its ``model_type``; lists those that exist.
    """
    model_type = getattr(config, "model_type", None)
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(sorted(kind for family in FAMILIES for kind in family.model_types))
    raise UnsupportedModelError(
        f"Models of type {model_type!r} are not supported yet; supported are {known}. "
        "Choose one of these, or add a row to kgmet/lm/load/family.py (docs/adding_a_model.md)."
    )
