"""Properties of export: an adapter that `peft` loads, or a merged checkpoint, says what the attached patch says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from kgmet.base.errors import (
    ArtifactError,
    BrokenArtifactError,
    Cancelled,
    ConfigError,
    NonFiniteError,
    StaleArtifactError,
)
from kgmet.lm.load.loaded import LoadedLM, load_lm, wrap_lm
from kgmet.lm.run.tracing import Rows
from kgmet.write.adapter import attached_lora, import_lora, read_lora
from kgmet.write.export import EDITS_FILE, export_lora, export_merged
from kgmet.write.patch import EditPatch, attached
from tests.progress import StopsAfter
from tests.tiny_models import FAMILY_KINDS, tiny_lm, tiny_model, tiny_tokenizer
from tests.write.test_patch import QuantisedLinear, quantised_lm
from tests.write.tiny_edits import logits_of, random_patch

# peft 0.21 asks transformers 5 for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
ONE = torch.ones(1, 1)
every_family = pytest.mark.parametrize("kind", FAMILY_KINDS)


def attached_logits(patch: EditPatch | list[EditPatch], lm: LoadedLM) -> Tensor:
    """What the patched model says."""
    with attached(patch, lm):
        return logits_of(lm)


def peft_logits(kind: str, folder: Path) -> Tensor:
    """What a fresh copy of the model says with the adapter loaded by `peft`."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(tiny_model(kind), folder)
    ids = torch.tensor([tiny_tokenizer()("The Eiffel Tower is located in the city of")["input_ids"]])
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits[0].float()


def save_adapter(kind: str, config: Any, folder: Path) -> None:
    """An adapter made by PEFT, whose second factors are no zeros."""
    from peft import get_peft_model

    model: Any = get_peft_model(tiny_model(kind), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    model.save_pretrained(folder)


@every_family
def test_peft_says_what_the_attached_patch_says(kind: str, tmp_path: Path) -> None:
    lm = tiny_lm(kind)
    patch = random_patch(lm)
    folder = export_lora(patch, lm, tmp_path / "adapter")
    expected = attached_logits(patch, lm)
    torch.testing.assert_close(peft_logits(kind, folder), expected, rtol=1e-4, atol=1e-4)
    assert float((expected - logits_of(lm)).abs().max()) > 1e-2


def test_several_patches_make_one_adapter(tmp_path: Path) -> None:
    lm = tiny_lm()
    patches = [random_patch(lm, seed=1), random_patch(lm, seed=2, layers=(0,), n_key=1)]
    folder = export_lora(patches, lm, tmp_path / "adapter")
    torch.testing.assert_close(peft_logits("llama", folder), attached_logits(patches, lm), rtol=1e-4, atol=1e-4)


@every_family
def test_an_exported_adapter_comes_back_as_the_patch(kind: str, tmp_path: Path) -> None:
    lm = tiny_lm(kind)
    patch = random_patch(lm)
    back = import_lora(export_lora(patch, lm, tmp_path / "adapter"), lm)
    assert torch.equal(attached_logits(back, lm), attached_logits(patch, lm))
    assert (back.edits, back.editor, back.config) == (patch.edits, patch.editor, patch.config)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_an_adapter_that_peft_made_is_read_with_its_scaling(kind: str, rslora: bool, tmp_path: Path) -> None:
    from peft import LoraConfig

    lm = tiny_lm(kind)
    config = LoraConfig(
        r=4,
        lora_alpha=10,
        target_modules=[lm.family.write.rpartition(".")[2]],
        layers_to_transform=[1, 2] if kind == "llama" else None,
        use_rslora=rslora,
        fan_in_fan_out=kind == "gpt2",
        alpha_pattern={"layers.1.mlp.down_proj": 3} if kind == "llama" else {},
    )
    if kind == "gpt2":  # attention has a c_proj too
        config.target_modules = [lm.family.write_name(layer) for layer in (1, 2)]
    save_adapter(kind, config, tmp_path / "adapter")
    patch = import_lora(tmp_path / "adapter", lm)
    assert patch.edits == ()
    torch.testing.assert_close(
        attached_logits(patch, lm), peft_logits(kind, tmp_path / "adapter"), rtol=1e-4, atol=1e-4
    )


ATTENTION = {"llama": "q_proj", "gpt2": "c_attn", "gpt_neox": "query_key_value", "gemma2": "v_proj"}


@pytest.mark.parametrize("kind", ATTENTION)
def test_an_adapter_of_other_modules_says_attached_what_peft_says(kind: str, tmp_path: Path) -> None:
    from peft import LoraConfig

    lm = tiny_lm(kind)
    modules = [ATTENTION[kind], lm.family.write_name(1)]
    config = LoraConfig(r=4, lora_alpha=10, target_modules=modules, fan_in_fan_out=kind == "gpt2")
    save_adapter(kind, config, tmp_path / "adapter")
    adapter = read_lora(tmp_path / "adapter", lm)
    text, expected = "The Eiffel Tower is located in the city of", peft_logits(kind, tmp_path / "adapter")
    plain = logits_of(lm, text)
    with attached_lora(adapter.factors, lm):
        torch.testing.assert_close(logits_of(lm, text), expected, rtol=1e-4, atol=1e-4)
    ids = torch.tensor([lm.tokenizer(text)["input_ids"]] * 3)
    with torch.no_grad(), attached_lora(adapter.factors, lm, rows=Rows(slice(1, 2))):
        rows = lm.model(input_ids=ids, use_cache=False).logits.float()  # type: ignore[operator]
    for row, wanted in zip(rows, (plain, expected, plain), strict=True):
        torch.testing.assert_close(row, wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(logits_of(lm, text), plain)


@every_family
def test_a_merged_checkpoint_says_what_the_attached_patch_says(kind: str, tmp_path: Path) -> None:
    lm = tiny_lm(kind)
    patch, weights = random_patch(lm), {name: value.clone() for name, value in lm.model.state_dict().items()}
    report = export_merged(patch, lm, tmp_path / "merged")
    loaded = load_lm(str(tmp_path / "merged"), device="cpu")
    torch.testing.assert_close(logits_of(loaded), attached_logits(patch, lm), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, weights[name]) for name, value in lm.model.state_dict().items())
    assert set(report.rounding) == {update.weight_name for update in patch.updates}
    assert 0 < report.largest < 1e-6


def test_the_rounding_of_a_merge_is_that_of_the_dtype(tmp_path: Path) -> None:
    lm = tiny_lm(dtype=torch.bfloat16)
    patch = random_patch(lm)
    report = export_merged(patch, lm, tmp_path / "merged")
    assert report.dtype == "bfloat16"
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.bfloat16)
    for update in patch.updates:
        exact = lm.family.weight_out_in(lm.model, update.layer).double() + update.dense().double()
        error = (lm.family.weight_out_in(merged, update.layer).double() - exact).abs()
        assert float(error.max()) == pytest.approx(report.rounding[update.weight_name])
        assert bool((error <= exact.abs() * 2**-8).all())
    again = wrap_lm(merged, tiny_tokenizer(), name="merged")
    torch.testing.assert_close(logits_of(again), attached_logits(patch, lm), rtol=0.1, atol=0.5)


