"""Each row's numbers against answers judged by hand."""

from __future__ import annotations

import math

import pytest

from kgmet.evaluate.card.asked import AskedItem
from kgmet.evaluate.card.cells import answer_row, entropy_row, is_negation_kept, repetition_row
from kgmet.evaluate.card.texts import TextLoss, divergence_cell, perplexity_cell
from kgmet.evaluate.card.value import Row
from kgmet.lm.say.score import AnswerScore
from kgmet.measure.answer import Answer
from kgmet.measure.metrics import repetition, wilson_interval
from kgmet.measure.question import Form, Question, QuestionKind


def score(probability: float) -> AnswerScore:
    return AnswerScore(
        prompt="p", answer="a", logprob=math.log(probability), n_token=1, is_first=False, rank=2, n_hit=0
    )


def answer(said: str, p_expected: float, p_rejected: float | None = None, **changed: object) -> Answer:
    """An answer to a question that expects Rome and not Paris."""
    values: dict[str, object] = {
        "kind": QuestionKind.REWRITE,
        "text": "The tower is in",
        "expected": "Rome",
        "rejected": None if p_rejected is None else "Paris",
    }
    question = Question(**(values | changed))  # type: ignore[arg-type]
    rejected = None if p_rejected is None else score(p_rejected)
    return Answer(question=question, said=said, form=question.form, expected=score(p_expected), rejected=rejected)


def row_of(key: str, before: list[Answer], after: list[Answer], *, n_worst: int = 5) -> Row:
    items = [AskedItem(row=key, edit=0, question=each.question) for each in before]
    return answer_row(key, items, {"unedited": before, "after": after}, edits=["the edit"], n_worst=n_worst)


def test_said_preferred_and_no_are_counted_and_the_share_is_that_of_said() -> None:
    before = [answer("Paris.", 0.1, 0.8)] * 4
    after = [answer("Rome.", 0.9, 0.1), answer("Oslo", 0.4, 0.1), answer("Paris", 0.2, 0.7), answer("Rome.", 0.9, 0.1)]
    row = row_of("paraphrase", before, after)
    cell = row.cells["after"]
    assert (cell.said, cell.preferred, cell.no, cell.n) == (2, 1, 1, 4)
    assert cell.value == 0.5
    assert cell.interval == wilson_interval(2, 4)
    assert (row.cells["unedited"].said, row.cells["unedited"].no) == (0, 4)


def test_the_worst_answers_come_first_and_no_right_one_is_among_them() -> None:
    before = [answer("Paris.", 0.1, 0.8)] * 4
    after = [answer("Rome", 0.9, 0.1), answer("Oslo", 0.4, 0.1), answer("Paris", 0.2, 0.7), answer("Paris", 0.1, 0.7)]
    row = row_of("paraphrase", before, after)
    assert [example.probabilities["after"] for example in row.worst] == pytest.approx([0.1, 0.2, 0.4])
    assert [example.verdicts["after"] for example in row.worst] == ["no", "no", "prefers"]
    assert row.worst[0].answers == {"unedited": "Paris", "after": "Paris"}
    assert len(row_of("paraphrase", before, after, n_worst=2).worst) == 2


def test_later_hops_count_only_chains_that_the_unedited_model_answers() -> None:
    kind = {"kind": QuestionKind.LATER_HOP}
    before = [answer("Paris", 0.1, 0.9, **kind), answer("Oslo", 0.1, 0.2, **kind), answer("Rome", 0.5, 0.1, **kind)]
    after = [answer("Rome", 0.9, 0.1, **kind), answer("Rome", 0.9, 0.1, **kind), answer("Rome", 0.9, 0.1, **kind)]
    row = row_of("later_hops", before, after)
    assert (row.cells["after"].n, row.n_asked, row.cells["after"].value) == (1, 3, 1.0)
    none = row_of("later_hops", before[1:], after[1:])
    assert none.cells["after"].value is None
    assert none.cells["after"].n == 0
    assert none.n_asked == 2


