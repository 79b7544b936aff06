"""The hand-written questions are held out, and answered questions are counted by hops and by origin."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from kgmet.graph.relations import RelationCatalogue
from kgmet.measure.columns import Counts
from kgmet.measure.question import Form, Question, QuestionKind


def test_hand_written_questions_are_in_no_other_split_and_not_in_the_catalogue(
    load: Callable[[str], ModuleType],
) -> None:
    questions, splits = load("multi_hop_questions").QUESTIONS, load("edit_set").SPLITS
    known = {text for spec in RelationCatalogue.load() for text in spec.questions}
    by_split = {
        split: {text for wordings in kinds.values() for texts in wordings.values() for text in texts}
        for split, kinds in questions.items()
    }
    assert set(by_split) == {"test", "tuning"} == set(splits)
    assert not by_split["test"] & by_split["tuning"]
    for split, texts in by_split.items():
        assert not texts & known
        assert all(text.count("{}") == 1 and text.endswith("?") for text in texts)
        assert set(questions[split]) <= set(splits[split])


def test_answers_are_counted_by_hops_and_by_origin(load: Callable[[str], ModuleType]) -> None:
    module = load("multi_hop")

    def asked(hops: int, is_by_hand: bool) -> object:
        question = Question(kind=QuestionKind.MULTI_HOP, text="Where?", form=Form.CHAT, hops=hops)
        return module.Asked(case=0, is_by_hand=is_by_hand, question=question)

    questions = [asked(2, True), asked(2, True), asked(2, False), asked(3, True)]
    row = module.Row(said=(True, False, True, True), said_old=(False,) * 4, texts=("",) * 4, columns={})
    found = {(h, by): module.counts_of(row, questions, hops=h, is_by_hand=by) for h in (2, 3) for by in (True, False)}
    assert found == {(2, True): (1, 2), (2, False): (1, 1), (3, True): (1, 1), (3, False): (0, 0)}


def test_a_row_comes_back_from_its_line(load: Callable[[str], ModuleType]) -> None:
    module = load("multi_hop")
    columns = {"efficacy": Counts(n=2, preferred=2, first=1)}
    row = module.Row(said=(True,), said_old=(False,), texts=("Rome",), columns=columns, seconds=1.5)
    assert module.Row.from_json(row.to_json()) == row


@pytest.mark.parametrize(("hits", "n", "text"), [(0, 0, "–"), (5, 10, "50 (24–76, n 10)")])
def test_shares_have_their_interval(load: Callable[[str], ModuleType], hits: int, n: int, text: str) -> None:
    assert load("multi_hop").share_text(hits, n) == text
