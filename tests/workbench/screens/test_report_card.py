"""The Report card page: nothing yet, scored, out of date; and texts of strangers are texts."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from kgmet.editing.editors import EDITORS
from kgmet.evaluate.card.asked import CardConfig
from kgmet.evaluate.card.value import IN_CONTEXT, IN_CONTEXT_GRAPH, UNEDITED, ReportCard, edited_columns
from kgmet.lm.load.loaded import LoadedLM
from tests.evaluate.card.test_render import HOSTILE, card
from tests.workbench.sessions import entry_for, state_of, wait_for
from tests.workbench.shown_pages import sentences, shown
from tests.write.tiny_edits import random_patch
from workbench import wording
from workbench.drawing.card_table import RESULT, card_html, scale_text
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.screens.report_card import actions, view
from workbench.shared import inspect_actions
from workbench.state.session import WorkbenchState

SMALL = CardConfig(
    n_consequences=1, n_neighbours=1, n_later_hops=1, n_multi_hop=1, continued_tokens=3, text_tokens=30, answer_tokens=3
)


def edited(resident: Resident) -> WorkbenchState:
    state = state_of()
    state.record.change(stack=(entry_for(resident.lm, seed=1), entry_for(resident.lm, seed=2)))
    return state


def test_without_an_edit_the_page_says_where_to_make_one(resident: Resident) -> None:
    page = shown("report_card", state_of())
    assert not page.exception
    assert "No edit yet" in sentences(page)


def test_an_edit_is_scored_shown_and_marked_when_the_stack_changes(resident: Resident) -> None:
    state = edited(resident)
    page = shown("report_card", state)
    assert not page.exception
    assert "Nothing scored yet" in sentences(page)
    assert state.focus is not None
    assert actions.score(state, resident, state.focus, SMALL) is None
    job = jobs.latest(state.session_id, "card")
    assert job is not None
    assert wait_for(job.id).error == ""
    kept = state.result("card")
    assert kept is not None
    assert isinstance(kept.value, ReportCard)
    assert kept.value.edits == ("Paris 2 is in → Rome",)
    in_file = state.result(RESULT)
    assert in_file is not None and in_file.value is kept.value
    assert not in_file.is_stale(inspect_actions.seen_from(state, resident, state.focus))
    page = shown("report_card", state)
    assert not page.exception
    assert wording.STALE in sentences(page)  # scored with other settings than the page's
    assert "A row in detail" in [box.label for box in page.selectbox]
    page.selectbox(key="card-row").set_value("negation").run()
    assert not page.exception
    assert "nats per token" in sentences(page)
    assert json.loads(json.dumps(kept.value.to_json()))["edits"] == ["Paris 2 is in → Rome"]


def test_the_card_is_of_the_edit_on_top_of_those_under_it(resident: Resident) -> None:
    """With the lower edit off, the unedited column is the bare model's, and so the card is another one."""
    state = edited(resident)
    cards = []
    for is_on in (True, False):
        lower, upper = state.stack
        state.record.change(stack=(replace(lower, is_on=is_on), upper))
        assert actions.score(state, resident, upper, SMALL) is None
        job = jobs.latest(state.session_id, "card")
        assert job is not None
        assert wait_for(job.id).error == ""
        kept = state.result("card")
        assert kept is not None
        cards.append(kept.value)
    values = [card.row("perplexity").cells["unedited"].value for card in cards]
    assert values[0] != values[1]


def test_other_editors_make_the_same_edit_beside_it(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier: list[int] = []

    def plan(lm: LoadedLM, _: object, **given: Any) -> Any:
        earlier.append(len(given["earlier"].patches))
        return argparse.Namespace(patch=random_patch(lm, seed=5))

    monkeypatch.setattr("kgmet.evaluate.card.made.plan_edits", plan)
    state = edited(resident)
    upper = state.stack[1]
    assert actions.score(state, resident, upper, SMALL, others=[EDITORS["AlphaEdit"]]) is None
    job = jobs.latest(state.session_id, "card")
    assert job is not None
    assert wait_for(job.id).error == ""
    kept = state.result("card")
    assert kept is not None
    assert earlier == [1]  # on top of the edit under it, as the one beside it
    labels = [column.label for column in kept.value.columns]
    assert labels[:3] == ["Unedited", upper.patch.editor, "AlphaEdit"]
    page = shown("report_card", state)
    page.multiselect(key="card-others").set_value(["AlphaEdit"]).run()
    assert not page.exception
    assert page.button(key="score").label == "Score 2 editors"


def test_all_edits_that_are_on_are_scored_together(resident: Resident) -> None:
    state = edited(resident)
    page = shown("report_card", state)
    next(group for group in page.button_group if group.label == "Score").set_value("All edits together").run()
    assert not page.exception
    assert page.button(key="score").label == "Score all edits"
    assert actions.score_all(state, resident, SMALL) is None
    job = jobs.latest(state.session_id, "card")
    assert job is not None
    assert wait_for(job.id).error == ""
    kept = state.result("card")
    assert kept is not None
    assert len(kept.value.edits) == 2
    page.run()
    assert "Scored in" in sentences(page)


def test_an_edit_for_another_model_is_not_scored(resident: Resident) -> None:
    state = edited(resident)
    entries = tuple(replace(entry, patch=replace(entry.patch, model_fingerprint="0" * 16)) for entry in state.stack)
    state.record.change(stack=entries)
    page = shown("report_card", state)
    assert not page.exception
    assert "made for another model" in sentences(page)


def test_tables_and_worst_answers_hold_texts_as_texts() -> None:
    made = card()
    table = card_html(made)
    assert re.findall(r'<th scope="col"><bdi>(.*?)</bdi>', table) == ["row", *(one.label for one in made.columns), "n"]
    assert "<td>75 %<small>30–95 · 3/1/0</small></td>" in table and HOSTILE not in table
    (line,) = view.worst_lines(made.rows[0], made)
    assert HOSTILE not in line
    assert "<script>" not in line
    assert view.row_labels(made)["efficacy"] == "Efficacy"
    assert "said / preferred / no" in scale_text(made)
    more = edited_columns(["KGMET", "AlphaEdit"])
    wide = replace(
        made,
        asked=(UNEDITED, *more, IN_CONTEXT, IN_CONTEXT_GRAPH),
        rows=tuple(
            replace(row, cells=dict(row.cells) | {column.key: row.cells["after"] for column in more})
            for row in made.rows
        ),
    )
    assert "<td>75 %<small>30–95</small></td>" in card_html(wide)
    assert "said / preferred / no" not in scale_text(wide)
