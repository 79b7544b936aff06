from __future__ import annotations

import pytest
import torch

from kgmet.search.directions.encoder import RelationalEncoder, has_dgl, mean_messages, mean_messages_dgl


def random_graph(
    seed: int, n_node: int, n_edge: int, width: int = 6
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    nodes = torch.randn(n_node, width, generator=drawn)
    edges = torch.randn(n_edge, width, generator=drawn)
    return nodes, edges, torch.randint(n_node, (2, n_edge), generator=drawn)


def encoder(width: int = 6, seed: int = 1) -> RelationalEncoder:
    return RelationalEncoder(width, n_layer=2, generator=torch.Generator().manual_seed(seed))


def test_messages_are_means_worked_by_hand() -> None:
    nodes = torch.tensor([[1.0], [2.0], [4.0]])
    edges = torch.tensor([[10.0], [20.0]])
    found = mean_messages(nodes, edges, torch.tensor([[0, 1], [2, 2]]))
    assert found.tolist() == [[0.0], [0.0], [(1 + 10 + 2 + 20) / 2]]


@pytest.mark.skipif(not has_dgl(), reason="dgl installs for Python 3.11 and older only")
@pytest.mark.parametrize(("n_node", "n_edge"), [(1, 0), (2, 1), (5, 12), (30, 200)])
def test_dgl_and_torch_give_the_same_messages_and_gradients(n_node: int, n_edge: int) -> None:
    nodes, edges, index = random_graph(n_node, n_node, n_edge)
    results = []
    for messages in (mean_messages, mean_messages_dgl):
        given = nodes.clone().requires_grad_()
        out = messages(given, edges, index)
        (gradient,) = torch.autograd.grad(out.pow(2).sum() + given.sum(), given)
        results.append((out.detach(), gradient))
    torch.testing.assert_close(results[0], results[1])


def test_the_order_of_edges_does_not_matter() -> None:
    nodes, edges, index = random_graph(3, 5, 9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    relation = torch.arange(9)
    one = encoder()(nodes, edges, index, relation)
    other = encoder()(nodes, edges, index[:, order], relation[order])
    torch.testing.assert_close(one, other)


def test_a_node_hears_of_what_is_two_edges_away_and_of_nothing_further() -> None:
    nodes, edges, _ = random_graph(4, 4, 3)
    chain = torch.tensor([[3, 2, 1], [2, 1, 0]])
    relation = torch.arange(3)
    before = encoder()(nodes, edges, chain, relation)[0]
    for far, is_heard in ((1, True), (2, True), (3, False)):
        moved = nodes.clone()
        moved[far] += 1
        after = encoder()(moved, edges, chain, relation)[0]
        assert torch.equal(before, after) is not is_heard


def test_the_seed_alone_decides_the_weights() -> None:
    graph = random_graph(5, 4, 6)
    relation = torch.arange(6)
    same = [encoder(seed=7)(graph[0], graph[1], graph[2], relation) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], encoder(seed=8)(graph[0], graph[1], graph[2], relation))
