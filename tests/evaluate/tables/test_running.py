"""Running shares against a few cases counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from kgmet.evaluate.datasets.cases import AskKind
from kgmet.evaluate.tables.running import running_shares


def case(position: int, **asks: list[bool | None]) -> dict[str, Any]:
    rows = [
        {"kind": kind, "after": {"preferred": verdict}, "before": {"preferred": False}}
        for kind, verdicts in asks.items()
        for verdict in verdicts
    ]
    return {"position": position, "asks": rows}


def test_shares_grow_case_by_case_in_the_order_of_the_edits() -> None:
    rows = [
        case(2, efficacy=[True], paraphrase=[False, False]),
        case(0, efficacy=[True], paraphrase=[True, True]),
        case(1, efficacy=[False], paraphrase=[None]),
    ]
    found = running_shares(rows)
    assert [(p.n_case, p.share, p.n_ask) for p in found[AskKind.EFFICACY]] == [(1, 1, 1), (2, 0.5, 2), (3, 2 / 3, 3)]
    assert [(p.n_case, p.share, p.n_ask) for p in found[AskKind.PARAPHRASE]] == [(1, 1, 2), (3, 0.5, 4)]
    assert AskKind.NEIGHBORHOOD not in found
    assert [p.share for p in running_shares(rows, state="before")[AskKind.EFFICACY]] == [0, 0, 0]


def test_intervals_hold_the_share_and_shrink() -> None:
    points = running_shares([case(n, efficacy=[n % 2 == 0]) for n in range(40)])[AskKind.EFFICACY]
    for point in points:
        assert point.interval[0] <= point.share <= point.interval[1]
    widths = [point.interval[1] - point.interval[0] for point in points[1::2]]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("most", [1, 7, 50])
def test_long_curves_are_thinned_and_keep_their_end(most: int) -> None:
    points = running_shares([case(n, efficacy=[True]) for n in range(33)], most=most)[AskKind.EFFICACY]
    assert len(points) <= most
    assert points[-1].n_case == 33


def test_no_case_gives_no_curve() -> None:
    assert running_shares([]) == {}
