"""Reasons become remedies in the order of their promise, and only those that were seen to work are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kgmet.base.errors import Cancelled
from kgmet.base.progress import Stage
from kgmet.editing import report as report_module
from kgmet.editing.editors import EDITORS
from kgmet.editing.remedies import (
    MOST_TRIED,
    Remedies,
    Remedy,
    RemedyKind,
    remedies_of,
    stay_questions,
    try_remedies,
)
from kgmet.editing.report import EditReport, own_question
from kgmet.editing.session import Edited, EditSession
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.lm.load.loaded import LoadedLM, load_lm
from kgmet.measure.answer import Answer
from kgmet.measure.edit_verdict import EditVerdict, Outcome, Reason, judge_edit
from tests.editing.test_session import TOWER, logits, session_of
from tests.graph.small_world import world
from tests.progress import Recorded
from tests.workbench.sessions import answer_to

APPLE = FactEdit(subject="Apple", template="{} was founded by", new_object="Linus Torvalds", old_object="Steve Jobs")
OURS = EDITORS["KGMET"]


def report_of(edit: FactEdit, said: str, search: Sequence[Reason] = ()) -> EditReport:
    question = own_question(edit)
    before = answer_to(question, "a group of artists", new=1e-6, old=1e-5)
    after = answer_to(question, said, new=1e-5, old=1e-6)
    return EditReport(
        edit=edit,
        editor="KGMET",
        graph={"took_part": False, "notes": []},
        before=before,
        after=after,
        verdict=judge_edit(before, after, search=search),
        consequences=(),
    )


def test_apple_gets_words_before_a_longer_shift_and_both() -> None:
    report = report_of(APPLE, "a group", [Reason.FIRST_TOKEN, Reason.LENGTH_LIMIT])
    found = remedies_of(report, editor=OURS, config=OURS.config, wordings=("The founder of {} is", "{} was begun by"))
    assert [item.kind for item in found] == [
        RemedyKind.WORDS_BEFORE,
        RemedyKind.LONGER,
        RemedyKind.TOGETHER,
        *[RemedyKind.EDITOR] * 4,
        RemedyKind.WORDING,
    ]
    assert len(found) == MOST_TRIED
    editors = [(item.editor.name, item.edit.prompt) for item in found[3:7]]
    with_words, typed = "It is known that Apple was founded by", "Apple was founded by"
    assert editors == [("MEMIT", with_words), ("ROME", with_words), ("ROME", typed), ("FT", typed)]
    words, longer, both, other, _, _, _, worded = found
    assert words.edit.prompt == "It is known that Apple was founded by" and words.config == OURS.config
    # 1.5 × 1.3 and 2 × 8
    assert longer.config is not None and longer.edit == APPLE
    assert (longer.config.target.max_norm_ratio, longer.config.target.max_steps) == (1.95, 16)
    assert longer.config.target.rate == OURS.config.target.rate and longer.config.write == OURS.config.write
    assert both.edit == words.edit and both.config == longer.config
    assert "It is known that Apple" in both.sentence and "1.95" in both.sentence
    assert worded.edit.prompt == "The founder of Apple is" and worded.edit.new_object == "Linus Torvalds"
    assert (other.config, other.edit) == (None, words.edit)
    assert other.sentence == f"{words.sentence} Use the editor MEMIT."


def test_a_question_becomes_a_sentence_of_its_relation() -> None:
    asked = replace(APPLE, template="Who founded {}?", id="")
    found = remedies_of(report_of(asked, "A man"), editor=OURS, config=OURS.config, wordings=("{} was founded by",))
    assert found[0].kind is RemedyKind.STATEMENT and found[0].edit.id == APPLE.id
    assert [item.kind for item in found].count(RemedyKind.WORDING) == 0


def test_a_search_that_ran_out_of_steps_gets_three_times_as_many() -> None:
    found = remedies_of(report_of(APPLE, "a group", [Reason.STEPS_USED]), editor=OURS, config=OURS.config)
    assert found[0].kind is RemedyKind.STEPS
    assert found[0].config is not None and found[0].config.target.max_steps == 24


def test_the_editor_at_hand_is_no_remedy_and_nothing_is_tried_twice() -> None:
    memit = EDITORS["MEMIT"]
    report = report_of(APPLE, "a group", [Reason.LENGTH_LIMIT])
    found = remedies_of(report, editor=memit, config=memit.config, wordings=("{} was founded by",) * 2)
    assert [item.editor.name for item in found if item.kind is RemedyKind.EDITOR] == ["ROME", "FT", "AlphaEdit"]
    assert RemedyKind.WORDING not in {item.kind for item in found}, "its own wording is no other one"
    assert len({item.key for item in found}) == len(found)


def test_what_took_needs_no_remedy() -> None:
    report = report_of(APPLE, "Linus Torvalds, in 1976", [Reason.FIRST_TOKEN])
    assert remedies_of(report, editor=OURS, config=OURS.config, wordings=("The founder of {} is",)) == ()


def small_remedies(session: EditSession, edited: Edited) -> tuple[Remedy, ...]:
    """The first three, with the tiny model's settings where an editor would bring its own."""
    found = remedies_of(edited.report, editor=session.editor, config=session.config)[:4]
    return tuple(replace(item, config=item.config or session.config) for item in found)


