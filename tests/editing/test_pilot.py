"""Pilot edits, and the norm anchor that is taken from them."""

from __future__ import annotations

from dataclasses import replace

import torch

from kgmet.editing.context import EditContext
from kgmet.editing.editors import EDITORS
from kgmet.editing.factories import make_source
from kgmet.editing.pilot import anchor_length, pilot_edits
from kgmet.editing.plan import plan_edits
from kgmet.editing.problem import build_problem
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.search import find_target_shifts
from kgmet.write.statistics import KeyStatistics
from tests.editing.small import CORPUS, GATE, TOWER, small_editor


def test_pilot_edits_are_the_same_every_time_and_say_something_new() -> None:
    edits = pilot_edits(20)
    assert edits == pilot_edits(20)
    assert len({edit.id for edit in edits}) == 20
    assert all(edit.new_object not in edit.subject for edit in edits)


def test_every_wanted_state_has_the_mean_length_of_the_pilots(lm: LoadedLM) -> None:
    editor = small_editor(EDITORS["AlphaEdit"], steps=3)
    target = replace(editor.config.target, anchor_pilots=20)
    config = replace(editor.config, target=target)
    contexts = [EditContext(edit=edit) for edit in pilot_edits(20)]
    problems = [build_problem(context, config) for context in contexts]
    sources = [make_source(lm, context, config) for context in contexts]
    shifts = find_target_shifts(lm, problems, sources, layer=2, config=target)
    lengths = sorted(float(shift.after.norm()) for shift in shifts)
    anchor = sum(lengths[:19]) / 19  # the longest of twenty is dropped
    torch.testing.assert_close(anchor_length(lm, config), anchor, rtol=1e-4, atol=1e-4)

    found = plan_edits(
        lm,
        [EditContext(edit=edit) for edit in (TOWER, GATE)],
        editor=editor,
        config=config,
        statistics=KeyStatistics(lm, CORPUS),
    )
    plain = plan_edits(
        lm,
        [EditContext(edit=edit) for edit in (TOWER, GATE)],
        editor=editor,
        statistics=KeyStatistics(lm, CORPUS),
    )
    for mine, free in zip(found.shifts, plain.shifts, strict=True):
        torch.testing.assert_close(mine.after, free.after * anchor / free.after.norm(), rtol=1e-3, atol=1e-3)
