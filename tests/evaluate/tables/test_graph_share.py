"""The share of cases in which the graph took part."""

from __future__ import annotations

from typing import Any

from kgmet.evaluate.tables.graph_share import graph_line, graph_share


def row(*took_part: bool, is_wanted: bool = True) -> dict[str, Any]:
    return {"graph": [{"is_wanted": is_wanted, "took_part": took} for took in took_part]}


def test_a_case_counts_where_every_edit_of_it_has_a_part() -> None:
    share = graph_share([row(True), row(True, False), row(False), row(True, True)])
    assert share is not None and (share.value, share.n) == (0.5, 4)


def test_runs_that_take_nothing_from_a_graph_have_no_share() -> None:
    assert graph_share([row(False, is_wanted=False), {"graph": [None]}, {}]) is None


def test_below_nine_in_ten_a_warning_says_where_to_look() -> None:
    assert "WARNING" in graph_line("run", {"value": 0.89, "n": 100})
    assert graph_line("run", {"value": 0.9, "n": 100}) == "run: the graph took part in 90.0 % of 100 cases"
