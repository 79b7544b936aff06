"""One rule for *says*, one for *prefers*, and headlines that never claim what the model does not say."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from kgmet.lm.say.score import AnswerScore
from kgmet.measure.answer import Answer, probability_text
from kgmet.measure.compare import AnswerPair, compare_answers
from kgmet.measure.edit_verdict import EditVerdict, Outcome, Reason, judge_edit
from kgmet.measure.question import Form, Question, QuestionKind
from kgmet.measure.verdict import Verdict, first_clause, judged_text, names_only
from tests.workbench.sessions import answer_to

ROME = Question(kind=QuestionKind.REWRITE, text="The Eiffel Tower is in", expected="Rome", rejected="Paris")


@pytest.mark.parametrize(
    ("text", "expected", "rejected", "is_said"),
    [
        ("Rome, Italy", ["Rome"], ["Paris"], True),
        ("ROME", ["Rome"], [], True),
        ("Romeo and Juliet", ["Rome"], [], False),
        ("Rome, not Paris", ["Rome"], ["Paris"], False),
        ("the city of  New\nYork", ["New York"], [], True),
        ("New Mexico", ["Mexico"], ["New Mexico"], False),
        ("New Mexico", ["New Mexico"], ["Mexico"], True),
        ("in the US", ["US"], [], True),
        ("it tells us more", ["US"], [], False),
        ("Who said it?", ["World Health Organization", "WHO"], [], False),
        ("the eternal city", ["Rome", "Eternal City"], [], True),
        ("Straße", ["STRASSE"], [], True),
        ("", ["Rome"], [], False),
        ("Rome", [], [], False),
        ("anything", [""], [], False),
    ],
)
def test_names_are_whole_words_and_the_longer_one_counts(
    text: str, expected: list[str], rejected: list[str], is_said: bool
) -> None:
    assert names_only(text, expected, rejected) is is_said


@pytest.mark.parametrize(
    ("text", "form", "answer"),
    [
        (" Rome. Paris is elsewhere", Form.CLOZE, "Rome"),
        ("\n\nRome\nParis", Form.CLOZE, "Rome"),
        ("Washington, D.C. and so on. Paris", Form.CLOZE, "Washington, D.C. and so on"),
        ("St. Petersburg. Next", Form.CLOZE, "St. Petersburg"),
        ("version 2.5 of it. Next", Form.CLOZE, "version 2.5 of it"),
        (" Rome.\nQ: Paris?", Form.QUESTION_AND_ANSWER, "Rome."),
        ("It is in Rome. It is tall.", Form.CHAT, "It is in Rome. It is tall."),
        ("  ", Form.CLOZE, ""),
    ],
)
def test_the_answer_is_a_sentence_a_line_or_the_whole_turn(text: str, form: Form, answer: str) -> None:
    assert judged_text(text, form) == answer


def test_a_sentence_does_not_end_inside_a_name() -> None:
    assert judged_text("Mega Corp. Ltd is it. No", Form.CLOZE, ["Mega Corp. Ltd"]) == "Mega Corp. Ltd is it"


def test_the_first_clause_fills_the_blank() -> None:
    assert first_clause("a group of artists, who met in 1,200 places. Then") == "a group of artists"
    assert first_clause(" Rome (Italy)") == "rome"
    assert first_clause("1,200 metres, about") == "1,200 metres"


def test_apple_founded_by_linus_torvalds_did_not_take() -> None:
    """The new object got a hundred thousand times likelier, and the model says something else."""
    question = Question(
        kind=QuestionKind.REWRITE, text="Apple was founded by", expected="Linus Torvalds", rejected="Steve Jobs"
    )
    before = answer_to(question, " a group of people", new=7.3e-12, old=1e-6)
    after = answer_to(question, " a group of artists", new=7.7e-5, old=1e-6)
    verdict = judge_edit(before, after)
    assert verdict.outcome is Outcome.LIKELIER
    assert "“a group of artists”" in verdict.headline and "took" not in verdict.headline.casefold()
    assert Reason.NEVER_KNEW in verdict.reasons


def test_a_worse_rank_does_not_hold() -> None:
    question = Question(
        kind=QuestionKind.MULTI_HOP, text="Which currency?", form=Form.CHAT, expected="yen", rejected="euro"
    )
    before = answer_to(question, "", new=1e-8, old=1e-9, rank=6284)
    after = answer_to(question, "", new=1e-9, old=1e-10, rank=7333)
    pair = AnswerPair(before=before, after=after)
    assert pair.verdict is Verdict.PREFERS and pair.is_faint and pair.holds is False and not pair.was_so_before


@pytest.mark.parametrize("kind", list(QuestionKind))
def test_an_empty_answer_never_holds(kind: QuestionKind) -> None:
    question = Question(kind=kind, text="x", expected="Rome", rejected="Paris")
    for said in ("", "  \n", "."):
        pair = AnswerPair(
            before=answer_to(question, said, new=0.9, old=0.1), after=answer_to(question, said, new=0.9, old=0.1)
        )
        assert pair.holds is False


def test_preferring_is_by_token_and_not_by_sum() -> None:
    """A long answer is not less preferred for being long."""
    from dataclasses import replace

    answer = answer_to(ROME, "Milan", new=0.01, old=0.02)
    assert answer.expected is not None and answer.prefers is False
    longer = replace(answer, expected=replace(answer.expected, n_token=3))
    assert longer.expected is not None and longer.rejected is not None
    assert longer.expected.logprob < longer.rejected.logprob and longer.prefers is True


@pytest.mark.parametrize(
    ("before", "after", "new", "verdict"),
    [
        ("Madrid, in Spain", "Madrid. It is", 0.5, Verdict.SAYS),  # unchanged, and true
        ("London, England", "London", 0.5, Verdict.SAYS),  # unchanged, if wrong
        ("London", "the city of Madrid", 0.5, Verdict.SAYS),  # the true object
        ("Madrid", "Lisbon", 0.5, Verdict.PREFERS),
        ("Madrid", "Tokyo", 0.01, Verdict.NO),
        ("London", "", 0.01, Verdict.NO),
    ],
)
def test_what_must_stay_is_unchanged_or_true(before: str, after: str, new: float, verdict: Verdict) -> None:
    question = Question(kind=QuestionKind.NEIGHBOUR, text="The Prado is in", expected="Madrid", rejected="Tokyo")
    pair = AnswerPair(
        before=answer_to(question, before, new=0.5, old=0.1), after=answer_to(question, after, new=new, old=0.1)
    )
    assert pair.verdict is verdict


def test_what_was_said_before_is_marked_and_counted() -> None:
    before = [answer_to(ROME, said, new=0.2, old=0.1) for said in ("Rome", "Paris", "Milan")]
    after = [answer_to(ROME, said, new=0.2, old=0.1) for said in ("Rome", "Rome", "Paris")]
    comparison = compare_answers(before, after)
    assert [pair.was_so_before for pair in comparison.pairs] == [True, False, False]
    (summary,) = comparison.summaries()
    assert (summary.n, summary.says_before, summary.says_after, summary.was_so_before) == (3, 1, 2, 1)
    assert (summary.prefers_before, summary.prefers_after) == (2, 1)
    assert judge_edit(before[0], after[0]).reasons == (Reason.SAID_BEFORE,)


def test_the_headline_never_says_took_where_the_new_object_is_not_named() -> None:
    """Four hundred edits; half of the answers do not name the new object, whatever their probabilities say."""
    draw = random.Random(0)
    names = ["Rome", "Tokyo", "Linus Torvalds", "New York", "euro", "Washington, D.C."]
    failing = ["a group of artists", "", "{old}", "{old} and {new}", "the{new}x", "once. {new}", "\n", "{new}ville"]
    working = ["{new}", " {new}, of course", "the famous {new}. It was {old}", "\n{new}\n{old}"]
    counts = dict.fromkeys(Outcome, 0)
    for number, new in itertools.product(range(67), names):
        old = names[(names.index(new) + 1 + number % 5) % 6]
        question = Question(kind=QuestionKind.REWRITE, text="It is", expected=new, rejected=old if number % 3 else None)
        fails = number % 2 == 0
        said = draw.choice(failing if fails else working).format(new=new, old=old)
        if fails and "and" in said and question.rejected is None:
            said = ""
        before = answer_to(question, old, new=draw.random() or 0.5, old=draw.random() or 0.5)
        after = answer_to(question, said, new=draw.random() or 0.5, old=draw.random() or 0.5)
        verdict = judge_edit(before, after, search=[Reason.STEPS_USED])
        counts[verdict.outcome] += 1
        assert (verdict.outcome is Outcome.TOOK) is not fails, (said, question)
        assert ("took" in verdict.headline.replace("did not take", "")) is not fails
        assert EditVerdict.from_json(verdict.to_json()) == verdict
    assert all(count > 50 for count in counts.values())


def test_reasons_are_given_only_where_it_failed() -> None:
    asked = Question(kind=QuestionKind.REWRITE, text="Where is it?", expected="Rome", rejected="Paris")
    before, after = answer_to(asked, "Oslo", new=0.1, old=0.2), answer_to(asked, "", new=0.1, old=0.2)
    verdict = judge_edit(before, after, search=[Reason.FIRST_TOKEN, Reason.LENGTH_LIMIT])
    assert verdict.outcome is Outcome.NOT
    assert verdict.reasons == (
        Reason.EMPTY,
        Reason.FIRST_TOKEN,
        Reason.QUESTION,
        Reason.LENGTH_LIMIT,
        Reason.NEVER_KNEW,
    )
    took = judge_edit(before, answer_to(asked, "Rome", new=0.9, old=0.1), search=[Reason.LENGTH_LIMIT])
    assert took.outcome is Outcome.TOOK and took.reasons == ()


def test_a_small_probability_is_printed_with_its_digits() -> None:
    score = AnswerScore(
        prompt=ROME.text, answer="Rome", logprob=math.log(7.3e-10), n_token=1, is_first=False, rank=6284, n_hit=0
    )
    text = str(Answer(question=ROME, said=" Paris, France.", form=Form.CLOZE, expected=score))
    assert "expected 7.3e-10, rank 6284" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.7312, "0.7312"), (1.0, "1.0000"), (0.001, "0.0010"), (7.3e-10, "7.3e-10"), (0.0, "0.0000")]
)
def test_a_small_probability_is_not_written_as_none(value: float, text: str) -> None:
    assert probability_text(value) == text
