"""`target.price`: a search that feels the forecast, through the whole edit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.base.errors import ConfigError
from kgmet.editing.config import config_from_mapping
from kgmet.editing.editors import EDITORS, Editor
from kgmet.editing.plan import EditPlan, plan_edits, search_edits, search_known
from kgmet.fact import FactEdit
from kgmet.forecast.forecast import forecast
from kgmet.forecast.index import FactIndex
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.statistics import KeyStatistics
from tests.editing.small import CORPUS, GATE, TOWER, context_of, small_editor
from tests.editing.test_priced_again import index

__all__ = ["index"]
LOUVRE = FactEdit(subject="The Louvre", template="{} is located in the city of", new_object="Rome")


def editor(price: float, *, name: str = "AlphaEdit", layers: tuple[int, ...] = (2,), weight: float = 0.0) -> Editor:
    small = small_editor(EDITORS[name])
    changes = {"target": {"price": price}, "write": {"layers": layers, "price": {"weight": weight}}}
    return replace(small, config=config_from_mapping(changes, base=small.config))


def planned(lm: LoadedLM, index: FactIndex, chosen: Editor, *edits: FactEdit, **rest: object) -> EditPlan:
    contexts = [context_of(edit, chosen) for edit in edits]
    statistics = KeyStatistics(lm, CORPUS)
    return plan_edits(lm, contexts, editor=chosen, statistics=statistics, index=index, **rest)  # type: ignore[arg-type]


def moved(plan: EditPlan, index: FactIndex) -> float:
    return float(forecast(plan.patch, index).changes.norm())


@pytest.mark.parametrize("name", ["AlphaEdit", "KGMET", "MEMIT", "ROME", "NSE", "SUIT", "GLAME"])
def test_every_search_leaves_priced_answers_where_they_are_if_that_is_all_that_counts(
    lm: LoadedLM, index: FactIndex, name: str
) -> None:
    """One written layer: the forecast of what is written is the one that the search felt."""
    plain, priced = (planned(lm, index, editor(price, name=name), TOWER) for price in (0.0, 1e9))
    assert moved(priced, index) < 0.02 * moved(plain, index)
    assert priced.shifts[0].length > 0.1 * plain.shifts[0].length


@pytest.mark.parametrize("name", ["AlphaEdit", "AlphaEdit-FE", "KGMET-many"])
def test_over_several_layers_and_with_forward_replay_less_is_forecast_to_change(
    lm: LoadedLM, index: FactIndex, name: str
) -> None:
    plain, priced = (planned(lm, index, editor(price, name=name, layers=(1, 2)), TOWER) for price in (0.0, 1e9))
    assert moved(priced, index) < 0.8 * moved(plain, index)


def test_both_prices_are_of_the_same_facts(lm: LoadedLM, index: FactIndex) -> None:
    both = planned(lm, index, editor(1e9, name="KGMET-priced", weight=10.0), TOWER)
    alone = planned(lm, index, editor(0.0, name="KGMET-priced", weight=10.0), TOWER)
    assert moved(both, index) < moved(alone, index)


def test_the_price_of_the_search_is_the_same_alone_and_in_a_batch_and_after_other_edits(
    lm: LoadedLM, index: FactIndex
) -> None:
    chosen = editor(5.0, name="KGMET")
    alone, batch = planned(lm, index, chosen, TOWER), planned(lm, index, chosen, GATE, TOWER)
    torch.testing.assert_close(batch.shifts[1].delta, alone.shifts[0].delta, rtol=1e-2, atol=1e-3)
    later = planned(lm, index, chosen, LOUVRE, earlier=alone.so_far)
    assert later.shifts[0].curve[-1]["price"] > 0


def test_an_edit_with_a_price_is_searched_anew_for_another_use(lm: LoadedLM, index: FactIndex) -> None:
    for price in (0.0, 1.0):
        chosen = editor(price)
        context = context_of(TOWER, chosen)
        found = search_edits(
            lm, [context], editor=chosen, statistics=KeyStatistics(lm, CORPUS), index=index if price else None
        )
        assert (search_known(lm, found, context, chosen.config) is None) is (price > 0)


def test_a_method_without_a_search_cannot_have_it(lm: LoadedLM) -> None:
    chosen = editor(1.0, name="FT")
    with pytest.raises(ConfigError, match=r"target\.price"):
        search_edits(lm, [context_of(TOWER, chosen)], editor=chosen)
