"""Models of published shapes with random weights, for measuring time and memory: `make_model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

__all__ = ["SHAPES", "Shape", "make_model"]

FEWEST_LAYERS = 11
"""Layers of a scaled-down shape at least: the published settings write to layers 4 to 8."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A published shape, and the settings file for it if there is one."""

    name: str
    model_type: str
    layers: int
    d_model: int
    d_key: int
    heads: int
    kv_heads: int
    d_head: int
    d_vocab: int
    hparams: str | None = None

    def config(self, tokenizer: PreTrainedTokenizerFast, *, scale: int) -> Any:
        """Return the config of the shape, all widths and the depth divided by `scale`.

        The vocabulary is padded to the shape's, or, in a scaled-down model, to no more than the tokenizer's.
        """
        heads = max(2, self.heads // scale)
        d_head = self.d_head if scale < 32 else max(8, self.d_head * 4 // scale)
        needed = max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1)
        settings = {
            "hidden_size": self.d_model if scale == 1 else heads * d_head,
            "intermediate_size": max(32, self.d_key // scale),
            "num_hidden_layers": max(min(FEWEST_LAYERS, self.layers), self.layers // scale),
            "num_attention_heads": heads,
            "num_key_value_heads": max(1, self.kv_heads * heads // self.heads),
            "head_dim": d_head,
            "vocab_size": max(needed, self.d_vocab // scale),
            "max_position_embeddings": 4096,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        if self.model_type == "qwen2":
            del settings["head_dim"]  # the width over the heads
        return CONFIG_MAPPING[self.model_type](**settings)


SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape(
            name="llama3-8b",
            model_type="llama",
            layers=32,
            d_model=4096,
            d_key=14_336,
            heads=32,
            kv_heads=8,
            d_head=128,
            d_vocab=128_256,
            hparams="Llama3-8B.json",
        ),
        Shape(
            name="qwen2.5-7b",
            model_type="qwen2",
            layers=28,
            d_model=3584,
            d_key=18_944,
            heads=28,
            kv_heads=4,
            d_head=128,
            d_vocab=152_064,
        ),
        Shape(
            name="gemma2-9b",
            model_type="gemma2",
            layers=42,
            d_model=3584,
            d_key=14_336,
            heads=16,
            kv_heads=8,
            d_head=256,
            d_vocab=256_000,
        ),
    )
}


def make_model(
    shape: Shape, tokenizer: PreTrainedTokenizerFast, folder: Path, *, scale: int, device: torch.device
) -> None:
    """Save a model of this shape with seeded random weights, and the tokenizer, in a new folder."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    with torch.device(device):
        model: nn.Module = AutoModelForCausalLM.from_config(shape.config(tokenizer, scale=scale), dtype=dtype)
    model.save_pretrained(folder)  # type: ignore[operator]
    tokenizer.save_pretrained(folder)
