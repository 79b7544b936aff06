"""Texts are cut into trees with the least work."""

from __future__ import annotations

import itertools

import pytest

from kgmet.lm.run.token_tree import TokenTree, cheapest_trees

SHARED = list(range(100, 160))


def work(rows: list[list[int]], numbers: list[int], width: int) -> float:
    total = 0.0
    for number in sorted(set(numbers)):
        tree = TokenTree()
        for row, mine in zip(rows, numbers, strict=True):
            if mine == number:
                tree.add(row)
        n = len(tree.tokens)
        total += 40 + n + n * n / (2 * width)
    return total


@pytest.mark.parametrize("width", [8, 30, 500])
def test_no_other_cuts_are_less_work(width: int) -> None:
    rows = sorted([[*SHARED[:30], n, n + 1] for n in range(4)] + [[n, *range(20)] for n in range(1, 5)])
    found = cheapest_trees(rows, 1000, width=width)
    every = [list(itertools.accumulate(cuts, initial=0)) for cuts in itertools.product([0, 1], repeat=len(rows) - 1)]
    assert found in every
    assert work(rows, found, width) == min(work(rows, numbers, width) for numbers in every)


def test_texts_with_a_long_common_beginning_stay_together_and_others_part() -> None:
    rows = sorted([[*SHARED, n] for n in range(50)] + [[n, *range(59)] for n in range(50)])
    found = cheapest_trees(rows, 4000, width=500)
    beginnings = {number for number, row in zip(found, rows, strict=True) if row[0] == SHARED[0]}
    assert len(beginnings) == 1
    assert len(set(found)) > 3


def test_no_tree_is_larger_than_allowed_unless_one_text_is() -> None:
    rows = [[1, 2, 3], [1, 2, 4], [5], [6, *range(20)]]
    assert cheapest_trees(rows, 4, width=8) == [0, 0, 1, 2]
    assert cheapest_trees([], 4, width=8) == []
