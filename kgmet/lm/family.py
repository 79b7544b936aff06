"""`ModelFamily`: where a decoder keeps the parts that editing touches. A table, one row per family.

Adding a model is adding a row here and its config to the conformance test. Nothing else in the project asks for a
model's name or guesses from shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import Tensor, nn

from kgmet.errors import UnsupportedModelError

__all__ = ["FAMILIES", "Layout", "ModelFamily", "family_of"]


class Layout(Enum):
    """How a projection stores its matrix."""

    OUT_IN = "out, in"
    """`torch.nn.Linear`: weight is (d_model, d_key)."""
    IN_OUT = "in, out"
    """GPT-2's `Conv1D`: weight is (d_key, d_model)."""


@dataclass(frozen=True, kw_only=True)
class ModelFamily:
    """Module paths of one family. `write` and `norm` are relative to a layer and to the whole model respectively."""

    name: str
    model_types: tuple[str, ...]
    """Values of ``config.model_type`` that belong here."""
    layers: str
    """Path of the list of decoder layers."""
    write: str
    """Path, inside a layer, of the MLP's down-projection: the module an edit is written to."""
    final_norm: str
    """Path of the normalisation before the vocabulary projection."""
    layout: Layout = Layout.OUT_IN

    def decoder_layers(self, model: nn.Module) -> nn.ModuleList:
        """The decoder layers, lowest first."""
        layers = _submodule(model, self.layers, self.name)
        if not isinstance(layers, nn.ModuleList):
            raise UnsupportedModelError(f"{self.layers} of this {self.name} model is no list of layers.")
        return layers

    def write_module(self, model: nn.Module, layer: int) -> nn.Module:
        """The down-projection of one layer."""
        return _submodule(self.decoder_layers(model)[layer], self.write, self.name)

    def write_name(self, layer: int) -> str:
        """Full dotted name of the down-projection, as in the state dict without ``.weight``."""
        return f"{self.layers}.{layer}.{self.write}"

    def weight_out_in(self, model: nn.Module, layer: int) -> Tensor:
        """The down-projection's weight as (d_model, d_key), detached; a view where the layout allows."""
        weight = self.write_module(model, layer).weight.detach()
        return weight if self.layout is Layout.OUT_IN else weight.T

    def norm(self, model: nn.Module) -> nn.Module:
        """The normalisation before the vocabulary projection."""
        return _submodule(model, self.final_norm, self.name)


def _submodule(model: nn.Module, path: str, family: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise UnsupportedModelError(
            f"A {family} model should have a module {path!r}, but this one has not. "
            "Is it wrapped, or a newer layout? See docs/adding_a_model.md."
        ) from error


_LLAMA_LIKE = {"layers": "model.layers", "write": "mlp.down_proj", "final_norm": "model.norm"}

FAMILIES: tuple[ModelFamily, ...] = (
    ModelFamily(name="Llama", model_types=("llama",), **_LLAMA_LIKE),
    ModelFamily(name="Mistral", model_types=("mistral",), **_LLAMA_LIKE),
    ModelFamily(name="Qwen", model_types=("qwen2", "qwen3"), **_LLAMA_LIKE),
    ModelFamily(name="Gemma", model_types=("gemma2", "gemma3_text"), **_LLAMA_LIKE),
    ModelFamily(name="OLMo", model_types=("olmo", "olmo2"), **_LLAMA_LIKE),
    ModelFamily(
        name="GPT-2",
        model_types=("gpt2",),
        layers="transformer.h",
        write="mlp.c_proj",
        final_norm="transformer.ln_f",
        layout=Layout.IN_OUT,
    ),
    ModelFamily(
        name="GPT-J",
        model_types=("gptj",),
        layers="transformer.h",
        write="mlp.fc_out",
        final_norm="transformer.ln_f",
    ),
    ModelFamily(
        name="GPT-NeoX",
        model_types=("gpt_neox",),
        layers="gpt_neox.layers",
        write="mlp.dense_4h_to_h",
        final_norm="gpt_neox.final_layer_norm",
    ),
    ModelFamily(
        name="Phi",
        model_types=("phi",),
        layers="model.layers",
        write="mlp.fc2",
        final_norm="model.final_layernorm",
    ),
    ModelFamily(name="Phi-3", model_types=("phi3",), **_LLAMA_LIKE),
)


def family_of(config: Any) -> ModelFamily:
    """The row for a model's config.

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
        "Choose one of these, or add a row to kgmet/lm/family.py (docs/adding_a_model.md)."
    )
