from __future__ import annotations

import pytest

from kgmet.base.errors import RequestError
from kgmet.fact import FactEdit
from kgmet.fact_table import parse_facts

TOWER = FactEdit(subject="The Eiffel Tower", template="{} is in", new_object="Rome", old_object="Paris")
GATE = FactEdit(subject="Big Ben", template="{} is in", new_object="Tokyo")


@pytest.mark.parametrize(
    "text",
    [
        "subject,template,new_object,old_object\nThe Eiffel Tower,{} is in,Rome,Paris\nBig Ben,{} is in,Tokyo,\n",
        "subject,prompt,new,old\nThe Eiffel Tower,{} is in,Rome,Paris\nBig Ben,{} is in,Tokyo,\n",
        "\ufeffSubject;Template;target_new;old\r\nThe Eiffel Tower;{} is in;Rome;Paris\r\nBig Ben;{} is in;Tokyo;",
        '"subject","template","new_object","old_object"\n"The Eiffel Tower","{} is in","Rome","Paris"\n'
        '"Big Ben","{} is in","Tokyo",""\n',
        "new\tsubject\tprompt\told\nRome\tThe Eiffel Tower\tThe Eiffel Tower is in\tParis\nTokyo\tBig Ben\t{} is in\t",
        '[{"subject": "The Eiffel Tower", "prompt": "{} is in", "target_new": {"str": "Rome"},'
        ' "target_true": {"str": "Paris"}},'
        ' {"requested_rewrite": {"subject": "Big Ben", "prompt": "{} is in", "new": "Tokyo", "old": null}}]',
    ],
    ids=["commas", "earlier names", "semicolons", "quoted header", "tabs", "JSON"],
)
def test_every_form_gives_the_same_facts(text: str) -> None:
    found = parse_facts(text)
    assert found.facts == (TOWER, GATE)
    assert found.refused == ()


def test_a_wrong_row_is_named_and_the_others_are_read() -> None:
    found = parse_facts(
        "subject,prompt,new\n,{} is in,Rome\nThe Eiffel Tower,{} is in {},Rome\nThe Eiffel Tower,{} is in,Rome"
    )
    assert len(found.facts) == 1
    assert found.refused[0] == "Row 1: subject missing."
    assert found.refused[1].startswith("Row 2: ")


def test_a_text_with_an_unquoted_separator_shifts_no_column() -> None:
    found = parse_facts("subject,template,new_object\nParis, France,{} is in,Rome\nBig Ben,{} is in,Tokyo,\n")
    assert found.facts == (GATE,)
    assert found.refused == (
        "Row 1: there are more values than columns. Put quotation marks around a text with a comma.",
    )
    with pytest.raises(RequestError, match="The table has two columns called 'subject'"):
        parse_facts("subject,template,new_object, Subject\na,{} is in,b,c\n")


def test_lines_that_are_no_table_are_read_as_sentences() -> None:
    def read(line: str) -> FactEdit:
        if "tower" not in line.casefold():
            raise RequestError("no fact")
        return TOWER

    found = parse_facts("The Eiffel Tower is in Rome.\n\nhello\n", read_sentence=read)
    assert found.facts == (TOWER,)
    assert found.refused == ("Row 2: no fact",)
    with pytest.raises(RequestError, match="columns subject, template and new_object"):
        parse_facts("hello")


@pytest.mark.parametrize("text", ["", " \n", "[1, 2", "[" * 100_000, "x" * 2_000_001])
def test_what_is_no_list_of_facts_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        parse_facts(text)


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(RequestError, match="1001 rows"):
        parse_facts("subject,prompt,new\n" + "a,{} is in,b\n" * 1001)
