"""Properties of loading: the same model from any source and placement; errors name a way out."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from kgmet.base.errors import BrokenModelError, ModelError, ModelNotFoundError, UnsupportedModelError
from kgmet.lm.load.loaded import LoadedLM, load_lm, wrap_lm
from kgmet.write.config import WriteConfig
from kgmet.write.layers import solve_layers
from kgmet.write.patch import attached, attached_updates
from kgmet.write.writer import NullSpaceWriter
from tests.progress import Recorded
from tests.tiny_models import FAMILY_KINDS, tiny_lm, tiny_model, tiny_tokenizer
from tests.write.tiny_edits import TOP, all_free, logits_of, random_patch, rows_of, shifts_of

# Accelerate says so itself; it is what the test asks for.
pytestmark = pytest.mark.filterwarnings("ignore:.*meta device:UserWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny Llama as files."""
    tiny_model("llama").save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_loads_as_the_model_it_holds(folder: Path) -> None:
    heard, there = Recorded(), tiny_lm()
    lm = load_lm(str(folder), device="cpu", progress=heard)
    assert torch.equal(logits_of(lm), logits_of(there))
    assert lm.fingerprint == there.fingerprint, "the same model, wherever it came from"
    assert (lm.name, lm.dtype, lm.device) == (str(folder), torch.float32, torch.device("cpu"))
    assert [event.done for event in heard.events] == [0, 2]
    assert not lm.model.training
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())
    assert lm.n_parameter == sum(parameter.numel() for parameter in lm.model.parameters())


def test_a_moved_folder_is_the_same_model_and_another_precision_is_not(folder: Path) -> None:
    before = load_lm(str(folder), device="cpu").fingerprint
    assert load_lm(str(folder), device="cpu", dtype=torch.bfloat16).fingerprint != before
    moved = folder.rename(folder.with_name("elsewhere"))
    assert load_lm(str(moved), device="cpu").fingerprint == before


def spread_out(kind: str, where: str, tmp_path: Path) -> LoadedLM:
    """A tiny model whose weights are kept on disk or brought in when needed."""
    from accelerate import cpu_offload, disk_offload

    model: Any = tiny_model(kind)
    if where == "memory":
        cpu_offload(model, execution_device="cpu")
    else:
        disk_offload(model, str(tmp_path / "offload"), execution_device="cpu")
    assert all(parameter.is_meta for parameter in model.parameters())
    return wrap_lm(model, tiny_tokenizer(), name="offloaded")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_offloaded_weights_are_edited_like_resident_ones(kind: str, where: str, tmp_path: Path) -> None:
    lm, there = spread_out(kind, where, tmp_path), tiny_lm(kind)
    assert (lm.fingerprint, lm.device, lm.d_key) == (there.fingerprint, torch.device("cpu"), there.d_key)
    patch = random_patch(there)
    with attached(patch, there):
        expected = logits_of(there)
    with attached(patch, lm):
        torch.testing.assert_close(logits_of(lm), expected)
        read = lm.family.weight_out_in(lm.model, 1)  # the weight itself, not with the patch
    torch.testing.assert_close(read, there.family.weight_out_in(there.model, 1), rtol=1e-5, atol=1e-6)
    rows = rows_of(lm)
    config = WriteConfig(layers=(1, TOP))
    written = [
        solve_layers(
            one,
            shifts_of(one, rows),
            rows,
            writer=NullSpaceWriter(free=all_free(one, (1, TOP)), ridge=1.0),
            config=config,
        )
        for one in (lm, there)
    ]
    for offloaded, resident in zip(written[0].updates, written[1].updates, strict=True):
        torch.testing.assert_close(offloaded.dense(), resident.dense(), rtol=1e-3, atol=1e-4)
    with attached_updates(written[0].updates, lm):
        assert not torch.equal(logits_of(lm), logits_of(there))


