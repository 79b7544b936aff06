"""What was changed in a model is read from files: where, by what kind of method, about whom, and how to undo it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kgmet.base.errors import BrokenArtifactError, Cancelled, ConfigError, StaleArtifactError
from kgmet.graph.triple import Entity
from kgmet.inspect.forensics.changes import EditedKind, read_changes
from kgmet.inspect.forensics.inspection import claimed_subjects, inspect_edit, most_subjects
from kgmet.inspect.forensics.signs import Origin, read_signs
from kgmet.inspect.forensics.subjects import NamedKeys, SubjectScan, SubjectScore, rank_measured, rank_subjects
from kgmet.inspect.forensics.undo import undo_patch
from kgmet.lm.load.loaded import LoadedLM, load_lm
from kgmet.lm.run.spans import Phrase
from kgmet.write.corpus import Corpus
from kgmet.write.export import export_lora, export_merged
from kgmet.write.keys import key_rows, measure_keys
from kgmet.write.moments import KeyMoment, estimate_key_moments
from kgmet.write.patch import EditPatch, attached, save_patch
from kgmet.write.solve import LayerUpdate
from kgmet.write.spectrum import spectrum_of
from kgmet.write.statistics import KeyStatistics
from tests.forecast.tiny_world import CATALOGUE, NAMES, entity, known_world
from tests.progress import StopsAfter
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import logits_of, random_patch

TEXT = Corpus(
    name="forensics",
    lines=tuple(f"In {one} and in {other} they wrote a book about the news." for one in NAMES for other in NAMES[:4]),
    n_token=40,
)


def moments_of(lm: LoadedLM, *layers: int) -> dict[int, KeyMoment]:
    return estimate_key_moments(lm, layers, corpus=TEXT)


def key_of(lm: LoadedLM, name: str, layer: int) -> torch.Tensor:
    """The key of a name in the text that the ranking uses."""
    (row,) = key_rows(lm, name, [Phrase(template="{} is", subject=name, prefix="In the news today: ")])
    return measure_keys(lm, [row], layer=layer, top=layer).keys[0]


def rome_like(lm: LoadedLM, name: str, *, layer: int = 2) -> EditPatch:
    """ROME's update: the outer product of a residual and C⁻¹k."""
    key, moment = key_of(lm, name, layer).double(), moments_of(lm, layer)[layer].second_moment
    row = torch.linalg.solve(moment + 1e-4 * moment.trace() * torch.eye(lm.d_key, dtype=torch.float64), key).float()
    output = torch.randn(1, lm.d_model, generator=torch.Generator().manual_seed(1))
    update = LayerUpdate(
        layer=layer,
        weight_name=lm.family.write_name(layer),
        output_factor=output,
        input_factor=(row / row.norm())[None],
    )
    return EditPatch(edits=(), updates=(update,), model_fingerprint=lm.fingerprint, editor="ROME")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_patch_adapter_and_checkpoint_give_the_same_changes(kind: str, tmp_path: Path) -> None:
    lm, patch = tiny_lm(kind), random_patch(tiny_lm(kind))
    save_patch(patch, tmp_path / "patch")
    export_lora(patch, lm, tmp_path / "adapter")
    export_merged(patch, lm, tmp_path / "model")
    found = [read_changes(lm, tmp_path / name) for name in ("patch", "adapter", "model")]
    assert [one.kind for one in found] == [EditedKind.PATCH, EditedKind.ADAPTER, EditedKind.MODEL]
    for one in found:
        assert one.layers == (1, 2)
        assert one.parts == (lm.family.write,)
        assert [change.rank for change in one.changes] == [2, 3]
        assert not one.is_partly_attached
        for update, wanted in zip(one.updates, patch.updates, strict=True):
            torch.testing.assert_close(update.dense(), wanted.dense(), rtol=1e-3, atol=1e-5)
    assert found[0].stated == found[1].stated == ("The Eiffel Tower",)
    assert found[2].stated == ()


