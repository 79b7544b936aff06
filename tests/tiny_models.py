"""Random language models of every family, small enough to be built in milliseconds, and a tokenizer for them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from tokenizers import decoders as decoders_of
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from kgmet.lm.load.loaded import LoadedLM, wrap_lm

__all__ = ["FAMILY_KINDS", "N_LAYER", "tiny_lm", "tiny_model", "tiny_tokenizer"]

N_LAYER = 4
D_MODEL, D_KEY = 32, 48
_BOS, _EOS, _PAD = "<s>", "</s>", "<pad>"

_CORPUS = [
    "The Eiffel Tower is located in the city of Paris, in France. The Louvre is located in the city of Paris too.",
    "The capital of Germany is Berlin. The capital of Italy is Rome, and the language spoken in Rome is Italian.",
    "Big Ben is located in the city of London. She wrote in her notebook: It is well known. In the news today:",
    "Question and answer. As the guide said, what follows is a short text about towers, cities, rivers and countries.",
]

_COMMON: dict[str, Any] = {
    "hidden_size": D_MODEL,
    "intermediate_size": D_KEY,
    "num_hidden_layers": N_LAYER,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
_HEAD = {"head_dim": 8}
_ROPE3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _COMMON),
    "llama3": ("llama", _COMMON | {"rope_parameters": _ROPE3, "tie_word_embeddings": True}),
    "mistral": ("mistral", _COMMON | {"sliding_window": None}),
    "mistral-sliding": ("mistral", _COMMON | {"sliding_window": 6}),
    "qwen2": ("qwen2", _COMMON),
    "qwen3": ("qwen3", _COMMON | _HEAD),
    "gemma2": ("gemma2", _COMMON | _HEAD | {"sliding_window": 6, "query_pre_attn_scalar": 8}),
    "gemma3": ("gemma3_text", _COMMON | _HEAD | {"sliding_window": 6, "query_pre_attn_scalar": 8}),
    "olmo": ("olmo", _COMMON),
    "olmo2": ("olmo2", _COMMON),
    "gpt2": ("gpt2", {"n_embd": D_MODEL, "n_layer": N_LAYER, "n_head": 4, "n_inner": D_KEY, "n_positions": 128}),
    "gptj": (
        "gptj",
        {"n_embd": D_MODEL, "n_layer": N_LAYER, "n_head": 4, "n_inner": D_KEY, "n_positions": 128, "rotary_dim": 4},
    ),
    "gpt_neox": ("gpt_neox", _COMMON),
    "phi": ("phi", _COMMON),
    "phi3": ("phi3", _COMMON | {"pad_token_id": 2}),
}

FAMILY_KINDS = tuple(_KINDS)
"""One for each row of the table of families, and one for each variant that behaves otherwise."""


@functools.cache
def tiny_tokenizer(*, bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 400 tokens, with a BOS token in front of every text or without."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders_of.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=[_BOS, _EOS, _PAD], initial_alphabet=alphabet, show_progress=False
        ),
    )
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{_BOS} $A", special_tokens=[(_BOS, tokenizer.token_to_id(_BOS))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=_BOS, eos_token=_EOS, pad_token=_PAD)


def tiny_model(kind: str, *, seed: int = 0) -> Any:
    """A random float32 model. Weights are larger than at the start of a training, so that every part matters."""
    model_type, settings = _KINDS[kind]
    n_token = len(tiny_tokenizer())
    spread = {"initializer_range": 0.2, "vocab_size": n_token, "bos_token_id": 0, "eos_token_id": 1}
    config = CONFIG_MAPPING[model_type](**(spread | settings))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval()


@functools.cache
def tiny_lm(kind: str = "llama", *, bos: bool = False, dtype: torch.dtype = torch.float32, seed: int = 0) -> LoadedLM:
    """A random model behind our wrapper. Shared between tests: nothing may write to it."""
    return wrap_lm(tiny_model(kind, seed=seed).to(dtype), tiny_tokenizer(bos=bos), name=f"tiny {kind}")
