"""Properties of patches: bit-exact on and off, in one thread only, saved and loaded whole, refused when damaged."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kgmet.base.errors import BrokenArtifactError, KgmetError, StaleArtifactError
from kgmet.lm.load.loaded import LoadedLM, wrap_lm
from kgmet.write.patch import EditPatch, attached, load_patch, merged_patch, save_patch
from kgmet.write.solve import LayerUpdate
from tests.tiny_models import FAMILY_KINDS, tiny_lm, tiny_model, tiny_tokenizer
from tests.write.tiny_edits import logits_of, random_patch

every_family = pytest.mark.parametrize("kind", FAMILY_KINDS)


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_attaching_and_leaving_is_bit_identical(kind: str, dtype: torch.dtype) -> None:
    lm = tiny_lm(kind, dtype=dtype)
    before, weights = logits_of(lm), {name: value.clone() for name, value in lm.model.state_dict().items()}
    with attached(random_patch(lm), lm):
        inside = logits_of(lm)
    assert not torch.equal(inside, before)
    assert torch.equal(logits_of(lm), before)
    assert all(torch.equal(value, weights[name]) for name, value in lm.model.state_dict().items())


@every_family
def test_attached_is_what_the_edited_weights_would_give(kind: str) -> None:
    lm, copy = tiny_lm(kind), tiny_model(kind)
    patch = random_patch(lm)
    with torch.no_grad():
        for update in patch.updates:
            lm.family.weight_out_in(copy, update.layer).add_(update.dense())
    edited = wrap_lm(copy, lm.tokenizer, name="edited by hand")
    with attached(patch, lm):
        torch.testing.assert_close(logits_of(lm), logits_of(edited), rtol=1e-4, atol=1e-4)


def test_leaving_by_an_error_detaches_too() -> None:
    lm = tiny_lm()
    before = logits_of(lm)
    with pytest.raises(RuntimeError), attached(random_patch(lm), lm):
        raise RuntimeError("in the middle")
    assert torch.equal(logits_of(lm), before)


def test_patches_add_up_in_any_order() -> None:
    lm = tiny_lm()
    one, two = random_patch(lm, seed=1), random_patch(lm, seed=2)
    with attached([one, two], lm):
        together = logits_of(lm)
    with attached(two, lm), attached(one, lm):
        torch.testing.assert_close(logits_of(lm), together, rtol=1e-4, atol=1e-4)


def test_many_patches_are_compacted_and_still_say_the_same() -> None:
    lm = tiny_lm()
    patches = [random_patch(lm, seed=seed, size=0.1) for seed in range(lm.d_model)]
    with attached(patches, lm):
        together = logits_of(lm)
    summed = random_patch(lm)
    updates = tuple(
        LayerUpdate(
            layer=update.layer,
            weight_name=update.weight_name,
            output_factor=torch.eye(lm.d_model),
            input_factor=sum((patch.updates[n].dense() for patch in patches), torch.zeros(lm.d_model, lm.d_key)),
        )
        for n, update in enumerate(summed.updates)
    )
    with attached(replace(summed, updates=updates), lm):
        torch.testing.assert_close(logits_of(lm), together, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_patch", [2, 12])
def test_a_stack_put_together_one_by_one_says_what_all_of_them_say(n_patch: int) -> None:
    lm = tiny_lm()
    patches = [random_patch(lm, n_key=4, seed=seed) for seed in range(n_patch)]
    stack = patches[0]
    for patch in patches[1:]:
        stack = merged_patch([stack, patch], lm)
    with attached(patches, lm):
        each = logits_of(lm)
    with attached(stack, lm):
        torch.testing.assert_close(logits_of(lm), each, rtol=1e-4, atol=1e-5)
    assert all(update.output_factor.shape[0] <= lm.d_model for update in stack.updates)


def test_another_thread_sees_nothing_of_an_attached_patch() -> None:
    lm = tiny_lm()
    plain, patches = logits_of(lm), [random_patch(lm, seed=seed) for seed in (1, 2)]
    edited = []
    for patch in patches:
        with attached(patch, lm):
            edited.append(logits_of(lm))
    meet, wrong = threading.Barrier(3), []

    def live(patch: EditPatch | None, expected: Tensor) -> None:
        meet.wait()
        for _ in range(20):
            if patch is None:
                seen = logits_of(lm)
            else:
                with attached(patch, lm):
                    seen = logits_of(lm)
            if not torch.equal(seen, expected):
                wrong.append(patch)

    jobs = [threading.Thread(target=live, args=pair) for pair in zip([None, *patches], [plain, *edited], strict=True)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert not wrong
    assert torch.equal(logits_of(lm), plain)


class QuantisedLinear(nn.Module):
    """A projection whose weight is int8 in a buffer, dequantised in its forward; no parameter and no `.weight`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("codes", (linear.weight.detach() / scale).round().to(torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_key) → (…, d_model)."""
        return x @ (self.codes.to(x.dtype) * self.scale.to(x.dtype)).T


def quantised_lm(make: Callable[[nn.Linear], nn.Module]) -> LoadedLM:
    """A tiny Llama with every down-projection replaced."""
    model = tiny_model("llama")
    for layer in model.model.layers:
        layer.mlp.down_proj = make(layer.mlp.down_proj)
    return wrap_lm(model, tiny_tokenizer(), name="quantised")


def with_int8_weight(linear: nn.Linear) -> nn.Module:
    """As bitsandbytes keeps it: an int8 parameter called `weight`."""
    module = QuantisedLinear(linear)
    module.weight = nn.Parameter(module.codes, requires_grad=False)
    return module


@pytest.mark.parametrize("make", [QuantisedLinear, with_int8_weight])
def test_quantised_weights_are_edited_and_read(make: Callable[[nn.Linear], nn.Module]) -> None:
    lm = quantised_lm(make)
    patch, before = random_patch(lm), logits_of(lm)
    with attached(patch, lm):
        inside = logits_of(lm)
        read = lm.family.weight_out_in(lm.model, 1)
    assert not torch.equal(inside, before)
    assert torch.equal(logits_of(lm), before)
    module = lm.family.write_module(lm.model, 1)
    torch.testing.assert_close(read, module.codes * module.scale)


@every_family
def test_saving_and_loading_gives_the_same_patch(kind: str, tmp_path: Path) -> None:
    lm = tiny_lm(kind)
    patch = random_patch(lm)
    save_patch(patch, tmp_path)
    loaded = load_patch(tmp_path)
    assert loaded.id == patch.id
    assert (loaded.edits, loaded.editor, loaded.config) == (patch.edits, patch.editor, patch.config)
    assert loaded.keys[1][0] == patch.keys[1][0]
    with attached(patch, lm):
        expected = logits_of(lm)
    with attached(loaded, lm):
        assert torch.equal(logits_of(lm), expected)


def test_a_patch_for_another_model_is_refused() -> None:
    patch = random_patch(tiny_lm())
    with pytest.raises(StaleArtifactError, match="made for model"), attached(patch, tiny_lm(seed=1)):
        pass


@pytest.mark.parametrize("change", ["layer", "name", "width"])
def test_a_patch_that_does_not_fit_is_refused(change: str) -> None:
    lm = tiny_lm()
    patch = random_patch(lm)
    update = patch.updates[0]
    wrong = {
        "layer": replace(update, layer=77),
        "name": replace(update, weight_name="lm_head"),
        "width": replace(update, input_factor=torch.zeros(2, 5)),
    }[change]
    with pytest.raises(BrokenArtifactError), attached(replace(patch, updates=(wrong,)), lm):
        pass


def edit_json(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the patch's description in place."""
    path = folder / "patch.json"
    header = json.loads(path.read_text())
    change(header)
    path.write_text(json.dumps(header))


def edit_tensors(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Change the patch's tensors in place."""
    path = folder / "patch.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def truncate(folder: Path) -> None:
    """Cut the tensors' file in half."""
    path = folder / "patch.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no tensors": lambda f: (f / "patch.safetensors").unlink(),
    "no description": lambda f: (f / "patch.json").unlink(),
    "truncated tensors": truncate,
    "empty tensors": lambda f: (f / "patch.safetensors").write_bytes(b""),
    "huge header length": lambda f: (f / "patch.safetensors").write_bytes(b"\xff" * 64),
    "truncated json": lambda f: (f / "patch.json").write_text('{"format": 1, "id": '),
    "json is a list": lambda f: (f / "patch.json").write_text("[]"),
    "json is not UTF-8": lambda f: (f / "patch.json").write_bytes(b"\xff\xfe\x00"),
    "json nests too deeply": lambda f: (f / "patch.json").write_text("[" * 100_000),
    "integer of 10,000 digits": lambda f: (f / "patch.json").write_text('{"format": ' + "9" * 10_000 + "}"),
    "format 2": lambda f: edit_json(f, lambda h: h.update(format=2)),
    "layer is huge": lambda f: edit_json(f, lambda h: h["layers"][0].update(layer=10**30)),
    "layer is infinite": lambda f: edit_json(f, lambda h: h["layers"][0].update(layer=float("inf"))),
    "layer is text": lambda f: edit_json(f, lambda h: h["layers"][0].update(layer="../../etc")),
    "layer is true": lambda f: edit_json(f, lambda h: h["layers"][0].update(layer=True)),
    "layer twice": lambda f: edit_json(f, lambda h: h["layers"].append(h["layers"][0])),
    "layers is a number": lambda f: edit_json(f, lambda h: h.update(layers=3)),
    "no id": lambda f: edit_json(f, lambda h: h.pop("id")),
    "another id": lambda f: edit_json(f, lambda h: h.update(id="0" * 16)),
    "edits without their fields": lambda f: edit_json(f, lambda h: h.update(edits=[{}])),
    "edits are numbers": lambda f: edit_json(f, lambda h: h.update(edits=[1])),
    "key names too many": lambda f: edit_json(f, lambda h: h["key_names"]["1"].append("x")),
    "key layer is text": lambda f: edit_json(f, lambda h: h["key_names"].update({"one": []})),
    "a factor is missing": lambda f: edit_tensors(f, lambda t: t.pop("1.output")),
    "NaN": lambda f: edit_tensors(f, lambda t: t["1.input"].fill_(float("nan"))),
    "infinite key": lambda f: edit_tensors(f, lambda t: t["1.keys"].fill_(float("inf"))),
    "one row less": lambda f: edit_tensors(f, lambda t: t.update({"1.input": t["1.input"][:1].clone()})),
    "one axis less": lambda f: edit_tensors(f, lambda t: t.update({"1.input": t["1.input"][0].clone()})),
    "integers": lambda f: edit_tensors(f, lambda t: t.update({"1.input": t["1.input"].int()})),
    "complex": lambda f: edit_tensors(f, lambda t: t.update({"1.input": t["1.input"].to(torch.complex64)})),
    "no numbers": lambda f: edit_tensors(
        f, lambda t: t.update({"1.input": torch.zeros(0, 48), "1.output": torch.zeros(0, 32)})
    ),
    "one number changed": lambda f: edit_tensors(f, lambda t: t["1.input"][0, :1].add_(1)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_or_hostile_folder_is_refused(damage: Callable[[Path], object], tmp_path: Path) -> None:
    save_patch(random_patch(tiny_lm()), tmp_path)
    damage(tmp_path)
    with pytest.raises(KgmetError) as caught:
        load_patch(tmp_path)
    assert len(str(caught.value)) < 1000
    assert type(caught.value) is not KgmetError


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenArtifactError, match="missing"):
        load_patch(tmp_path / "nowhere")
