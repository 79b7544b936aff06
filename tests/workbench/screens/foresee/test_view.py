"""The Foresee page's words: whole sentences with their n, lines that are text, an estimate before anything starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.editing.foresee import Foreseen
from kgmet.forecast.check import CheckedForecast
from tests.tiny_models import tiny_lm
from tests.workbench.drawing.test_forecasts import HOSTILE, ITEMS, item
from tests.workbench.sessions import patch_for
from workbench.screens.foresee import view


def foreseen() -> Foreseen:
    return Foreseen(patch=patch_for(tiny_lm()), forecasts=ITEMS, p_new=((0.01, 0.99),))


def test_a_line_says_subject_relation_answer_now_forecast_and_direction() -> None:
    assert view.fact_line(ITEMS[0], "located in city") == (
        "**Prado** · located in city: Rome, 80\u00a0% → 12\u00a0% ▼\u00a0−1\\.90"
    )
    assert "▲" in view.fact_line(ITEMS[1], "capital")
    assert view.fact_line(ITEMS[0], "", measured=0.5).endswith("; measured 50\u00a0%")


def test_a_label_from_the_graph_is_text() -> None:
    line = view.fact_line(item(HOSTILE + " **b** $x$", 0.5, 0.1), HOSTILE)
    assert "<img" not in line.replace("\\<", "")
    assert "\\*\\*b\\*\\*" in line and "\\$x\\$" in line


@pytest.mark.parametrize(
    ("way", "expected"), [(view.ALL, [0, 1, 2]), (view.LOSE, [0, 2]), (view.GAIN, [1])], ids=["all", "lose", "gain"]
)
def test_facts_are_ranked_each_way(way: str, expected: list[int]) -> None:
    assert view.chosen_ways(foreseen(), way, 10) == tuple(ITEMS[n] for n in expected)
    assert len(view.chosen_ways(foreseen(), way, 1)) == 1


def test_the_headline_counts_what_is_lost_and_says_of_how_many() -> None:
    assert view.headline(foreseen()).startswith("**1 of 3** known facts")
    assert "0\\.800 nats" in view.headline(foreseen())
    assert "nothing to forecast" in view.headline(replace(foreseen(), forecasts=()))


def test_the_estimate_says_what_is_left_how_long_and_where_it_is_kept() -> None:
    said = view.estimate(120, 0, 43.2, n_bytes=24_000_000, is_cpu=True)
    assert "measuring them takes about 45 s on one CPU thread" in said and "24 MB" in said
    assert "20 of them are on disk already" in view.estimate(120, 20, 36, n_bytes=1, is_cpu=True)
    assert "the other 100" in view.estimate(120, 20, 36, n_bytes=1, is_cpu=True)
    assert "4 min on one" in view.estimate(600, 0, 216, n_bytes=1, is_cpu=True)
    assert "CPU" not in view.estimate(600, 0, 216, n_bytes=1, is_cpu=False)
    assert view.estimate(120, 120, 0, n_bytes=1, is_cpu=True).startswith("All 120 facts are measured already")


def test_the_time_left_follows_from_how_fast_it_was() -> None:
    assert view.time_left(40, 120, 20) == "about 40 s left"
    assert [view.time_left(0, 120, 1), view.time_left(5, None, 1), view.time_left(120, 120, 9)] == ["", "", ""]


def test_the_protected_edit_stands_beside_the_one_as_it_is() -> None:
    safe = replace(foreseen(), forecasts=(item("Prado", 0.8, -0.02), *ITEMS[1:]), p_new=((0.01, 0.98),))
    table = view.protected_table(foreseen(), safe, {ITEMS[0].fact.prompt.id})
    assert table["as it is"].tolist() == ["99.0\u00a0%", "1", "1.900", "0.250"]
    assert table["protected"].tolist() == ["98.0\u00a0%", "0", "0.020", "0.250"]
    assert table.index[1].endswith("of 3") and "the other 2" in table.index[3]


def test_the_whole_table_has_forecast_protected_and_measured() -> None:
    checked = CheckedForecast(
        forecasts=ITEMS, before=torch.zeros(3, dtype=torch.float64), after=torch.tensor([-2.0, 0.3, 0.0]).double()
    )
    table = view.full_table(foreseen(), {"P131": "located in city"}, protected=foreseen(), checked=checked)
    assert table["subject"].tolist() == ["Prado", HOSTILE, "Louvre"]
    assert table["relation"].tolist() == ["located in city", "P36", "located in city"]
    assert table["measured, nats"].tolist() == [-2.0, 0.3, 0.0]
    assert table["protected, nats"].tolist() == table["change, nats"].tolist()
    assert "measured, nats" not in view.full_table(foreseen(), {}, protected=None, checked=None)
    said = view.check_sentence(checked)
    assert "1.00, n = 3" in said and "more than 0.5 nats: 1; forecast: 1" in said
    assert said in view.check_alt(checked)


def test_layers_in_words() -> None:
    assert [view.span([3, 4, 5]), view.span([2, 5]), view.span([6])] == ["layers 3–5", "layers 2, 5", "layer 6"]
