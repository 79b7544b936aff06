from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.graph.reading.retrieve import Subgraph, SubgraphConfig, retrieve_subgraph
from kgmet.search.directions.change import ChangeEncoder, ChangeGraph
from tests.graph.small_world import edit, world

WIDTH = 32


def encoder(*, seed: int = 0, trained: bool = True) -> ChangeEncoder:
    network = ChangeEncoder(WIDTH, width=8, generator=torch.Generator().manual_seed(seed))
    if trained:
        generator = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


def states(new: str = "Tokyo") -> tuple[Subgraph, Subgraph]:
    given = edit("Eiffel Tower", "P131", new, old_object="Paris")
    return (
        retrieve_subgraph(world(), given, config=SubgraphConfig()),
        retrieve_subgraph(world(), given, config=SubgraphConfig(), state="before"),
    )


def vector(name: str) -> torch.Tensor:
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(sum(map(ord, name))))


def tensors(graph: Subgraph) -> ChangeGraph:
    return ChangeGraph.of(
        graph,
        nodes=torch.stack([vector(entity.id) for entity in graph.entities]),
        relations=torch.stack([vector(relation.id) for relation in graph.relations]),
    )


def test_an_encoder_says_nothing_of_a_graph_that_does_not_change() -> None:
    after, _ = map(tensors, states())
    assert not encoder()(after, after).any()


def test_the_anchors_own_vector_is_never_looked_at() -> None:
    after, before = map(tensors, states())
    shift = encoder()(after, before)
    other = []
    for graph in (after, before):
        nodes = graph.nodes.clone()
        nodes[graph.anchor] = 100 * vector("another name")
        other.append(replace(graph, nodes=nodes))
    assert torch.equal(encoder()(*other), shift)


def test_every_other_kind_of_node_is_looked_at() -> None:
    after, before = map(tensors, states())
    shift = encoder()(after, before)
    for node in range(len(after.nodes)):
        if node != after.anchor and states()[0].hop[node] <= 2:
            nodes = after.nodes.clone()
            nodes[node] += 1
            assert not torch.equal(encoder()(replace(after, nodes=nodes), before), shift)


def test_an_untrained_encoder_says_new_minus_old() -> None:
    after, before = map(tensors, states())
    network = encoder(trained=False)
    torch.testing.assert_close(network(after, before), network.gain * (vector("E-tokyo") - vector("E-paris")))


def test_the_numbers_of_nodes_and_edges_do_not_matter() -> None:
    after, before = map(tensors, states())
    order = torch.randperm(len(after.edge_relation), generator=torch.Generator().manual_seed(4))
    place = torch.randperm(len(after.nodes), generator=torch.Generator().manual_seed(5))
    where = place.argsort()
    shuffled = ChangeGraph(
        nodes=after.nodes[place],
        relations=after.relations,
        edge_index=where[after.edge_index][:, order],
        edge_relation=after.edge_relation[order],
        anchor=int(where[after.anchor]),
        edited_edge=int((order == after.edited_edge).nonzero()),
    )
    torch.testing.assert_close(encoder()(shuffled, before), encoder()(after, before))


def test_every_parameter_gets_a_gradient_once_all_have_left_zero() -> None:
    network = encoder()
    network(*map(tensors, states())).pow(2).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_an_anchor_without_any_edge_has_no_state() -> None:
    graph = ChangeGraph(
        nodes=torch.ones(1, WIDTH),
        relations=torch.zeros(0, WIDTH),
        edge_index=torch.zeros(2, 0, dtype=torch.long),
        edge_relation=torch.zeros(0, dtype=torch.long),
        anchor=0,
        edited_edge=-1,
    )
    assert not encoder().state(graph).any()


def test_shapes_that_do_not_fit_are_refused() -> None:
    after, _ = map(tensors, states())
    with pytest.raises(ValueError, match="relations"):
        replace(after, relations=torch.zeros(2, WIDTH + 1))
