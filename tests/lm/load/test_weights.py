"""Properties of reading weights: the quick way gives what transformers' own loader gives, or leaves it to that."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from kgmet.base.errors import BrokenModelError
from kgmet.lm.load.loaded import load_lm
from kgmet.lm.load.weights import read_exact, uncollected
from tests.tiny_models import FAMILY_KINDS, tiny_lm, tiny_model, tiny_tokenizer
from tests.write.tiny_edits import logits_of

CPU = torch.device("cpu")


def saved(kind: str, folder: Path, **how: Any) -> Path:
    """A tiny model as files."""
    tiny_model(kind).save_pretrained(folder, **how)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def state_of(model: Any) -> dict[str, Tensor]:
    """Parameters and buffers, also those that are not saved."""
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))


@pytest.mark.parametrize("kind", FAMILY_KINDS)
def test_every_family_is_read_as_transformers_reads_it(kind: str, tmp_path: Path) -> None:
    folder = saved(kind, tmp_path)
    ours: Any = read_exact(folder, AutoConfig.from_pretrained(folder), device=CPU)
    if kind == "gpt_neox":
        assert ours is None, "transformers writes other names than the modules have"
        return
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert type(ours) is type(theirs)
    assert state_of(ours).keys() == state_of(theirs).keys()
    for name, value in state_of(theirs).items():
        assert state_of(ours)[name].dtype is value.dtype, name
        assert torch.equal(state_of(ours)[name], value), name
    tied = [model.get_output_embeddings().weight is model.get_input_embeddings().weight for model in (ours, theirs)]
    assert tied[0] == tied[1]
    assert ours.generation_config.to_dict() == theirs.generation_config.to_dict()


@pytest.mark.parametrize("kind", FAMILY_KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_family_loads_as_the_model_that_was_saved(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = saved(kind, tmp_path)
    lm, theirs = load_lm(str(folder), device="cpu", dtype=dtype), tiny_lm(kind)
    assert lm.dtype is dtype
    cosine = torch.cosine_similarity(logits_of(lm).float(), logits_of(theirs), dim=-1)
    assert bool((cosine > (0.99 if dtype is torch.bfloat16 else 1 - 1e-6)).all())


def test_loading_draws_no_random_number(tmp_path: Path) -> None:
    folder = saved("gpt2", tmp_path)
    before = torch.get_rng_state()
    load_lm(str(folder), device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def without_prefix(folder: Path) -> None:
    """Names of a GPT-2 as it was first published."""
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name.removeprefix("transformer."): value for name, value in weights.items()}, folder / "model.safetensors"
    )


def in_shards(folder: Path) -> None:
    """Several files and their index."""
    (folder / "model.safetensors").unlink()
    tiny_model("gpt2").save_pretrained(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").is_file()


def test_a_large_file_is_left_to_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved("gpt2", tmp_path)
    monkeypatch.setattr("kgmet.lm.load.weights._LARGEST", 1000)
    assert read_exact(folder, AutoConfig.from_pretrained(folder), device=CPU) is None


@pytest.mark.parametrize("change", [without_prefix, in_shards])
def test_what_is_not_exact_is_left_to_transformers(change: Any, tmp_path: Path) -> None:
    folder = saved("gpt2", tmp_path)
    change(folder)
    assert read_exact(folder, AutoConfig.from_pretrained(folder), device=CPU) is None
    lm = load_lm(str(folder), device="cpu")
    assert lm.fingerprint == tiny_lm("gpt2").fingerprint
    assert torch.equal(logits_of(lm), logits_of(tiny_lm("gpt2")))


def test_a_missing_weight_is_an_error_and_not_a_random_one(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(BrokenModelError, match=r"lack 1 .*layers\.1\.mlp\.down_proj"):
        load_lm(str(folder), device="cpu")


def test_weights_of_another_shape_are_an_error(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    with pytest.raises(BrokenModelError, match="do not fit"):
        load_lm(str(folder), device="cpu")


def test_garbage_is_looked_for_again_afterwards_also_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError, match="inside"), uncollected():
        assert not gc.isenabled()
        raise ValueError("inside")
    assert gc.isenabled()


def test_who_had_switched_the_search_off_finds_it_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
