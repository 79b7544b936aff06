"""`ModelShape`: the sizes of a model that decide how much memory work on it takes, from its config alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kgmet.base.errors import MemoryLimitError
from kgmet.base.memory import free_memory, gigabytes
from kgmet.lm.load.description import outline
from kgmet.lm.load.family import family_of

__all__ = ["FORMATS", "ModelShape", "WeightFormat", "check_weights_fit", "format_of"]


@dataclass(frozen=True, kw_only=True)
class WeightFormat:
    """Storage format of weights: bits of a weight in a linear layer, and the dtype of everything else."""

    name: str
    bits: int
    dtype: torch.dtype


FORMATS: Mapping[str, WeightFormat] = {
    row.name: row
    for row in (
        WeightFormat(name="float32", bits=32, dtype=torch.float32),
        WeightFormat(name="bfloat16", bits=16, dtype=torch.bfloat16),
        WeightFormat(name="float16", bits=16, dtype=torch.float16),
        WeightFormat(name="8 bits", bits=8, dtype=torch.bfloat16),
        WeightFormat(name="4 bits", bits=4, dtype=torch.bfloat16),
    )
}
"""Every format by its name. Weights in 8 and 4 bits are those of a checkpoint saved so (bitsandbytes)."""
_SCALES = 1.06
"""Size of 8- and 4-bit weights with the scales stored beside them, relative to the bare bits."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of a decoder: parameters (tied ones once), those in tables of the vocabulary, and widths.

    `d_attend` is the width of all `n_head` heads together, `d_kv` that of the key heads; `has_norms_after` is whether a
    layer has four norms instead of two.
    """

    n_parameter: int
    n_vocabulary_parameter: int
    n_layer: int
    d_model: int
    d_key: int
    d_vocab: int
    n_head: int
    d_attend: int
    d_kv: int
    has_norms_after: bool

    def weight_bytes(self, weights: WeightFormat) -> int:
        """Return the bytes of all weights. In 8 and 4 bits, the tables of the vocabulary keep the dtype."""
        if weights.bits >= 16:
            return self.n_parameter * weights.dtype.itemsize
        rest = self.n_parameter - self.n_vocabulary_parameter
        return int(_SCALES * rest * weights.bits / 8) + self.n_vocabulary_parameter * weights.dtype.itemsize

    @classmethod
    def of_config(cls, config: Any) -> ModelShape:
        """Read the sizes from a checked config (`read_config`); no memory for weights is taken."""
        return cls.of_model(outline(config), config)

    @classmethod
    def of_model(cls, model: nn.Module, config: Any) -> ModelShape:
        """Read the sizes of a model of this config."""
        family = family_of(config)
        tables = {id(module): module for module in (model.get_input_embeddings(), model.get_output_embeddings())}  # type: ignore[operator]
        weights = {id(p): p.numel() for module in tables.values() if module is not None for p in module.parameters()}
        n_head = int(config.num_attention_heads)
        d_model = int(config.hidden_size)
        d_head = int(getattr(config, "head_dim", None) or d_model // n_head)
        n_kv = int(getattr(config, "num_key_value_heads", None) or n_head)
        embedding = model.get_input_embeddings()  # type: ignore[operator]
        return cls(
            n_parameter=sum(parameter.numel() for parameter in model.parameters()),
            n_vocabulary_parameter=sum(weights.values()),
            n_layer=len(family.decoder_layers(model)),
            d_model=int(embedding.weight.shape[1]),
            d_key=family.key_width(model),
            d_vocab=int(embedding.weight.shape[0]),
            n_head=n_head,
            d_attend=n_head * d_head,
            d_kv=n_kv * d_head,
            has_norms_after=family.write_norm is not None,
        )


def format_of(dtype: torch.dtype) -> WeightFormat:
    """Return the format of weights in this dtype."""
    return next(row for row in FORMATS.values() if row.bits == 8 * row.dtype.itemsize and row.dtype is dtype)


def check_weights_fit(shape: ModelShape, dtype: torch.dtype, *, device: torch.device, name: str) -> None:
    """Refuse weights that do not fit into memory, before they are read.

    They are read on the CPU and then moved, so they must fit there too.

    Raises:
        MemoryLimitError: if they do not fit; gives needed and free memory, and what fits.
    """
    need = shape.n_parameter * dtype.itemsize
    for place in dict.fromkeys((device, torch.device("cpu"))):
        free = free_memory(place)
        if free is not None and need > free:
            raise MemoryLimitError(
                f"The weights of {name!r} take {gigabytes(need)} and {gigabytes(free)} are free on {place}. "
                f"{_ways(shape, dtype, free)}"
            )


def _ways(shape: ModelShape, dtype: torch.dtype, free: int) -> str:
    """Say which formats of the weights fit."""
    smaller = [row for row in FORMATS.values() if row.bits < 8 * dtype.itemsize and row.name != "float16"]
    fitting = [row for row in smaller if shape.weight_bytes(row) <= free]
    sizes = " or ".join(f"{row.name} ({gigabytes(shape.weight_bytes(row))})" for row in fitting)
    spread = "Spread it over devices with device_map='auto' (--device-map auto), or take a smaller model."
    return f"What fits: {sizes}. {spread}" if fitting else f"No format of it fits. {spread}"
