from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kgmet.base.errors import BrokenArtifactError, Cancelled, ConfigError, GraphError, StaleArtifactError
from kgmet.base.progress import CancelFlag, ProgressEvent
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.factories import make_source
from kgmet.graph.reading.retrieve import Subgraph
from kgmet.search.directions.change import ChangeEncoder
from kgmet.search.directions.config import DirectionConfig, EncoderTask, EncoderTrainingConfig, SourceKind
from kgmet.search.directions.trained import (
    TrainedDirection,
    TrainedEncoder,
    UnchangedGraph,
    encoder_id,
    encoder_path,
    find_encoder,
    trained_source,
)
from kgmet.training.edits import draw_training_edits
from kgmet.training.train import train_encoder
from kgmet.write.layers import WriteConfig
from tests.graph.small_world import CATALOGUE, edit, key, world
from tests.tiny_models import tiny_lm

SMALL = EncoderTrainingConfig(layer=2, feature_layer=1, width=8, n_edit=14, n_checked=4, batch=5, steps=12, rate=0.02)
BRIEF = replace(SMALL, steps=1, n_edit=6, n_checked=2)
TRAINED = DirectionConfig(source=SourceKind.TRAINED)
STORE = world()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KGMET_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of the small encoder, trained once."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGMET_CACHE", str(folder))
        train_encoder(tiny_lm(), STORE, CATALOGUE, config=SMALL)
    (path,) = folder.rglob("*.safetensors")
    return path.read_bytes()


@pytest.fixture
def encoder(kept: bytes) -> TrainedEncoder:
    """The small encoder, kept where it is looked for."""
    lm = tiny_lm()
    path = encoder_path(lm.fingerprint, encoder_id(lm.fingerprint, STORE.fingerprint, SMALL, ""))
    path.parent.mkdir(parents=True)
    path.write_bytes(kept)
    return find_encoder(lm)


def trained(config: EncoderTrainingConfig = SMALL, **rest: object) -> TrainedEncoder:
    return train_encoder(tiny_lm(), STORE, CATALOGUE, config=config, **rest)  # type: ignore[arg-type]


def context(
    subject: str = "Eiffel Tower", new: str = "Tokyo", *, source: SourceKind = SourceKind.TRAINED
) -> EditContext:
    given = edit(subject, "P131", new, old_object="Paris")
    settings = EditConfig(direction=DirectionConfig(source=source))
    return prepare_edit(given, store=STORE, catalogue=CATALOGUE, config=settings)


def graphs(**names: str) -> tuple[Subgraph, Subgraph]:
    made = context(**names)
    assert made.subgraph is not None and made.subgraph_before is not None
    return made.subgraph, made.subgraph_before


@pytest.mark.parametrize("task", list(EncoderTask))
def test_training_lowers_the_loss_it_is_about(task: EncoderTask) -> None:
    curve = trained(replace(SMALL, task=task, steps=60)).curve
    assert curve[-1]["loss"] < curve[1]["loss"]
    assert all("checked" in entry for entry in curve)


def test_a_training_that_only_does_harm_leaves_the_encoder_as_it_was() -> None:
    encoder = trained(replace(SMALL, task=EncoderTask.STATE, rate=3.0))
    untrained = ChangeEncoder(tiny_lm().d_model, width=SMALL.width, generator=torch.Generator().manual_seed(0))
    assert encoder.curve[-1]["checked"] > encoder.curve[0]["checked"] == encoder.checked[1]
    assert all(torch.equal(value, encoder.weights[name]) for name, value in untrained.state_dict().items())


def test_the_same_seed_gives_the_same_encoder_and_another_another(encoder: TrainedEncoder, cache: Path) -> None:
    for path in cache.rglob("*.safetensors"):
        path.unlink()
    again, other = trained(), trained(replace(SMALL, seed=1))
    assert encoder.id == again.id != other.id
    assert all(torch.equal(value, again.weights[name]) for name, value in encoder.weights.items())
    assert any(not torch.equal(value, other.weights[name]) for name, value in encoder.weights.items())


def test_an_encoder_is_trained_once_and_comes_back_whole(cache: Path) -> None:
    first = trained(BRIEF)
    (path,) = cache.rglob("*.safetensors")
    written = path.stat().st_mtime_ns
    again = trained(BRIEF)
    assert path.stat().st_mtime_ns == written
    assert (again.id, again.config, again.spread, again.curve) == (first.id, first.config, first.spread, first.curve)
    after, before = graphs()
    same = [
        trained_source(tiny_lm(), one, after=after, before=before, config=TRAINED).shift() for one in (first, again)
    ]
    assert torch.equal(*same)


def test_another_store_other_settings_and_other_exclusions_make_another_encoder(cache: Path) -> None:
    smaller = world(without=("Louvre", "P131", "Paris"))
    made = [
        trained(BRIEF),
        trained(replace(BRIEF, width=4)),
        trained(BRIEF, exclude=[key("Eiffel Tower")]),
        train_encoder(tiny_lm(), smaller, CATALOGUE, config=BRIEF),
    ]
    assert len({encoder.id for encoder in made}) == len(list(cache.rglob("*.safetensors"))) == 4


def test_another_models_encoder_is_refused(encoder: TrainedEncoder, cache: Path) -> None:
    (path,) = cache.rglob("*.safetensors")
    other = tiny_lm(seed=1)
    after, before = graphs()
    with pytest.raises(StaleArtifactError, match=encoder.model_fingerprint):
        TrainedEncoder.load(path, model_fingerprint=other.fingerprint)
    with pytest.raises(StaleArtifactError, match="Train one"):
        trained_source(other, encoder, after=after, before=before, config=TRAINED)
    with pytest.raises(ConfigError, match="no trained encoder"):
        find_encoder(other)


