"""The hand-written questions are held out, and answered questions are counted by hops and by origin."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.triple import Entity
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


def test_the_same_questions_about_another_subject_are_compared_where_there_is_one(
    load: Callable[[str], ModuleType],
) -> None:
    module = load("multi_hop")
    question = Question(
        kind=QuestionKind.MULTI_HOP, text="Which flag flies over the Eiffel Tower?", form=Form.CHAT, expected="Japan",
        rejected="France", hops=2,
    )  # fmt: skip
    asked = [
        module.Asked(case=case, is_by_hand=True, question=question, template="Which flag flies over {}?")
        for case in (0, 1, 1)
    ]
    dome = Entity(id="Q1", label="Tokyo Dome", article="the")
    about = asked[1].about(dome).question
    assert (about.text, about.expected, about.rejected) == ("Which flag flies over the Tokyo Dome?", "Japan", None)
    natural, edited = (
        module.Row(said=said, said_old=(False,) * 3, texts=("",) * 3, columns={})
        for said in ((True, False), (True, True, True))
    )
    lines = str(module.natural_table(natural, {"KGMET": edited}, asked, [None, dome])).splitlines()[2:]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] == [
        [module.NATURAL, "50 (9–91, n 2)", "–"],
        ["KGMET", "100 (34–100, n 2)", "–"],
    ]


def test_a_row_comes_back_from_its_line(load: Callable[[str], ModuleType]) -> None:
    module = load("multi_hop")
    columns = {"efficacy": Counts(n=2, preferred=2, first=1)}
    row = module.Row(said=(True,), said_old=(False,), texts=("Rome",), columns=columns, seconds=1.5)
    assert module.Row.from_json(row.to_json()) == row


@pytest.mark.parametrize(("hits", "n", "text"), [(0, 0, "–"), (5, 10, "50 (24–76, n 10)")])
def test_shares_have_their_interval(load: Callable[[str], ModuleType], hits: int, n: int, text: str) -> None:
    assert load("multi_hop").share_text(hits, n) == text
