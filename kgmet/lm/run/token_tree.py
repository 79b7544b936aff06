"""`TokenLayout`: many texts in few rows, with each common beginning once.

Texts are laid out as a tree of tokens in one row. By a mask a token sees only its ancestors, and its position is its
depth, so it has the same states as in a separate text. There is little padding, and nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["TokenLayout", "TokenTree", "cheapest_trees", "lay_out", "lowest_where_unseen", "share_out"]

_PASS = 40
"""Tokens whose products cost as much as reading every weight once."""


@dataclass
class TokenTree:
    """Tokens of one row, with parent, depth and origin of each.

    `origins` identifies beginnings outside the tree (a cached prefix): texts of different origin share nothing.
    `parents` is -1 for a first token.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    children: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def n_new(self, ids: Sequence[int]) -> int:
        """Return how many tokens of `ids` are not laid out yet."""
        node = -1
        for done, token in enumerate(ids):
            if (node, -1, token) not in self.children:
                return len(ids) - done
            node = self.children[node, -1, token]
        return 0

    def add(self, ids: Sequence[int], *, origin: int = -1, depth: int = 0) -> tuple[int, ...]:
        """Add a text with its first token at `depth`, and return the positions of its tokens."""
        node = -1
        path: list[int] = []
        for token in ids:
            key = node, origin, token
            if key not in self.children:
                self.children[key] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(depth + len(path))
                self.origins.append(origin)
            node = self.children[key]
            path.append(node)
        return tuple(path)

    def sees(self) -> Tensor:
        """Return the mask (n, n): a token sees itself and its ancestors."""
        n = len(self.tokens)
        seen = torch.eye(n, dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenLayout:
    """Trees in one batch, padded to the widest with tokens that see only themselves and are seen by none.

    `ids` and `positions` (n_tree, n_node), `sees` (n_tree, n_node, n_node) bool; for each text, `tree_of` is its tree
    and `paths` its positions there.
    """

    ids: Tensor
    positions: Tensor
    sees: Tensor
    trees: tuple[TokenTree, ...]
    tree_of: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]


def lay_out(
    rows: Sequence[Sequence[int]], together: Sequence[int], *, origins: Sequence[int] = (), starts: Sequence[int] = ()
) -> TokenLayout:
    """Lay out token ids; rows with the same number in `together` share a tree.

    Args:
        rows: token ids.
        together: the tree of each row: 0, 1, …
        origins: the beginning outside the tree that each row follows; by default none.
        starts: the depth of each row's first token; by default 0.
    """
    trees = [TokenTree() for _ in range(max(together) + 1)]
    paths = tuple(
        trees[together[number]].add(
            row, origin=origins[number] if origins else -1, depth=starts[number] if starts else 0
        )
        for number, row in enumerate(rows)
    )
    n, width = len(trees), max(len(tree.tokens) for tree in trees)
    ids, positions = torch.zeros(n, width, dtype=torch.long), torch.zeros(n, width, dtype=torch.long)
    sees = torch.eye(width, dtype=torch.bool).repeat(n, 1, 1)
    for number, tree in enumerate(trees):
        size = len(tree.tokens)
        ids[number, :size] = torch.tensor(tree.tokens, dtype=torch.long)
        positions[number, :size] = torch.tensor(tree.depths, dtype=torch.long)
        sees[number, :size, :size] = tree.sees()
    return TokenLayout(
        ids=ids, positions=positions, sees=sees, trees=tuple(trees), tree_of=tuple(together), paths=paths
    )


def share_out(rows: Sequence[Sequence[int]], max_node: int) -> list[int]:
    """Assign rows to trees in order, with at most `max_node` tokens per tree."""
    numbers: list[int] = []
    tree = TokenTree()
    for row in rows:
        if numbers and len(tree.tokens) + tree.n_new(row) > max_node:
            tree = TokenTree()
            numbers.append(numbers[-1] + 1)
        else:
            numbers.append(numbers[-1] if numbers else 0)
        tree.add(row)
    return numbers


def cheapest_trees(rows: Sequence[Sequence[int]], max_node: int, *, width: int) -> list[int]:
    """Assign sorted rows to trees in order, with the least work and at most `max_node` tokens per tree.

    A large tree repeats no common beginning, a small one has fewer pairs of tokens. A token costs about as much as
    attention between itself and 2 · `width` others, and a tree's pass over the weights as much as `_PASS` tokens.

    Args:
        rows: token ids, sorted, so that common beginnings are those of neighbours.
        max_node: most tokens per tree; a longer row has a tree of its own.
        width: width of the model's states.
    """
    own = [len(row) - _n_common(row, before) for row, before in zip(rows, [(), *rows], strict=False)]
    best: list[tuple[float, int]] = [(0.0, 0)]  # the least work for the first rows, and where their last tree begins
    for end in range(1, len(rows) + 1):
        size, found = 0, (float("inf"), 0)
        for begin in range(end - 1, -1, -1):
            total = size + len(rows[begin])  # the first row of a tree is laid out in full
            if total > max_node and begin < end - 1:
                break
            found = min(found, (best[begin][0] + _PASS + total + total * total / (2 * width), begin))
            size += own[begin]
        best.append(found)
    numbers, end = [0] * len(rows), len(rows)
    begins = []
    while end:
        end = best[end][1]
        begins.append(end)
    for number, begin in enumerate(reversed(begins)):
        numbers[begin:] = [number] * (len(rows) - begin)
    return numbers


def _n_common(one: Sequence[int], other: Sequence[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def lowest_where_unseen(sees: Tensor, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the additive attention mask (n_tree, 1, n, m): 0 where visible, the lowest number elsewhere."""
    mask = torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)
    return mask[:, None].to(device)