def test_what_must_stay_holds_if_it_is_answered_as_before_or_truly() -> None:
    kind = {"kind": QuestionKind.NEIGHBOUR}
    before = [answer("a hall, they say", 0.1, 0.2, **kind), answer("Oslo", 0.2, 0.1, **kind)] * 2
    after = [
        answer("a hall – so", 0.1, 0.5, **kind),
        answer("Rome", 0.9, 0.1, **kind),
        answer("Paris", 0.1, 0.9, **kind),
        answer("Bergen", 0.5, 0.1, **kind),
    ]
    cell = row_of("neighbours", before, after).cells["after"]
    assert (cell.said, cell.preferred, cell.no) == (2, 1, 1)
    assert cell.note == "true object said 1"


def test_a_negation_is_kept_where_the_new_object_is_no_likelier_and_not_said() -> None:
    before = answer("Paris", 0.02)
    assert is_negation_kept(before, answer("Paris", 0.02))
    assert is_negation_kept(before, answer("Oslo", 0.0201))  # ln(1.005) is less than 0.01
    assert not is_negation_kept(before, answer("Paris", 0.03))
    assert not is_negation_kept(before, answer("Rome", 0.02))
    assert is_negation_kept(answer("Rome", 0.5), answer("Rome", 0.4))  # said before as well
    row = row_of("negation", [before] * 2, [answer("Rome", 0.04), answer("Paris", 0.01)])
    assert (row.cells["after"].said, row.cells["after"].no) == (1, 1)
    assert row.cells["after"].note == "new object +0.00 nats per token"  # ln 2 and −ln 2
    assert row.cells["unedited"].value == 1.0
    assert [(example.expected, example.wanted) for example in row.worst] == [("", "not Rome")]


def test_a_choice_is_judged_by_its_letter_and_not_sure_is_counted() -> None:
    asked = {
        "form": Form.CHAT,
        "expected": "A",
        "rejected": "B",
        "aliases": ("Rome",),
        "rejected_aliases": ("Paris", "Oslo", "C", "D", "I am not sure"),
    }
    before = [answer("B. Paris", 0.1, 0.8, **asked)] * 4
    after = [
        answer("A. Rome", 0.9, 0.1, **asked),
        answer("D", 0.2, 0.1, **asked),
        answer("A. Paris", 0.4, 0.5, **asked),
        answer("Rome", 0.4, 0.5, **asked),
    ]
    cell = row_of("choice", before, after).cells["after"]
    assert (cell.said, cell.preferred, cell.no, cell.note) == (2, 1, 1, "not sure 1")


def test_fluency_and_repetition_of_texts_worked_by_hand() -> None:
    # a b a b a: trigrams aba, bab, aba → one of three is a repetition; bigrams ab 2, ba 2; trigrams aba 2, bab 1.
    assert repetition("a b a b a") == pytest.approx(1 / 3)
    assert repetition("a b") is None
    bigrams, trigrams = 1.0, -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    expected = 100 * (2 / 3 * bigrams + 4 / 3 * trigrams) / 2
    texts = {"unedited": ["a b c d", "a b"], "after": ["a b a b a"]}
    assert entropy_row(texts).cells["after"].value == pytest.approx(expected)
    repeated = repetition_row(texts)
    assert (repeated.cells["unedited"].value, repeated.cells["unedited"].n) == (0.0, 1)
    assert repeated.cells["after"].value == pytest.approx(1 / 3)


def test_divergence_and_perplexity_are_ratios_over_texts_worked_by_hand() -> None:
    losses = [
        TextLoss(n=2, before=2.0, after=4.0, divergence=0.2),
        TextLoss(n=4, before=4.0, after=2.0, divergence=1.0),
    ]
    moved = divergence_cell(losses, is_after=True)
    assert moved.value == pytest.approx(1.2 / 6)
    assert moved.n == 6
    # residuals 0.2 − 0.2·2 = −0.2 and 1.0 − 0.2·4 = 0.2; √(2 · 0.08) / 6
    assert moved.interval is not None
    assert moved.interval[1] - 0.2 == pytest.approx(1.959964 * math.sqrt(0.16) / 6)
    assert divergence_cell(losses, is_after=False).value == 0.0
    before, after = (perplexity_cell(losses, is_after=is_after) for is_after in (False, True))
    assert before.value == pytest.approx(math.e)
    assert before.interval == pytest.approx((math.e, math.e))  # one nat per token in each text
    assert after.value == pytest.approx(math.e)
    assert after.note == f"standard error {math.e * math.sqrt(2 * (2.0**2 + 2.0**2)) / 6:.2g}"
    assert perplexity_cell([], is_after=True).value is None
