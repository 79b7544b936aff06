"""Counts by column: what is preferred, what is first, and one score for all four columns."""

from __future__ import annotations

import pytest

from kgmet.base.errors import BrokenArtifactError
from kgmet.lm.say.score import AnswerScore
from kgmet.measure.answer import Answer
from kgmet.measure.columns import COLUMNS, Counts, count_pairs, score_of, summed
from kgmet.measure.compare import AnswerPair
from kgmet.measure.question import Form, Question, QuestionKind


def score(logprob: float) -> AnswerScore:
    return AnswerScore(prompt="p", answer="a", logprob=logprob, n_token=1, is_first=False, rank=1, n_hit=0)


def answer(kind: QuestionKind, said: str, expected: float, rejected: float | None = -2.0) -> Answer:
    question = Question(kind=kind, text="It lies in", expected="Paris", rejected=None if rejected is None else "Rome")
    return Answer(
        question=question,
        said=said,
        form=Form.CLOZE,
        expected=score(expected),
        rejected=None if rejected is None else score(rejected),
    )


def pair(kind: QuestionKind, before: str, after: str, expected: float, rejected: float | None = -2.0) -> AnswerPair:
    return AnswerPair(before=answer(kind, before, -9.0, rejected), after=answer(kind, after, expected, rejected))


def test_preferred_and_first_are_counted_by_column() -> None:
    found = count_pairs(
        [
            pair(QuestionKind.REWRITE, " Rome.", " Paris.", -1.0),
            pair(QuestionKind.PARAPHRASE, " Rome.", " Oslo.", -1.0),
            pair(QuestionKind.PARAPHRASE, " Rome.", " Rome.", -3.0),
            pair(QuestionKind.NEIGHBOUR, " Oslo.", " Oslo.", -3.0),
            pair(QuestionKind.CONSEQUENCE, " Rome.", " Paris.", -1.0, None),
            pair(QuestionKind.CONTROL, " Rome.", " Paris.", -1.0),
        ]
    )
    assert found == {
        "efficacy": Counts(n=1, preferred=1, first=1),
        "paraphrase": Counts(n=2, preferred=1, first=0),
        # It says what it said before, so it was left alone; which of the two is likelier is another matter.
        "neighbour": Counts(n=1, preferred=0, first=1),
    }


def test_the_score_is_the_harmonic_mean_of_both_shares() -> None:
    full = {kind: Counts(n=4, preferred=4, first=4) for kind in COLUMNS}
    assert score_of(full) == 1
    half = {**full, "neighbour": Counts(n=4, preferred=4, first=0)}
    assert score_of(half) == pytest.approx(4 / (1 + 1 + 2 + 1))
    assert score_of({}) == 0
    assert score_of({**full, "neighbour": Counts(n=0, preferred=0, first=0)}) == 0


def test_counts_of_several_edits_add_up_in_the_order_of_the_tables() -> None:
    one = {"neighbour": Counts(n=2, preferred=1, first=0), "efficacy": Counts(n=1, preferred=1, first=1)}
    found = summed([one, one, {}])
    assert list(found) == ["efficacy", "neighbour"]
    assert found["neighbour"] == Counts(n=4, preferred=2, first=0)
    assert str(Counts(n=20, preferred=18, first=14)) == "90 / 70 % (n 20, preferred 70–97 %)"


@pytest.mark.parametrize("data", [{}, {"n": 1, "preferred": 2, "first": 0}, {"n": 1.5, "preferred": 1, "first": 0}])
def test_what_is_no_count_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(BrokenArtifactError):
        Counts.from_json(data)
