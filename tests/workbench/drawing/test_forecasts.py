"""Pictures of forecasts: every fact in its place, both ways told apart by shape, labels are text."""

from __future__ import annotations

import math

import pytest
import torch

from kgmet.forecast.check import CheckedForecast
from kgmet.forecast.facts import FactPrompt
from kgmet.forecast.forecast import FactForecast
from kgmet.forecast.index import IndexedFact
from workbench.drawing import forecasts
from workbench.drawing.graph_svg import INKS

HOSTILE = "<img src=x onerror=alert(1)>"


def item(subject: str, before: float, change: float, relation: str = "P131") -> FactForecast:
    prompt = FactPrompt(
        text=f"{subject} is in", answers=("Rome",), subject=subject, subject_id=subject, relation=relation
    )
    return FactForecast(
        fact=IndexedFact(prompt=prompt, answer="Rome", logprob=math.log(before), tokens=()), change=change
    )


ITEMS = (item("Prado", 0.8, -1.9), item(HOSTILE, 0.2, 0.4, "P36"), item("Louvre", 0.5, -0.1))


def test_a_fact_is_a_line_from_now_to_its_forecast() -> None:
    figure = forecasts.fact_chart(ITEMS)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert [list(line.x) for line in lines] == [[one.before, one.after] for one in ITEMS]
    by_name = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    assert list(by_name["forecast, loses"].x) == [ITEMS[0].after, ITEMS[2].after]
    assert list(by_name["forecast, gains"].x) == [ITEMS[1].after]
    assert by_name["forecast, loses"].marker.symbol != by_name["forecast, gains"].marker.symbol
    assert "forecast, protected edit" not in by_name and "measured" not in by_name


@pytest.mark.parametrize("dark", [False, True])
def test_losses_and_gains_have_the_colours_of_bad_and_good_and_not_of_old_and_new(dark: bool) -> None:
    ink = INKS["dark" if dark else "light"]
    for figure in (forecasts.fact_chart(ITEMS, dark=dark), forecasts.relation_chart(ITEMS, labels={}, dark=dark)):
        drawn = {
            trace.marker.color for trace in figure.data if trace.mode == "markers" and "triangle" in trace.marker.symbol
        }
        assert drawn == {ink.good, ink.bad}


def test_the_protected_edit_and_what_was_measured_are_drawn_beside_it() -> None:
    safe = item("Prado", 0.8, -0.01)
    ids = [one.fact.prompt.id for one in ITEMS]
    figure = forecasts.fact_chart(ITEMS, protected={ids[0]: safe}, measured={ids[2]: 0.25})
    by_name = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    assert list(by_name["forecast, protected edit"].x) == [safe.after]
    assert list(by_name["measured"].x) == [0.25]
    assert by_name["measured"].y[0] == by_name["now"].y[2]


def test_relations_are_lines_and_every_fact_is_a_mark_of_one_of_them() -> None:
    figure = forecasts.relation_chart(ITEMS, labels={"P131": "located in city", "P36": HOSTILE})
    marks = [(x, y) for trace in figure.data for x, y in zip(trace.x, trace.y, strict=True)]
    assert sorted(x for x, _ in marks) == sorted(one.change for one in ITEMS)
    assert {y.split(" (n ")[1] for _, y in marks} == {"2)", "1)"}


def test_forecast_and_measured_span_the_scatter_and_protected_facts_are_diamonds() -> None:
    checked = CheckedForecast(
        forecasts=ITEMS, before=torch.zeros(3, dtype=torch.float64), after=torch.tensor([-2.0, 0.3, 0.0]).double()
    )
    figure = forecasts.check_chart(checked, protected={ITEMS[2].fact.prompt.id})
    facts, safe = figure.data[1], figure.data[2]
    assert list(facts.x) == [-1.9, 0.4] and [round(y, 6) for y in facts.y] == [-2.0, 0.3]
    assert (list(safe.x), list(safe.y), safe.marker.symbol) == ([-0.1], [0.0], "diamond")
    assert (figure.data[0].x[0], round(figure.data[0].x[1], 6)) == (-2.0, 0.4)


def test_labels_from_the_graph_are_text() -> None:
    for figure in (forecasts.fact_chart(ITEMS), forecasts.relation_chart(ITEMS, labels={"P36": HOSTILE})):
        assert HOSTILE not in str(figure.to_plotly_json()) and "&lt;img" in str(figure.to_plotly_json())


def test_nothing_to_draw_is_drawn_as_nothing() -> None:
    assert len(forecasts.fact_chart(()).data) == 1
    none = CheckedForecast(forecasts=(), before=torch.zeros(0), after=torch.zeros(0))
    assert len(forecasts.check_chart(none).data) == 1