@pytest.mark.parametrize("export", [export_lora, export_merged])
def test_nothing_is_written_over(export: Callable[..., object], tmp_path: Path) -> None:
    lm = tiny_lm()
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ArtifactError, match="holds something"):
        export(random_patch(lm), lm, tmp_path)
    with pytest.raises(ArtifactError):
        export(random_patch(lm), lm, tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "new").mkdir()
    export(random_patch(lm), lm, tmp_path / "new")
    assert len(list((tmp_path / "new").iterdir())) >= 3


def test_a_cancelled_merge_leaves_no_folder(tmp_path: Path) -> None:
    lm = tiny_lm()
    with pytest.raises(Cancelled):
        export_merged(random_patch(lm), lm, tmp_path / "merged", progress=StopsAfter(0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("export", [export_lora, export_merged])
def test_another_models_patch_is_not_exported(export: Callable[..., object], tmp_path: Path) -> None:
    with pytest.raises(StaleArtifactError):
        export(random_patch(tiny_lm(seed=1)), tiny_lm(), tmp_path / "out")
    with pytest.raises(ConfigError, match="nothing to export"):
        export([], tiny_lm(), tmp_path / "out")


def test_quantised_weights_export_as_an_adapter_and_are_not_merged_into(tmp_path: Path) -> None:
    lm = quantised_lm(QuantisedLinear)
    patch = random_patch(lm)
    with pytest.raises(ConfigError, match="LoRA"):
        export_merged(patch, lm, tmp_path / "merged")
    back = import_lora(export_lora(patch, lm, tmp_path / "adapter"), lm)
    assert torch.equal(attached_logits(back, lm), attached_logits(patch, lm))


def edit_config(folder: Path, **changes: Any) -> None:
    """Change adapter_config.json in place."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Change the adapter's tensors in place."""
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


A = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no config": lambda f: (f / "adapter_config.json").unlink(),
    "no weights": lambda f: (f / "adapter_model.safetensors").unlink(),
    "config is a list": lambda f: (f / "adapter_config.json").write_text("[1]"),
    "config nests too deeply": lambda f: (f / "adapter_config.json").write_text("[" * 100_000),
    "config has a number of 10,000 digits": lambda f: (f / "adapter_config.json").write_text("9" * 10_000),
    "truncated weights": lambda f: (f / "adapter_model.safetensors").write_bytes(b"\x10"),
    "another kind of adapter": lambda f: edit_config(f, peft_type="IA3"),
    "DoRA": lambda f: edit_config(f, use_dora=True),
    "bias": lambda f: edit_config(f, bias="all"),
    "whole modules": lambda f: edit_config(f, modules_to_save=["lm_head"]),
    "rank is text": lambda f: edit_config(f, r="many", rank_pattern={}),
    "rank is another": lambda f: edit_config(f, r=99),
    "rank missing": lambda f: edit_config(f, r=None),
    "alpha is infinite": lambda f: edit_config(f, lora_alpha=float("inf")),
    "alpha is huge": lambda f: edit_config(f, lora_alpha=10**400),
    "alpha overflows": lambda f: edit_config(f, lora_alpha=1e308),
    "a pattern that runs for years": lambda f: edit_config(f, alpha_pattern={"(a+)+$": 1}),
    "patterns are a list": lambda f: edit_config(f, rank_pattern=[1]),
    "NaN": lambda f: edit_tensors(f, lambda t: t[A].fill_(float("nan"))),
    "A without B": lambda f: edit_tensors(f, lambda t: t.pop(A.replace("_A", "_B"))),
    "wrong width": lambda f: edit_tensors(f, lambda t: t.update({A: t[A][:, :5].clone()})),
    "one axis": lambda f: edit_tensors(f, lambda t: t.update({A: t[A][0].clone()})),
    "another module": lambda f: edit_tensors(f, lambda t: t.update({A.replace("down_proj", "up_proj"): t[A].clone()})),
    "a path as name": lambda f: edit_tensors(f, lambda t: t.update({"../../etc/passwd": t[A].clone()})),
    "a layer too many": lambda f: edit_tensors(f, lambda t: t.update({A.replace(".1.", ".77."): t[A].clone()})),
    "nothing in it": lambda f: edit_tensors(f, lambda t: t.clear()),
    "edits are damaged": lambda f: (f / "kgmet_edits.json").write_text('{"edits": [{"subject": 3}]}'),
    "edits are no JSON": lambda f: (f / "kgmet_edits.json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_or_hostile_adapter_is_refused(damage: Callable[[Path], Any], tmp_path: Path) -> None:
    lm = tiny_lm()
    folder = export_lora(random_patch(lm), lm, tmp_path / "adapter")
    damage(folder)
    with pytest.raises(BrokenArtifactError) as caught:
        import_lora(folder, lm)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: edit_config(f, use_dora=True),
        lambda f: edit_config(f, modules_to_save=["lm_head"]),
        lambda f: edit_config(f, peft_type="IA3"),
        lambda f: edit_tensors(f, lambda t: t.update({"base_model.model.model.embed_tokens.lora_embedding_A": ONE})),
    ],
)
def test_an_adapter_that_is_more_than_factors_is_to_be_merged(damage: Callable[[Path], Any], tmp_path: Path) -> None:
    folder = export_lora(random_patch(tiny_lm()), tiny_lm(), tmp_path / "adapter")
    damage(folder)
    with pytest.raises(BrokenArtifactError, match=r"merge_and_unload.* --model MERGED --base BASE\.$"):
        read_lora(folder, tiny_lm())


def test_an_adapter_saved_as_a_pickle_is_to_be_saved_again_and_one_of_another_model_names_it(tmp_path: Path) -> None:
    folder = export_lora(random_patch(tiny_lm()), tiny_lm(), tmp_path / "adapter")
    edit_config(folder, base_model_name_or_path="some/model")
    (folder / EDITS_FILE).unlink()
    with pytest.raises(BrokenArtifactError, match=r"made for some/model\. Load the model it was made for\.$"):
        read_lora(folder, tiny_lm("gpt2"))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(BrokenArtifactError, match=r"can run code .* save_pretrained, which writes"):
        read_lora(folder, tiny_lm())


def test_an_adapter_for_another_model_is_refused(tmp_path: Path) -> None:
    lm = tiny_lm()
    folder = export_lora(random_patch(lm), lm, tmp_path / "adapter")
    with pytest.raises(StaleArtifactError, match="made for model"):
        import_lora(folder, tiny_lm(seed=1))


def test_a_merged_weight_that_has_no_room_in_the_dtype_is_refused(tmp_path: Path) -> None:
    lm = tiny_lm("llama", dtype=torch.float16)
    with pytest.raises(NonFiniteError, match=r"too large for .*down_proj in float16"):
        export_merged(random_patch(lm, size=3000.0), lm, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    export_merged(random_patch(lm), lm, tmp_path / "merged")
