"""The report of an edit: both sides asked together say what each says alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kgmet.base.errors import Cancelled
from kgmet.base.progress import Silent
from kgmet.editing.editors import EDITORS
from kgmet.editing.report import answers_again, report_edit
from kgmet.editing.session import Edited, EditSession
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.answer import Answer
from kgmet.measure.ask import ask
from kgmet.write.corpus import Corpus
from kgmet.write.patch import EditPatch, attached
from kgmet.write.statistics import KeyStatistics
from tests.editing.small import small_editor
from tests.graph.small_world import world
from tests.passes import passes
from tests.tiny_models import tiny_lm

LINES = tuple(f"The {a} of {b} is old." for a in ("city", "tower", "gate") for b in ("France", "Rome", "Tokyo"))
TOWER = FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Tokyo")
GATE = FactEdit(subject="The Brandenburg Gate", template="{} is located in the city of", new_object="Rome")


def two_edits() -> tuple[LoadedLM, Edited, Edited]:
    lm = tiny_lm()
    statistics = KeyStatistics(lm, Corpus(name="test", lines=LINES))
    session = EditSession(lm, editor=small_editor(EDITORS["KGMET"]), graph=world(), statistics=statistics)
    return lm, session.edit(GATE), session.edit(TOWER)


def alone(lm: LoadedLM, answers: Sequence[Answer], patches: Sequence[EditPatch]) -> list[Answer]:
    """Ask the same questions of one side at a time."""
    with attached(list(patches), lm):
        return ask(lm, [answer.question for answer in answers])


def logprob(answer: Answer) -> float:
    assert answer.expected is not None
    return answer.expected.logprob


def test_both_sides_together_say_what_each_says_alone() -> None:
    lm, first, second = two_edits()
    report = second.report
    pairs = [item.pair for item in (*report.consequences, *report.multi_hop)]
    assert pairs
    sides = (
        ([report.before, *(pair.before for pair in pairs)], [first.patch]),
        ([report.after, *(pair.after for pair in pairs)], [first.patch, second.patch]),
    )
    for together, patches in sides:
        for one, other in zip(together, alone(lm, together, patches), strict=True):
            assert one.said == other.said
            assert logprob(one) == pytest.approx(logprob(other), abs=1e-3)
    assert abs(logprob(report.before) - logprob(report.after)) > 0.1


def test_asked_again_without_the_edit_every_number_is_the_same_to_the_bit() -> None:
    lm, first, second = two_edits()
    report = second.report
    again = answers_again(lm, report, earlier=[first.patch])
    assert [(a.p_expected, a.p_rejected, a.said) for a in again] == [
        (b.p_expected, b.p_rejected, b.said) for b in report.before_answers
    ]
    with_it = answers_again(lm, report, earlier=[first.patch, second.patch])
    assert [a.p_expected for a in with_it] != [b.p_expected for b in report.before_answers]


def test_the_second_side_takes_no_pass_of_its_own() -> None:
    lm, _, second = two_edits()
    report = second.report
    with passes(lm) as together:
        answers_again(lm, report)
    with passes(lm) as apart:
        alone(lm, report.before_answers, [])
    assert 0 < len(together) == len(apart)


def test_the_answers_to_the_edits_own_prompt_are_known_before_the_others() -> None:
    lm, seen = tiny_lm(), []
    statistics = KeyStatistics(lm, Corpus(name="test", lines=LINES))
    session = EditSession(lm, editor=small_editor(EDITORS["KGMET"]), graph=world(), statistics=statistics)
    with passes(lm) as shapes:
        edited = session.edit_prepared(
            [session.prepare(GATE), session.prepare(TOWER)], on_answer=lambda pair: seen.append((len(shapes), pair))
        )
    assert [pair.before for _, pair in seen] == [report.before for report in edited.reports]
    assert [pair.after for _, pair in seen] == [report.after for report in edited.reports]
    assert seen[-1][0] < len(shapes), "the multi-hop questions are asked further"


def test_a_report_can_be_cancelled_before_every_pass() -> None:
    lm, _, second = two_edits()
    with passes(lm) as shapes:

        class Late(Silent):
            def check(self) -> None:
                if len(shapes) == 2:
                    raise Cancelled("enough")

        with pytest.raises(Cancelled):
            report_edit(lm, second.plan, progress=Late())
    assert len(shapes) == 2
    assert not [module for module in lm.model.modules() if module._forward_hooks]