def tried(session: EditSession, edited: Edited, watching: Recorded, seen: list[Remedies]) -> Remedies:
    return try_remedies(
        session.lm,
        edited.plan.contexts[0],
        edited.patch,
        small_remedies(session, edited),
        statistics=session.statistics,
        graph=world(),
        catalogue=RelationCatalogue.load(),
        progress=watching,
        seen=seen.append,
    )


@pytest.fixture
def failed(lm: LoadedLM) -> tuple[EditSession, Edited]:
    """A random model does not say what an edit wants."""
    session = session_of(lm)
    edited = session.edit(TOWER)
    assert edited.report.verdict.outcome is not Outcome.TOOK
    session.undo()
    return session, edited


def test_what_does_not_work_is_counted_and_not_shown(failed: tuple[EditSession, Edited]) -> None:
    session, edited = failed
    untouched, watching, seen = logits(session), Recorded(), list[Remedies]()
    found = tried(session, edited, watching, seen)
    n = len(small_remedies(session, edited))
    assert found.found == () and (found.n_tried, found.n_candidate) == (n, n) and found.is_over
    assert watching.done(Stage.REMEDIES) == list(range(n)) and [item.n_tried for item in seen] == list(range(1, n + 1))
    assert torch.equal(logits(session), untouched), "nothing stays attached"
    assert session.patches == ()


def test_it_can_be_stopped_between_two_tries(failed: tuple[EditSession, Edited]) -> None:
    session, edited = failed
    untouched, watching, seen = (
        logits(session),
        Recorded(lambda so_far: len(so_far.done(Stage.REMEDIES)) > 1),
        list[Remedies](),
    )
    with pytest.raises(Cancelled):
        tried(session, edited, watching, seen)
    assert [item.n_tried for item in seen] == [1]
    assert torch.equal(logits(session), untouched)


def test_what_works_has_its_price_counted_by_hand(
    failed: tuple[EditSession, Edited], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict is made up; what is measured of it is not."""
    session, edited = failed

    def took(before: Answer, after: Answer, *, search: Sequence[Reason] = ()) -> EditVerdict:
        return EditVerdict(outcome=Outcome.TOOK, prompt=after.question.text, new="Tokyo", says="Tokyo")

    monkeypatch.setattr(report_module, "judge_edit", took)
    seen: list[Remedies] = []
    found = tried(session, edited, Recorded(), seen)
    assert len(found.found) == 3 and found.is_over and found.n_tried == 3
    stay = stay_questions(edited.plan.contexts[0], world(), RelationCatalogue.load())
    assert stay and all(item.n_stay == len(stay) for item in (found, *found.found))
    first = found.found[0]
    session.graph = None
    before = session.probe(stay)
    assert all(pair.holds for pair in before.pairs), "nothing is attached, so nothing changed"
    again = EditSession(session.lm, graph=None, statistics=session.statistics, patches=[first.edited.patch])
    by_hand = sum(pair.holds is True for pair in again.probe(stay).pairs)
    assert first.kept == by_hand
    as_it_is = EditSession(session.lm, graph=None, statistics=session.statistics, patches=[edited.patch])
    assert found.kept == sum(pair.holds is True for pair in as_it_is.probe(stay).pairs)
    for item in found.found:
        assert (item.typed is None) is (item.remedy.edit.prompt == TOWER.prompt)


def test_a_graph_that_knows_nothing_has_no_neighbours(failed: tuple[EditSession, Edited]) -> None:
    _, edited = failed
    assert stay_questions(edited.plan.contexts[0], None, RelationCatalogue.load()) == ()


@pytest.mark.soak  # half a minute; what is tried, counted and kept is tested above
def test_the_founder_of_apple_can_be_changed_after_all(default_model_dir: Path) -> None:
    """The default model has no such fact, and the edit does not take; of what was found one remedy does."""
    session = EditSession(load_lm(str(default_model_dir)))
    edited = session.edit(APPLE)
    verdict = edited.report.verdict
    assert verdict.outcome is not Outcome.TOOK and verdict.reasons[0] is Reason.FIRST_TOKEN
    assert "first token" in verdict.headline
    candidates = remedies_of(
        edited.report, editor=session.editor, config=session.config, wordings=edited.plan.contexts[0].paraphrases
    )
    found = try_remedies(
        session.lm,
        edited.plan.contexts[0],
        edited.patch,
        [item for item in candidates if item.editor.name == "MEMIT" and item.edit != APPLE],
        statistics=session.statistics,
        graph=session.graph,
        catalogue=session.catalogue,
    )
    (best,) = found.found
    assert best.edited.report.after.says and "Torvalds" in best.edited.report.after.said
    assert 0 < best.kept <= best.n_stay
