from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.base.errors import ConfigError
from kgmet.graph.reading.retrieve import Subgraph, SubgraphConfig, retrieve_subgraph
from kgmet.search.directions.config import DirectionConfig, SourceKind
from kgmet.search.directions.features import encode_labels, encode_subgraph
from kgmet.search.directions.graph import GraphDirection
from kgmet.search.directions.source import Direction, FreeDirection, RandomDirection
from tests.graph.small_world import edit, world
from tests.tiny_models import tiny_lm

CONFIG = DirectionConfig(source=SourceKind.GRAPH, feature_layer=1)


def graph_of(new: str = "Tokyo") -> Subgraph:
    return retrieve_subgraph(world(), edit("Eiffel Tower", "P131", new), config=SubgraphConfig())


def source(kind: SourceKind = SourceKind.GRAPH, *, seed: int = 3, new: str = "Tokyo") -> GraphDirection:
    graph, config = graph_of(new), replace(CONFIG, source=kind)
    return GraphDirection(graph, encode_subgraph(tiny_lm(), graph, config=config), config=config, seed=seed)


def test_a_direction_has_length_one() -> None:
    with pytest.raises(ValueError, match="length 1"):
        Direction(unit=torch.ones(4), source="test")


def test_a_free_shift_starts_at_nothing_and_a_random_one_keeps_its_direction() -> None:
    assert not FreeDirection(8).shift().any()
    drawn = RandomDirection(8, seed=1)
    before = drawn.shift().detach()
    with torch.no_grad():
        drawn.parameters()[0].mul_(3)
    torch.testing.assert_close(drawn.shift().detach(), before * 3)
    assert not torch.allclose(before, RandomDirection(8, seed=2).shift().detach())


def test_the_same_edit_gives_the_same_direction_and_another_seed_another() -> None:
    assert torch.equal(source().shift(), source().shift())
    assert not torch.equal(source().shift(), source(seed=4).shift())


def test_the_length_is_learned_apart_from_the_direction() -> None:
    graph = source()
    before = graph.shift().detach()
    with torch.no_grad():
        graph.parameters()[-1].mul_(2)
    torch.testing.assert_close(graph.shift().detach(), before * 2)


def test_every_parameter_gets_a_gradient_in_the_first_step() -> None:
    for kind in (SourceKind.GRAPH, SourceKind.GRAPH_FREE_LENGTH, SourceKind.NO_GRAPH):
        parameters = list(source(kind).parameters())
        made = source(kind)
        weights = torch.randn(made.shift().shape, generator=torch.Generator().manual_seed(0))
        gradients = torch.autograd.grad((made.shift() * weights).sum(), list(made.parameters()))
        assert len(gradients) == len(parameters)
        assert all(gradient.any() for gradient in gradients)


def test_the_new_object_changes_the_direction_only_if_a_graph_takes_part() -> None:
    def differs(kind: SourceKind) -> bool:
        one, other = source(kind).shift().detach(), source(kind, new="Berlin").shift().detach()
        return not torch.allclose(one, other, atol=1e-4)

    assert differs(SourceKind.GRAPH)
    config = replace(CONFIG, source=SourceKind.NO_GRAPH, centre=False)
    shifts = []
    for new in ("Tokyo", "Berlin"):
        graph = graph_of(new)
        features = encode_subgraph(tiny_lm(), graph, config=config)
        shifts.append(GraphDirection(graph, features, config=config, seed=3).shift().detach())
    torch.testing.assert_close(shifts[0], shifts[1], rtol=1e-4, atol=1e-5)


def test_influence_is_a_share_of_every_node() -> None:
    share = source().influence()
    assert share is not None
    assert share.shape == (len(graph_of().entities),)
    assert float(share.sum()) == pytest.approx(1, abs=1e-5)
    assert (share >= 0).all()


def test_names_are_encoded_alike_alone_and_in_a_batch_and_away_from_the_sink() -> None:
    lm = tiny_lm()
    together = encode_labels(lm, ["Tokyo", "The Eiffel Tower", "France"], config=CONFIG)
    torch.testing.assert_close(together[:1], encode_labels(lm, ["Tokyo"], config=CONFIG), rtol=1e-4, atol=1e-5)
    alone = encode_labels(lm, ["Tokyo"], config=replace(CONFIG, drop_sink=False))
    assert not torch.allclose(together[:1], alone, atol=1e-3)


def test_other_labels_give_other_features_of_the_same_graph() -> None:
    graph = graph_of()
    own = encode_subgraph(tiny_lm(), graph, config=CONFIG)
    labels = [entity.label[::-1] for entity in graph.entities]
    nonsense = encode_subgraph(tiny_lm(), graph, config=CONFIG, labels=labels)
    assert own.nodes.shape == nonsense.nodes.shape
    assert not torch.allclose(own.nodes, nonsense.nodes)
    torch.testing.assert_close(own.relations, nonsense.relations, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"n_layer": 0}, {"length_factor": 0.0}, {"feature_layer": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="direction"):
        replace(CONFIG, **wrong)
