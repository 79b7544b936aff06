"""A session with every result that is saved, as an earlier version wrote it to the folder `files/session`."""

from __future__ import annotations

from dataclasses import replace

from tests.formats import values
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import entry_for
from workbench.drawing.hop_line import HopLine, Mark, Station
from workbench.drawing.probe_story import RESULT as STORY
from workbench.drawing.probe_story import KindCount, ProbeStory
from workbench.screens.chat.values import KIND, Exchange
from workbench.screens.foresee.values import PROTECTED, TICKED
from workbench.screens.probe.values import RESULT, Chain, ProbeRun
from workbench.shared.foreseen import CHECKED, FORESEEN
from workbench.shared.told import Telling, ToldEdit
from workbench.state.compared import Compared
from workbench.state.values import StackEntry

SESSION_ID = "a-session-that-an-earlier-version-made"
SETTINGS = {"write": {"layers": [1, 2]}, "target": {"max_steps": 2}}
EXCLUDE = (("Q243", "P131", "Q90"), "P17")

PROBED = ProbeRun(
    entry_id="0123456789abcdef",
    comparison=values.COMPARISON,
    divergence=(0.5, 0.25),
    chains=(
        Chain(
            consequence=values.FORWARD,
            hops=((values.IN_ROME, values.QUESTION), (values.ROME_ITALY, values.ASKED)),
            whole=values.ASKED,
        ),
        Chain(consequence=values.LOST, hops=(), whole=None),
    ),
    hops=values.COMPARISON,
    decoding=values.DECODING,
    told=values.TOLD,
    seconds=2.5,
)
STATION = Station(
    name="Rome",
    relation="located in city",
    asked=values.QUESTION.text,
    before="Paris",
    after="Rome",
    mark_before=Mark.OLD,
    mark_after=Mark.SAYS,
    is_known=False,
)
RESULTS = {
    RESULT: PROBED,
    STORY: ProbeStory(
        lines=(HopLine(start="Eiffel Tower", stations=(STATION,), whole=STATION),),
        counts=(
            KindCount(kind="control", n=4, before=3, after=2, told=1),
            KindCount(kind="own", n=1, before=0, after=0),
        ),
    ),
    KIND: (
        Exchange(
            question=values.QUESTION,
            unedited=values.BEFORE,
            edited=values.AFTER,
            told=values.TOLD,
            telling="the fact",
            edits=("edit 0", "edit 1"),
            decoding=values.DECODING,
            seconds=0.5,
        ),
        Exchange(
            question=values.UNEXPECTED,
            unedited=values.UNEXPECTED_ANSWER,
            edited=values.UNEXPECTED_ANSWER,
            told=None,
            telling="nothing",
            edits=(),
            decoding=values.DECODING,
        ),
    ),
    "told": ToldEdit(entry_id="0123456789abcdef", telling=Telling.GRAPH, told=values.TOLD),
    FORESEEN: values.FORECAST,
    PROTECTED: replace(values.FORECAST, is_priced=False, protected=frozenset()),
    CHECKED: values.CHECKED,
    TICKED: frozenset({"b", "a"}),
}
COMPARED = Compared(comparison=values.EDITORS_COMPARED, chosen="0123456789abcdef", rows=values.ROWS)


def entries() -> list[StackEntry]:
    """Three edits: one with a full report and switches, one that is off and was never measured, one undone."""
    first, second, third = (entry_for(tiny_lm(), seed=seed) for seed in range(3))
    first = replace(
        first,
        report=values.REPORT,
        curve=({"total": 1.0, "rewrite": 0.5}, {"total": 0.25}),
        exclude=EXCLUDE,
        leave=frozenset({"near1", "c0ffee"}),
    )
    second = replace(second, note="a note\nof two lines", is_on=False, based_on=(first.id,), report=None, curve=())
    return [first, second, third]