@pytest.mark.parametrize("device_map", [{"": "cpu"}, "auto"])
def test_a_device_map_of_one_device_changes_nothing(folder: Path, device_map: Any) -> None:
    lm = load_lm(str(folder), device_map=device_map)
    assert lm.fingerprint == load_lm(str(folder), device=lm.device).fingerprint
    torch.testing.assert_close(logits_of(lm).cpu(), logits_of(tiny_lm()), rtol=1e-2, atol=1e-2)


def test_a_device_map_with_disk_loads_and_is_edited(folder: Path, tmp_path: Path) -> None:
    parts = ["model.embed_tokens", "lm_head", "model.norm", "model.rotary_emb"]
    layers = {f"model.layers.{n}": "disk" if n in (1, 2) else "cpu" for n in range(4)}
    device_map = dict.fromkeys(parts, "cpu") | layers
    lm = load_lm(str(folder), device="cpu", device_map=device_map)
    there = tiny_lm()
    assert lm.fingerprint == there.fingerprint
    patch = random_patch(there)
    with attached(patch, there):
        expected = logits_of(there)
    with attached(patch, lm):
        torch.testing.assert_close(logits_of(lm), expected)


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all"])
def test_a_missing_folder_names_three_ways_out(source: str) -> None:
    with pytest.raises(ModelNotFoundError, match=r"bundled:smollm2.*config\.json.*Hugging Face"):
        load_lm(source)


def test_a_hub_id_without_a_network_names_three_ways_out() -> None:
    with pytest.raises(ModelNotFoundError, match="bundled:smollm2"):
        load_lm("nobody/no-such-model", device="cpu")


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        load_lm(str(tmp_path))


def truncated(folder: Path) -> None:
    """Half of the weights."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text('{"model_type": "no such type"}'),
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
    ],
    ids=["truncated", "no weights", "no JSON", "unknown type", "no tokenizer"],
)
def test_a_damaged_folder_is_a_model_error(damage: Any, folder: Path) -> None:
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load_lm(str(folder), device="cpu")
    assert len(str(caught.value)) < 2000


def test_truncated_weights_are_called_damaged(folder: Path) -> None:
    truncated(folder)
    with pytest.raises(BrokenModelError, match="damaged"):
        load_lm(str(folder), device="cpu")


def test_a_tokenizer_without_offsets_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(UnsupportedModelError, match="offsets"):
        wrap_lm(tiny_model("llama"), Slow(), name="slow")


@pytest.mark.parametrize("kind", FAMILY_KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_narrow_model_is_what_transformers_itself_loads(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Building without the process's default dtype changes no parameter and no buffer that the answers depend on."""
    tiny_model(kind).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    lm = load_lm(str(tmp_path), device="cpu", dtype=dtype)
    assert {n: v.dtype for n, v in lm.model.named_parameters()} == {n: v.dtype for n, v in plain.named_parameters()}
    there = wrap_lm(plain, tiny_tokenizer(), name="plain")
    assert torch.equal(logits_of(lm), logits_of(there))
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "9.0"}, "Unknown tokenizer version"),
        ({"model": {"type": "none such"}}, "cannot be read"),
        ({"added_tokens": 3}, "cannot be read"),
    ],
)
def test_a_tokenizer_that_cannot_be_read_is_a_model_error(changes: dict[str, Any], said: str, folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BrokenModelError, match=said):
        load_lm(str(folder), device="cpu")


def test_a_folder_without_a_tokenizer_says_which_file_it_lacks(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelNotFoundError, match=r"it has no tokenizer\.json\. Copy that of the model"):
        load_lm(str(folder), device="cpu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' + "9" * 6000 + "}", "[]", "", "\ud800"])
def test_no_content_of_a_small_file_ends_in_a_traceback(name: str, content: str, folder: Path) -> None:
    (folder / name).write_bytes(content.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ModelError):
        load_lm(str(folder), device="cpu")