def test_a_damaged_file_is_refused(encoder: TrainedEncoder, cache: Path) -> None:
    (path,) = cache.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BrokenArtifactError, match="train anew"):
        find_encoder(tiny_lm())


def test_the_only_encoder_needs_no_name_and_one_of_several_does(encoder: TrainedEncoder) -> None:
    assert find_encoder(tiny_lm()).id == encoder.id
    second = trained(BRIEF)
    with pytest.raises(ConfigError, match="2 trained encoders"):
        find_encoder(tiny_lm())
    assert find_encoder(tiny_lm(), second.id).id == second.id
    with pytest.raises(ConfigError, match="'nothing'"):
        find_encoder(tiny_lm(), "nothing")


def test_a_stopped_training_leaves_nothing_behind(cache: Path) -> None:
    class StopAtFive(CancelFlag):
        def report(self, event: ProgressEvent) -> None:
            if event.stage == "train encoder" and event.done == 5:
                self.set()

    with pytest.raises(Cancelled):
        trained(progress=StopAtFive())
    assert not list(cache.rglob("*.safetensors"))


def test_what_the_subject_is_called_does_not_matter(encoder: TrainedEncoder) -> None:
    after, before = graphs()
    shifts = []
    for name in ("Eiffel Tower", "Big Ben"):
        labels = [
            tuple(name if n == graph.anchor else entity.label for n, entity in enumerate(graph.entities))
            for graph in (after, before)
        ]
        source = trained_source(
            tiny_lm(), encoder, after=after, before=before, config=TRAINED, labels=(labels[0], labels[1])
        )
        shifts.append(source.shift().detach())
    torch.testing.assert_close(*shifts)


def test_the_new_object_decides_the_direction_and_so_do_strangers_names(encoder: TrainedEncoder) -> None:
    lm = tiny_lm()
    shifts = [
        trained_source(lm, encoder, after=after, before=before, config=TRAINED).shift()
        for after, before in (graphs(new="Tokyo"), graphs(new="Berlin"))
    ]
    settings = EditConfig(
        direction=replace(TRAINED, source=SourceKind.TRAINED_NONSENSE), write=WriteConfig(layers=(1, 2))
    )
    nonsense = make_source(lm, context(source=SourceKind.TRAINED_NONSENSE), settings)
    assert nonsense.name == SourceKind.TRAINED_NONSENSE.value
    shifts.append(nonsense.shift())
    for n in range(3):
        assert torch.cosine_similarity(shifts[n], shifts[(n + 1) % 3], dim=0) < 0.99


def test_a_graph_that_does_not_change_gives_a_free_shift_that_says_so(encoder: TrainedEncoder) -> None:
    after, _ = graphs()
    source = trained_source(tiny_lm(), encoder, after=after, before=after, config=TRAINED)
    assert isinstance(source, UnchangedGraph) and "the same before and after" in source.name
    assert not source.shift().any()


def test_an_encoder_for_another_layer_is_refused(encoder: TrainedEncoder) -> None:
    settings = EditConfig(direction=TRAINED, write=WriteConfig(layers=(0, 1)))
    with pytest.raises(ConfigError, match="--layer 1"):
        make_source(tiny_lm(), context(), settings)


@pytest.mark.parametrize("remainder", [0.0, 0.3])
def test_the_free_part_is_as_long_as_allowed_and_no_longer(remainder: float) -> None:
    shift = torch.arange(1.0, 9.0)
    source = TrainedDirection(shift, name="test", remainder=remainder)
    torch.testing.assert_close(source.shift().detach(), shift)
    aside = torch.tensor([2.0, -1.0] * 4) * 50
    aside -= aside @ shift / (shift @ shift) * shift
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.copy_(aside if parameter.ndim else parameter * 2)
        left = source.shift() - 2 * shift
    torch.testing.assert_close(left.norm(), remainder * 2 * shift.norm(), atol=1e-4, rtol=1e-5)


def test_the_share_of_each_node_sums_to_one_and_the_anchor_has_none(encoder: TrainedEncoder) -> None:
    after, before = graphs()
    share = trained_source(tiny_lm(), encoder, after=after, before=before, config=TRAINED).influence()
    assert share is not None
    torch.testing.assert_close(share.sum(), torch.tensor(1.0))
    assert share[after.anchor] == 0


def test_training_edits_leave_out_what_is_excluded_and_never_repeat_the_truth() -> None:
    away = {key("Paris"), key("Louvre"), key("Spain")}
    edits = draw_training_edits(STORE, CATALOGUE, count=14, seed=0, exclude=away)
    for made in edits:
        assert not away & {made.subject_id, made.new_object_id, made.old_object_id}
        assert made.relation is not None and made.subject_id is not None
        truth = {fact.object.id for fact in STORE.outgoing(made.subject_id, relations=[made.relation])}
        assert made.old_object_id in truth
    assert edits == draw_training_edits(world(seed=3), CATALOGUE, count=14, seed=0, exclude=away)


def test_a_store_with_too_few_facts_says_how_many_there_are() -> None:
    with pytest.raises(GraphError, match="500 are wanted"):
        draw_training_edits(STORE, CATALOGUE, count=500, seed=0)


def test_a_layer_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="up to 2"):
        trained(replace(SMALL, layer=3))


@pytest.mark.parametrize("wrong", [{"n_checked": 14}, {"steps": 0}, {"rate": 0.0}, {"consequence_share": 1.5}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)) if "n_checked" not in wrong else "held back"):
        replace(SMALL, **wrong)  # type: ignore[arg-type]


def test_by_default_an_encoder_is_trained_for_the_layer_that_edits_are_searched_at() -> None:
    assert EncoderTrainingConfig().layer == WriteConfig().layers[-1]
