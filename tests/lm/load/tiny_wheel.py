"""A wheel with a tiny GGUF language model in it, for tests that must not download anything."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from transformers.convert_slow_tokenizer import bytes_to_unicode

from kgmet.lm.load.bundled_table import BundledModel
from kgmet.lm.load.wheels import Wheel, sha256_of

NAME = "bundled:tiny"
PROJECT, VERSION = "kgmet-tiny-model", "1.0"
D_MODEL, D_KEY, HEADS, LAYERS = 32, 64, 4, 2
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("Ġ Ġ", "P a", "r i", "Pa ri", "Pari s", "1 9")


def write_gguf(path: Path, *, seed: int) -> None:
    """A llama of two layers with a byte-level tokenizer; float32, output tied to the embedding."""
    tokens = [*SPECIAL, *bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in MERGES)]
    kinds = [TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(D_MODEL)
    writer.add_feed_forward_length(D_KEY)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    for name, shape in _shapes(len(tokens)).items():
        writer.add_tensor(name, np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 0.1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _shapes(n_token: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (n_token, D_MODEL), "output_norm.weight": (D_MODEL,)}
    for layer in range(LAYERS):
        block = {f"attn_{part}": (D_MODEL, D_MODEL) for part in ("q", "k", "v", "output")}
        block |= {"ffn_gate": (D_KEY, D_MODEL), "ffn_up": (D_KEY, D_MODEL), "ffn_down": (D_MODEL, D_KEY)}
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in block.items()}
        shapes |= {f"blk.{layer}.{name}.weight": (D_MODEL,) for name in ("attn_norm", "ffn_norm")}
    return shapes


def write_wheel(folder: Path, gguf: Path) -> BundledModel:
    """Pack `gguf` into a wheel in `folder` that pip accepts; the row that describes it."""
    stem = f"{PROJECT.replace('-', '_')}-{VERSION}"
    path = folder / f"{stem}-py3-none-any.whl"
    info = f"{stem}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(gguf, "tiny/model.gguf")
        wheel.writestr(f"{info}/LICENSE", "Apache License")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PROJECT}\nVersion: {VERSION}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return BundledModel(
        name=NAME,
        title="Tiny",
        wheels=(Wheel(project=PROJECT, version=VERSION, sha256=sha256_of(path), size=path.stat().st_size),),
        parts=((0, "tiny/model.gguf"),),
        papers=((0, f"{info}/LICENSE"),),
        gguf_sha256=sha256_of(gguf),
        gguf_size=gguf.stat().st_size,
        disk_bytes=1 << 20,
        licence="Apache-2.0",
        notice="Random weights.",
    )
