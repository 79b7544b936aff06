"""Which edits and which prompts are counted where there are many."""

from __future__ import annotations

from collections import Counter

from kgmet.evaluate.card.asked import AskedItem
from kgmet.evaluate.card.choose import drawn_items, retention_rows, standing_edits
from kgmet.fact import FactEdit
from kgmet.measure.question import Question, QuestionKind


def fact(subject: str, new: str, *, template: str = "{} is in", relation: str | None = None) -> FactEdit:
    return FactEdit(subject=subject, template=template, new_object=new, relation=relation)


def items(n_edit: int, n_each: int, row: str = "neighbours") -> list[AskedItem]:
    return [
        AskedItem(row=row, edit=edit, question=Question(kind=QuestionKind.OWN, text=f"{row} {edit} {n}"))
        for edit in range(n_edit)
        for n in range(n_each)
    ]


def test_an_edit_that_a_later_one_replaces_does_not_stand() -> None:
    edits = [
        fact("The Louvre", "Rome"),
        fact("Prado", "Oslo", relation="P131"),
        fact("louvre", "Oslo"),
        fact("Prado", "Rome", template="{} stands in", relation="P131"),
        fact("Prado", "marble", template="{} is made of", relation="P186"),
    ]
    assert standing_edits(edits) == [2, 3, 4]


def test_retention_is_of_the_oldest_the_middle_and_the_newest_tenth() -> None:
    rows = retention_rows(30, range(30))
    assert {row: sorted(places) for row, places in rows.items()} == {
        "retention_oldest": [0, 1, 2],
        "retention_middle": [13, 14, 15],
        "retention_newest": [27, 28, 29],
    }
    assert sorted(retention_rows(30, range(1, 29))["retention_oldest"]) == [1, 2]
    assert retention_rows(9, range(9)) == {}


def test_prompts_are_drawn_evenly_over_the_edits_and_always_the_same() -> None:
    every = items(6, 5) + items(6, 1, "efficacy")
    drawn = drawn_items(every, most=12)
    assert Counter(item.edit for item in drawn if item.row == "neighbours") == dict.fromkeys(range(6), 2)
    assert sum(item.row == "efficacy" for item in drawn) == 6
    assert drawn == [item for item in every if item in drawn]
    assert drawn_items(every, most=12) == drawn
    assert {item.question.text for item in drawn} != {
        item.question.text for item in every if item.question.text[-1] in "01"
    }
    assert drawn_items(every, most=0) == every


def test_few_prompts_are_all_asked_also_where_edits_have_different_numbers() -> None:
    every = items(1, 7) + items(3, 1, "reversal")
    assert drawn_items(every, most=7) == every
    assert Counter(item.row for item in drawn_items(every, most=2)) == {"neighbours": 2, "reversal": 2}
