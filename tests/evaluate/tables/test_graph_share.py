"""The share of cases in which the graph took part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kgmet.evaluate.tables.graph_share import graph_line, graph_share, wants_graph
from kgmet.evaluate.tables.render import graph_lines, latex_table, markdown_table
from tests.evaluate.tables.test_summary import summary


def row(*took_part: bool) -> dict[str, Any]:
    return {"graph": [{"took_part": took} for took in took_part]}


def test_a_case_counts_where_every_edit_of_it_has_a_part() -> None:
    share = graph_share([row(True), row(True, False), row(False), row(True, True)], is_wanted=True)
    assert share is not None and (share.value, share.n) == (0.5, 4)


def test_a_case_without_a_graph_or_whose_graph_did_not_answer_has_no_part() -> None:
    share = graph_share([row(True), {"graph": [None]}, {"graph": []}, row(True)], is_wanted=True)
    assert share is not None and (share.value, share.n) == (0.5, 4)


def test_runs_that_take_nothing_from_a_graph_have_no_share() -> None:
    assert graph_share([row(False), {"graph": [None]}], is_wanted=False) is None
    assert graph_share([{}], is_wanted=True) is None, "an earlier version did not count"


def test_an_editor_uses_a_graph_if_it_optimises_consequences_or_protects_neighbours() -> None:
    def wants(consequences: int, neighbours: int) -> bool:
        return wants_graph({"config": {"hold": {"consequences": consequences, "neighbours": neighbours}}})

    assert (wants(4, 0), wants(0, 20), wants(0, 0)) == (True, True, False)


def test_below_nine_in_ten_a_warning_says_where_to_look() -> None:
    assert "WARNING" in graph_line("run", {"value": 0.89, "n": 100})
    assert "  " not in graph_line("run", {"value": 0.89, "n": 100})
    assert graph_line("run", {"value": 0.9, "n": 100}) == "run: the graph took part in 90.0 % of 100 cases"


def test_the_table_has_the_share_and_a_line_names_the_editor_of_the_run() -> None:
    used = replace(summary(), metrics={**summary().metrics, "graph": {"value": 0.25, "n": 4, "interval": None}})
    other = replace(summary(), editor="AlphaEdit")
    header, _, before, first, second = markdown_table([used, other]).splitlines()[:5]
    assert [line.split(" | ")[-1] for line in (header, before, first, second)] == ["graph |", " |", "25.0 |", "– |"]
    assert "graph" in latex_table([used])
    assert "graph |" not in markdown_table([other])
    assert graph_lines([used, other]) == [graph_line(f"{used.editor}/{used.name}", {"value": 0.25, "n": 4})]