def test_a_checkpoint_in_bfloat16_is_compared_after_equal_rounding(tmp_path: Path) -> None:
    lm = tiny_lm()
    patch = rome_like(lm, "Rome")
    strong = replace(patch, updates=(replace(patch.updates[0], output_factor=5 * patch.updates[0].output_factor),))
    export_merged(strong, lm, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    save_file({name: value.bfloat16() for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    found = read_changes(lm, tmp_path / "model")
    assert [change.name for change in found.changes] == [lm.family.write_name(2)]
    assert found.changes[0].rank == 1, "what rounding adds is no rank"


def test_an_unchanged_checkpoint_has_no_change(tmp_path: Path) -> None:
    lm = tiny_lm()
    lm.model.save_pretrained(tmp_path / "same")
    lm.tokenizer.save_pretrained(tmp_path / "same")
    found = inspect_edit(lm, tmp_path / "same", store=known_world(lm)[0])
    assert found.changed.changes == ()
    assert found.claimed == ()
    assert found.undo is None
    assert "No change found" in found.verdict


def spoilt(file: Path, **values: Any) -> None:
    tensors = load_file(file)
    for name, make in values.items():
        key = next(key for key in tensors if key.endswith(name.replace("__", ".")))
        tensors[key] = make(tensors[key])
    save_file(tensors, file, metadata={"format": "pt"})


def test_files_that_do_not_fit_are_refused_in_words(tmp_path: Path) -> None:
    lm, patch = tiny_lm(), random_patch(tiny_lm())
    model = tmp_path / "model"
    with pytest.raises(BrokenArtifactError, match=r"config\.json is missing"):
        read_changes(lm, tmp_path)
    export_merged(patch, lm, model)
    file = model / "model.safetensors"
    good = file.read_bytes()
    spoilt(file, layers__1__mlp__down_proj__weight=lambda weight: weight * float("nan"))
    with pytest.raises(BrokenArtifactError, match="NaN"):
        read_changes(lm, model)
    file.write_bytes(good)
    spoilt(file, layers__1__mlp__down_proj__weight=lambda weight: weight[:, :-1].contiguous())
    with pytest.raises(BrokenArtifactError, match="32x47"):
        read_changes(lm, model)
    tensors = load_file(file)
    tensors.pop("model.norm.weight")
    tensors["model.layers.1.mlp.down_proj.weight"] = torch.zeros(32, 48)
    save_file(tensors, file)
    with pytest.raises(BrokenArtifactError, match=r"lacks 1 weights .*model\.norm"):
        read_changes(lm, model)
    save_file(tensors | {"other.weight": torch.zeros(2)}, file)
    with pytest.raises(BrokenArtifactError, match=r"other\.weight"):
        read_changes(lm, model)
    file.unlink()
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(BrokenArtifactError, match="pickle"):
        read_changes(lm, model)
    save_patch(random_patch(tiny_lm(seed=3)), tmp_path / "foreign")
    with pytest.raises(StaleArtifactError):
        read_changes(lm, tmp_path / "foreign")


def test_comparing_can_be_stopped(tmp_path: Path) -> None:
    lm = tiny_lm()
    export_merged(random_patch(lm), lm, tmp_path / "model")

    with pytest.raises(Cancelled):
        read_changes(lm, tmp_path / "model", progress=StopsAfter(0))


def test_the_edited_subject_is_ranked_first() -> None:
    """By Cauchy-Schwarz: no other direction is moved further, for its length, than the row itself."""
    lm = tiny_lm()
    update = replace(rome_like(lm, "London").updates[0], input_factor=key_of(lm, "London", 2)[None])
    scan = rank_subjects(lm, [update], moments_of(lm, 2), [entity(name) for name in NAMES])
    assert scan.scores[0].entity.label == "London"
    assert len(scan.scores) == len(NAMES)
    assert scan.scores[0].times > scan.scores[1].times > 0


def test_a_response_is_relative_to_what_ordinary_keys_get() -> None:
    """Worked by hand: with ΔW = c·1 the response of every key is the same, and that of ordinary keys is 1."""
    lm = tiny_lm()
    dense = torch.zeros(lm.d_model, lm.d_key)
    dense[:, : lm.d_model] = torch.eye(lm.d_model)
    moment = moments_of(lm, 1)[1]
    flat = replace(moment, second_moment=torch.eye(lm.d_key, dtype=torch.float64))
    update = LayerUpdate(
        layer=1, weight_name=lm.family.write_name(1), output_factor=torch.eye(lm.d_model), input_factor=dense
    )
    (score,) = rank_subjects(lm, [update], {1: flat}, [entity("Rome")]).scores
    (row,) = key_rows(lm, "Rome", [Phrase(template="{} is", subject="Rome", prefix="In the news today: ")])
    key = measure_keys(lm, [row], layer=1, top=1).keys[0]
    expected = float(key[: lm.d_model].norm() / key.norm()) / (lm.d_model / lm.d_key) ** 0.5
    assert score.response == pytest.approx(expected, rel=1e-5)
    assert score.times == 1


def scan_of(*responses: float) -> SubjectScan:
    scores = [
        SubjectScore(entity=Entity(id=str(n), label=str(n)), response=value, times=value, own=value)
        for n, value in enumerate(responses)
    ]
    return SubjectScan(scores=tuple(scores))


def test_only_what_stands_out_is_claimed_and_of_training_nothing() -> None:
    ordinary = [1 + 0.01 * n for n in range(50)]
    edit = Origin(looks_like="an edit", is_training=False, signs=())
    assert claimed_subjects(scan_of(*ordinary), edit) == ()
    assert [score.entity.id for score in claimed_subjects(scan_of(30.0, *ordinary), edit)] == ["0"]
    assert claimed_subjects(scan_of(30.0, *ordinary), replace(edit, is_training=True)) == ()


def test_no_more_subjects_are_claimed_than_the_rank_allows() -> None:
    """Names that resemble an edited one are moved with it, but a change of rank r states at most r subjects."""
    edit = Origin(looks_like="an edit", is_training=False, signs=())
    scan = scan_of(30.0, 28.0, 26.0, *(1 + 0.01 * n for n in range(50)))
    assert [score.entity.id for score in claimed_subjects(scan, edit)] == ["0", "1", "2"]
    assert [score.entity.id for score in claimed_subjects(scan, edit, most=1)] == ["0"]
    shared = replace(scan.scores[1], own=2.0)
    scan = replace(scan, scores=(scan.scores[0], shared, *scan.scores[2:]))
    assert [score.entity.id for score in claimed_subjects(scan, edit, most=3)] == ["0", "2"], "the second moves with 0"


@pytest.mark.parametrize("is_whole", [False, True])
def test_of_two_edits_both_subjects_come_before_names_that_resemble_one_of_them(is_whole: bool) -> None:
    """One edit moves three names far, the other one name a little: by response alone it would be the fourth."""
    keys = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.0, 0.1], [0.8, 0.0, 0.2], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    entities = tuple(Entity(id=str(n), label=str(n)) for n in range(5))
    update = LayerUpdate(
        layer=1,
        weight_name="model.layers.1.mlp.down_proj",
        output_factor=torch.eye(2) if is_whole else torch.tensor([[4.0, 0.0], [0.0, 1.0]]),
        input_factor=torch.tensor([[4.0 if is_whole else 1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    )
    assert update.is_whole is is_whole
    moment = replace(moments_of(tiny_lm(), 1)[1], second_moment=torch.eye(3, dtype=torch.float64))
    scan = rank_measured([NamedKeys(entities=entities, keys={1: keys})], [update], {1: moment})
    assert [score.entity.id for score in scan.scores] == ["0", "3", "1", "2", "4"]
    ordinary = (17 / 3) ** 0.5
    assert [score.response for score in scan.scores[:2]] == pytest.approx([4 / ordinary, 1 / ordinary])
    assert [score.own for score in scan.scores] == pytest.approx([4 / ordinary, 1 / ordinary, 0, 0, 0], abs=1e-6)


def test_the_largest_rank_of_a_down_projection_limits_the_claims(tmp_path: Path) -> None:
    lm = tiny_lm()
    save_patch(random_patch(lm), tmp_path / "patch")
    changed = read_changes(lm, tmp_path / "patch")
    assert [change.rank for change in changed.changes] == [2, 3]
    assert most_subjects(changed) == 3
    bound = replace(changed.changes[0], is_rank_bound=True)
    assert most_subjects(replace(changed, changes=(bound, changed.changes[1]))) is None


def test_undo_gives_the_answers_of_the_base_model(tmp_path: Path) -> None:
    lm, patch = tiny_lm(), random_patch(tiny_lm())
    save_patch(patch, tmp_path / "patch")
    undo = undo_patch(lm, read_changes(lm, tmp_path / "patch"))
    with attached([patch, undo], lm):
        torch.testing.assert_close(logits_of(lm), logits_of_base(lm), rtol=1e-4, atol=1e-4)
    export_merged(patch, lm, tmp_path / "model")
    edited = load_lm(str(tmp_path / "model"), device="cpu")
    found = inspect_edit(lm, tmp_path / "model", store=known_world(lm)[0], statistics=KeyStatistics(lm, TEXT))
    assert found.undo is not None
    assert [len(update.input_factor) for update in found.undo.updates] == [2, 3], "as low in rank as the change"
    before = logits_of(lm)
    assert (logits_of(edited) - before).abs().max() > 0.1
    with attached(found.undo, edited):
        torch.testing.assert_close(logits_of(edited), before, rtol=1e-3, atol=1e-3)


def logits_of_base(lm: LoadedLM) -> torch.Tensor:
    return logits_of(replace(lm))


def test_other_weights_cannot_be_undone_by_a_patch(tmp_path: Path) -> None:
    lm = tiny_lm()
    export_merged(random_patch(lm), lm, tmp_path / "model")
    spoilt(tmp_path / "model" / "model.safetensors", self_attn__q_proj__weight=lambda weight: weight + 1)
    changed = read_changes(lm, tmp_path / "model")
    assert changed.is_partly_attached
    with pytest.raises(ConfigError, match="q_proj"):
        undo_patch(lm, changed)
    found = inspect_edit(lm, tmp_path / "model", store=known_world(lm)[0], statistics=KeyStatistics(lm, TEXT))
    assert "q_proj" in found.no_undo
    assert found.claimed == (), "other weights change in training"


def test_signs_tell_the_methods_apart() -> None:
    lm = tiny_lm()
    moments = moments_of(lm, 0, 1, 2, 3)
    rome = rome_like(lm, "Rome")

    def looks(*updates: LayerUpdate) -> str:
        from kgmet.inspect.forensics import changes as module

        weights = lm.model.state_dict()
        described = tuple(
            module._described(lm, one.weight_name, one.dense(), weights[one.weight_name + ".weight"]) for one in updates
        )
        changed = module.ChangedModel(source="", kind=EditedKind.PATCH, changes=described, updates=updates)
        return read_signs(lm, changed, moments).looks_like

    update = rome.updates[0]
    whole = torch.eye(lm.d_model)
    assert looks(update).startswith("ROME")
    free = spectrum_of(moments[2]).vectors[:, 0].float()
    assert looks(replace(update, input_factor=free[None])).startswith("AlphaEdit")
    assert looks(replace(random_patch(lm).updates[0])).startswith("an edit of one layer")
    assert looks(*random_patch(lm).updates).startswith("MEMIT")
    assert looks(*(random_patch(lm, layers=(n,)).updates[0] for n in range(4))).startswith("fine-tuning with LoRA")
    dense = torch.randn(lm.d_model, lm.d_key, generator=torch.Generator().manual_seed(0))
    assert looks(replace(update, output_factor=whole, input_factor=dense.clamp(-0.5, 0.5))).startswith("constrained")
    assert looks(replace(update, output_factor=whole, input_factor=dense * (dense.abs() > 0.8))).startswith("RECT")
    neurons = dense.clone()
    neurons[:, ::2] = 0
    assert looks(replace(update, output_factor=whole, input_factor=neurons)).startswith("NSE")


def test_what_was_said_before_and_now_is_there(tmp_path: Path) -> None:
    lm = tiny_lm()
    store = known_world(lm)[0]
    patch = random_patch(lm, size=1.0)
    save_patch(patch, tmp_path / "patch")
    found = inspect_edit(lm, tmp_path / "patch", store=store, catalogue=CATALOGUE, statistics=KeyStatistics(lm, TEXT))
    assert found.answers
    assert any(answer.before != answer.now and answer.divergence > 0 for answer in found.answers)
    data = json.loads(json.dumps(found.to_json()))
    assert data["ranked"] == len(NAMES)
    assert data["subjects"][0]["label"] == found.scan.scores[0].entity.label
    assert data["undo"] is True
