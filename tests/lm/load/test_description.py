"""A model folder is checked before memory is taken: what it cannot be is refused by name, with the reason."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from kgmet.base.errors import BrokenModelError, MemoryLimitError, ModelError, UnsupportedModelError
from kgmet.lm.load.description import read_config
from kgmet.lm.load.loaded import load_lm
from kgmet.lm.load.shape import ModelShape
from kgmet.write.patch import attached
from tests.tiny_models import D_KEY, D_MODEL, FAMILY_KINDS, N_LAYER, tiny_model, tiny_tokenizer
from tests.write.tiny_edits import logits_of, random_patch

TEXT: dict[str, Any] = {
    "hidden_size": D_MODEL,
    "intermediate_size": D_KEY,
    "num_hidden_layers": N_LAYER,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "vocab_size": len(tiny_tokenizer()),
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_SEEING = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
_QWEN = {"hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "depth": 1, "patch_size": 14}
_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
WRAPPERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gemma3": (
        TEXT | {"head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8},
        {"vision_config": _SEEING | {"num_hidden_layers": 1}, "mm_tokens_per_image": 4},
    ),
    "mistral3": (
        TEXT | {"model_type": "mistral", "head_dim": 8, "sliding_window": None},
        {"vision_config": _SEEING | {"model_type": "pixtral", "num_hidden_layers": 1, "head_dim": 8}},
    ),
    "llava": (
        TEXT | {"model_type": "llama"},
        {"vision_config": _SEEING | {"model_type": "clip_vision_model", "num_hidden_layers": 1, "projection_dim": 16}},
    ),
    "qwen2_vl": (
        TEXT | {"rope_parameters": _MROPE},
        {"vision_config": {"embed_dim": 16, "hidden_size": D_MODEL, "num_heads": 2, "depth": 1, "patch_size": 14}},
    ),
    "qwen2_5_vl": (
        TEXT | {"rope_parameters": _MROPE},
        {"vision_config": _QWEN | {"out_hidden_size": D_MODEL, "fullatt_block_indexes": [0]}},
    ),
    "qwen3_vl": (
        TEXT | {"head_dim": 8, "rope_parameters": _MROPE},
        {"vision_config": _QWEN | {"out_hidden_size": D_MODEL, "deepstack_visual_indexes": [0]}},
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny Llama as files."""
    tiny_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def changed(folder: Path, **changes: Any) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return str(folder)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", WRAPPERS)
def test_the_text_part_of_a_model_that_sees_is_loaded_and_edited(kind: str, tied: bool, tmp_path: Path) -> None:
    text, rest = WRAPPERS[kind]
    text = text | {"tie_word_embeddings": tied}
    config = CONFIG_MAPPING[kind](text_config=text, image_token_id=5, tie_word_embeddings=tied, **rest)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole: Any = AutoModelForImageTextToText.from_config(config).eval()
    whole.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    lm = load_lm(str(tmp_path), device="cpu")
    assert (lm.n_layer, lm.d_model, lm.d_key) == (N_LAYER, D_MODEL, D_KEY)
    assert lm.n_parameter < sum(p.numel() for p in whole.parameters())
    assert lm.config.tie_word_embeddings == tied
    ids = torch.tensor([tiny_tokenizer()("The Eiffel Tower is located in the city of")["input_ids"]])
    with torch.no_grad():
        expected = whole(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].float()
    before = logits_of(lm)
    torch.testing.assert_close(before, expected, rtol=1e-4, atol=1e-4)
    with attached(random_patch(lm), lm):
        assert not torch.allclose(logits_of(lm), before)
    assert torch.equal(logits_of(lm), before)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        *(
            (kind, "mixture of experts")
            for kind in ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v3", "dbrx")
        ),
        *((kind, "mixture of experts") for kind in ("gpt_oss", "llama4", "llama4_text", "granitemoe", "phimoe")),
        *((kind, "state-space") for kind in ("mamba", "mamba2", "falcon_mamba", "rwkv", "recurrent_gemma", "bamba")),
        *((kind, "state-space") for kind in ("jamba", "zamba2")),
        *((kind, "encoder-decoder") for kind in ("t5", "bart", "mt5", "pegasus")),
        ("bert", "are not supported yet"),
        ("bloom", "are not supported yet"),
    ],
)
def test_other_kinds_of_model_are_refused_by_name_with_the_reason(kind: str, why: str, tmp_path: Path) -> None:
    CONFIG_MAPPING[kind]().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=why) as caught:
        load_lm(str(tmp_path), device="cpu")
    assert kind.removesuffix("_text") in str(caught.value)
    with pytest.raises(UnsupportedModelError, match=why):
        ModelShape.of_config(read_config(str(tmp_path))[0])


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": "x"},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 4.5},
        {"hidden_size": 10**9},
        {"vocab_size": 10**12},
        {"vocab_size": None},
        {"num_attention_heads": 0},
        {"num_key_value_heads": 3},
        {"intermediate_size": -5},
        {"rope_parameters": "x"},
        {"hidden_act": "no such thing"},
        {"dtype": "no such type"},
        {"model_type": ["llama"]},
        {"rms_norm_eps": "x"},
    ],
    ids=str,
)
def test_a_config_that_describes_no_model_is_refused_before_memory_is_taken(
    change: dict[str, Any], folder: Path
) -> None:
    source = changed(folder, **change)
    with pytest.raises(ModelError):
        load_lm(source, device="cpu")
    with contextlib.suppress(ModelError):  # it counts, or says why it cannot
        ModelShape.of_config(read_config(source)[0])


def test_a_model_larger_than_the_memory_or_than_its_files_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgmet.lm.load.shape.free_memory", lambda device: 1000)
    with pytest.raises(MemoryLimitError, match=r"MB are free on cpu\. No format of it fits\. Spread it over devices"):
        load_lm(str(folder), device="cpu")
    monkeypatch.undo()
    with pytest.raises(BrokenModelError, match="describes a model of"):
        load_lm(changed(folder, intermediate_size=1 << 20), device="cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
def test_a_config_with_fewer_layers_than_the_weights_is_refused(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    tiny_model(kind).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    changes: dict[str, Any] = {"n_layer" if kind == "gpt2" else "num_hidden_layers": 3}
    with pytest.raises(BrokenModelError, match=r"hold 4 layers and its config\.json names 3"):
        load_lm(changed(tmp_path, **changes), device="cpu", dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(bad: float, dtype: torch.dtype, folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.2.mlp.down_proj.weight"][3, 4] = bad
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(BrokenModelError, match=r"layers\.2\.mlp\.down_proj\.weight.*NaN or infinity"):
        load_lm(str(folder), device="cpu", dtype=dtype)


def test_a_number_too_large_for_the_dtype_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][0] = 1e6
    save_file(weights, path, metadata={"format": "pt"})
    load_lm(str(folder), device="cpu")
    with pytest.raises(BrokenModelError, match=r"model\.norm\.weight.*another dtype than float16"):
        load_lm(str(folder), device="cpu", dtype=torch.float16)


@pytest.mark.parametrize("kind", FAMILY_KINDS)
def test_parameters_are_counted_without_making_any(kind: str, tmp_path: Path) -> None:
    model = tiny_model(kind)
    model.save_pretrained(tmp_path)
    config, is_part = read_config(str(tmp_path))
    assert not is_part
    assert ModelShape.of_config(config).n_parameter == sum(parameter.numel() for parameter in model.parameters())
    assert torch.get_default_dtype() is torch.float32
