"""Properties of requests: typed facts are checked before expensive work, and files round-trip."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from kgmet.base.errors import (
    BrokenArtifactError,
    ContradictionError,
    EmptyTextError,
    RequestError,
    SameObjectError,
    SubjectNotFoundError,
    TemplateError,
    TextError,
)
from kgmet.fact import MAX_OBJECT, MAX_SUBJECT, MAX_TEMPLATE, FactEdit, check_batch, load_edits, save_edits


def edit(**changes: Any) -> FactEdit:
    """A sound edit but for what is changed."""
    sound = {"subject": "The Eiffel Tower", "template": "{} is located in the city of", "new_object": "Rome"}
    return FactEdit(**(sound | changes))


@pytest.mark.parametrize("template", ["is located in", "{} is near {}", "", "{0} is in", "{ } is in"])
def test_a_template_has_exactly_one_place_for_the_subject(template: str) -> None:
    with pytest.raises(EmptyTextError if not template else TemplateError):
        edit(template=template)


@pytest.mark.parametrize("name", ["subject", "template", "new_object", "old_object"])
@pytest.mark.parametrize("blank", ["", "  ", "\t", "\u00a0"])
def test_blank_fields_are_refused(name: str, blank: str) -> None:
    with pytest.raises(EmptyTextError, match="empty"):
        edit(**{name: blank})


@pytest.mark.parametrize(("name", "most"), [("subject", MAX_SUBJECT), ("new_object", MAX_OBJECT)])
def test_fields_have_a_longest_length(name: str, most: int) -> None:
    assert len(getattr(edit(**{name: "x" * most}), name)) == most
    with pytest.raises(TextError, match=str(most + 1)):
        edit(**{name: "x" * (most + 1)})
    with pytest.raises(TextError):
        edit(template="{}" + "x" * MAX_TEMPLATE)


@pytest.mark.parametrize("bad", ["a\nb", "a\x00b", "a\u2028b", "a\ud800b", "a\x1b[31mb"])
def test_line_breaks_and_control_characters_are_refused_with_their_place(bad: str) -> None:
    with pytest.raises(TextError, match="position 2"):
        edit(subject=bad)


def test_texts_are_trimmed_and_composed() -> None:
    assert edit(subject="  Sa\u0303o Paulo ").subject == "S\u00e3o Paulo"
    assert edit(new_object=" Rome\t").new_object == "Rome"


@pytest.mark.parametrize("old", ["Rome", "rome", " ROME "])
def test_old_and_new_object_differ(old: str) -> None:
    with pytest.raises(SameObjectError, match="nothing"):
        edit(old_object=old)
    assert edit(old_object="Romeo").old_object == "Romeo"


def test_the_prompt_is_the_template_with_the_subject_whatever_it_holds() -> None:
    assert edit(subject="a {x} {} b").prompt == "a {x} {} b is located in the city of"
    assert edit(template="the {set} of {} is").prompt == "the {set} of The Eiffel Tower is"


def test_the_id_depends_on_the_texts_alone() -> None:
    assert edit().id == edit(old_object="Paris", relation="P131").id
    assert len({edit().id, edit(subject="Rome").id, edit(new_object="Oslo").id, edit(template="{} is in").id}) == 4
    assert edit(id="mine").id == "mine"


def test_a_prompt_may_hold_the_subject_itself_once() -> None:
    made = FactEdit.from_prompt("Where is Big Ben? In", subject="Big Ben", new_object="Rome")
    assert made.template == "Where is {}? In"
    assert FactEdit.from_prompt("{} is in", subject="Big Ben", new_object="Rome").prompt == "Big Ben is in"
    for prompt in ("It is in", "Big Ben is not Big Ben", ""):
        with pytest.raises(SubjectNotFoundError):
            FactEdit.from_prompt(prompt, subject="Big Ben", new_object="Rome")


def test_a_batch_drops_repetitions_and_refuses_contradictions() -> None:
    one, other = edit(), edit(subject="Big Ben")
    assert check_batch([one, other, edit(subject="the  eiffel tower")]) == (one, other)
    with pytest.raises(ContradictionError, match=r"'Rome'.*'Oslo'"):
        check_batch([one, other, edit(new_object="Oslo")])
    with pytest.raises(RequestError, match="no edit"):
        check_batch([])


def test_saving_and_loading_gives_the_same_edits(tmp_path: Path) -> None:
    edits = (edit(), edit(subject="東京", old_object="Oslo", relation="P36", subject_id="Q1490"))
    save_edits(edits, tmp_path / "edits.json")
    assert load_edits(tmp_path / "edits.json") == edits


@pytest.mark.parametrize("content", ["", "{", "{}", "[1]", '"x"', "\udcff"])
def test_files_that_hold_no_edits_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BrokenArtifactError, match=r"edits\.json"):
        load_edits(path)
    with pytest.raises(BrokenArtifactError):
        load_edits(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"colour": "red"}, RequestError, "colour"),
        ({"subject": 3}, RequestError, "subject"),
        ({"new_object": ""}, EmptyTextError, "edit 2"),
        ({"template": "x"}, TemplateError, "edit 2"),
    ],
)
def test_a_bad_edit_in_a_file_is_named(
    change: dict[str, object], error: type[Exception], said: str, tmp_path: Path
) -> None:
    import json

    rows = [edit().to_json(), edit().to_json() | change]
    path = tmp_path / "edits.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(error, match=said):
        load_edits(path)
    with pytest.raises(RequestError, match="lacks"):
        FactEdit.from_json({"subject": "x"})


@pytest.mark.parametrize(
    ("prompt", "subject", "template"),
    [
        ("Romeo loves Rome in", "Rome", "Romeo loves {} in"),
        ("Rome's mayor is", "Rome", "{}'s mayor is"),
        ("(Rome) is in", "Rome", "({}) is in"),
        ("東京の首都は", "東京", "{}の首都は"),
        ("กรุงเทพเป็นเมืองใน", "กรุงเทพ", "{}เป็นเมืองใน"),
        ("S\u0061\u0303o Paulo is in", "S\u00e3o Paulo", "{} is in"),
        ("S\u00e3o Paulo is in", "Sa\u0303o Paulo", "{} is in"),
        ("The iPhone 4 came before the iPhone 4S, made by", "iPhone 4S", "The iPhone 4 came before the {}, made by"),
    ],
)
def test_the_subject_is_found_as_a_word_however_it_is_composed(prompt: str, subject: str, template: str) -> None:
    made = FactEdit.from_prompt(prompt, subject=subject, new_object="Oslo")
    assert made.template == template
    assert made.prompt == unicodedata.normalize("NFC", prompt)


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [("Romeo was born in", "Rome"), ("The iPhone 4S is made by", "iPhone 4"), ("Jerome was born in", "rome")],
)
def test_a_subject_inside_another_word_is_not_taken(prompt: str, subject: str) -> None:
    with pytest.raises(SubjectNotFoundError, match="only inside other words"):
        FactEdit.from_prompt(prompt, subject=subject, new_object="Oslo")
