"""Answers beside each other: the names that count are marked, and what is told is judged by the same rule."""

from __future__ import annotations

from kgmet.measure.compare import AnswerPair
from kgmet.measure.question import Question, QuestionKind
from tests.workbench.sessions import answer_to
from workbench.drawing.answers import AnswerRow, answer_table, marked_names, told_card

ROME = Question(
    kind=QuestionKind.REWRITE, text="It is in", expected="Rome", rejected="Paris", aliases=("Roma", "New Rome", "US")
)


def said(text: str, question: Question = ROME) -> str:
    return marked_names(answer_to(question, text, new=0.5, old=0.25))


def test_names_are_marked_as_the_verdict_counts_them() -> None:
    assert said("in ROME, not Paris") == (
        '<bdi>in <mark class="new">ROME</mark>, not <mark class="old">Paris</mark></bdi>'
    )
    assert said("Romeo, Parisian") == "<bdi>Romeo, Parisian</bdi>"
    assert said("New Rome") == '<bdi><mark class="new">New Rome</mark></bdi>'
    assert said("tell us of the US") == '<bdi>tell us of the <mark class="new">US</mark></bdi>'
    assert said("") == "<em>∅</em>"


def test_nothing_is_marked_where_nothing_is_expected() -> None:
    assert said("in Rome", Question(kind=QuestionKind.OWN, text="Where?")) == "<bdi>in Rome</bdi>"


def test_the_third_column_is_there_only_if_it_was_asked() -> None:
    paris, rome = (answer_to(ROME, text, new=0.5, old=0.25) for text in ("Paris", "Rome"))
    pair = AnswerPair(before=paris, after=rome)
    without, told = answer_table([AnswerRow(pair=pair)]), answer_table([AnswerRow(pair=pair, told=paris)])
    assert "told" not in without and without.count("kg-chip") == 1
    assert told.count("<th>") == 5 and told.count("kg-chip") == 2
    assert 'kg-chip good">says it' in told and 'kg-chip near">prefers it' in told


def test_a_neighbour_that_is_told_is_judged_by_whether_it_stays() -> None:
    neighbour = Question(kind=QuestionKind.NEIGHBOUR, text="The Louvre is in", expected="Paris", rejected="Rome")
    here, there = (answer_to(neighbour, text, new=0.1, old=0.5) for text in ("Lyon", "Rome"))
    row = AnswerRow(pair=AnswerPair(before=here, after=here), told=there)
    assert row.pair.holds is True
    assert row.told_pair is not None and row.told_pair.holds is False


def test_the_card_names_what_was_told() -> None:
    card = told_card(answer_to(ROME, "Paris", new=0.5, old=0.25), telling="the fact")
    assert "not edited, told the fact" in card and "25.0" in card
