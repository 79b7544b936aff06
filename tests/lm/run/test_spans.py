"""Properties of locating: every span's tokens say the subject or the target, with or without BOS, wherever they are."""

from __future__ import annotations

import pytest

from kgmet.base.errors import EmptyTextError, SubjectNotFoundError
from kgmet.lm.run.spans import EditSpan, Phrase, join_answer, locate, locate_all
from tests.tiny_models import tiny_lm

both_tokenizers = pytest.mark.parametrize("bos", [False, True])

SUBJECTS = [
    "Rome",
    "The Eiffel Tower",
    "R",
    "São Paulo",
    "東京",
    "O'Hare International Airport (ORD)",
    "Zürich–Kloten",
    "a{}b",
    "🗼",
]
TEMPLATES = ["{} is located in the city of", "The capital of {} is", "Who knows {}", "un{}able", "({})", "{}"]


def text_of(span: EditSpan, positions: range, bos: bool) -> str:
    """What some tokens of a span stand for."""
    return tiny_lm(bos=bos).tokenizer.decode([span.input_ids[position] for position in positions])


@both_tokenizers
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("prefix", ["", "In the news today: "])
def test_the_subjects_tokens_hold_the_subject(bos: bool, template: str, subject: str, prefix: str) -> None:
    if "{}" in subject:  # a subject is put in once, whatever it holds
        template = "{} is"
    span = locate(tiny_lm(bos=bos), Phrase(template=template, subject=subject, prefix=prefix))
    assert subject in text_of(span, span.subject, bos)
    assert span.lookup.position == span.subject[-1]
    shorter = range(span.subject.start, span.subject.stop - 1)
    assert subject not in text_of(span, shorter, bos), "the lookup token belongs to the subject"
    assert span.target is None
    assert span.n_prompt == len(span.input_ids)


@both_tokenizers
@pytest.mark.parametrize("target", ["Rome", "the city of Rome, in Italy", "東京", "x", " ".join(["Rome"] * 20)])
def test_the_targets_tokens_are_the_end_and_hold_the_target(bos: bool, target: str) -> None:
    lm = tiny_lm(bos=bos)
    span = locate(lm, Phrase(template="{} is in", subject="Big Ben", target=target))
    assert span.target is not None
    assert span.target.stop == len(span.input_ids)
    assert text_of(span, span.target, bos).strip() == target
    prompt = locate(lm, Phrase(template="{} is in", subject="Big Ben"))
    assert span.input_ids[: span.n_prompt] == prompt.input_ids
    assert span.lookup == prompt.lookup


def test_targets_have_from_one_to_many_tokens() -> None:
    lm = tiny_lm()
    lengths = {
        len(locate(lm, Phrase(template="{} is", subject="Rome", target=" ".join(["a"] * n))).target_ids)
        for n in range(1, 21)
    }
    assert lengths == set(range(1, 21))


def test_a_target_that_begins_like_another_shares_its_first_token_only_in_its_own_range() -> None:
    lm = tiny_lm()
    old, new = (
        locate(lm, Phrase(template="{} is in", subject="Rome", target=t)) for t in ("Paris", "Paris, in France")
    )
    assert new.target_ids[: len(old.target_ids)] == old.target_ids
    assert len(new.target_ids) > len(old.target_ids)


def test_a_subject_of_one_token_can_be_at_position_0_and_after_bos_at_1() -> None:
    for bos in (False, True):
        span = locate(tiny_lm(bos=bos), Phrase(template="{}", subject="R"))
        assert span.subject == range(int(bos), int(bos) + 1)
        assert span.lookup.text == "R"


def test_without_a_subject_the_last_token_is_looked_up() -> None:
    span = locate(tiny_lm(), Phrase(template="The capital of Italy is", target="Rome"))
    assert span.lookup.position == span.n_prompt - 1


def test_a_subject_that_occurs_twice_is_found_where_the_template_has_it() -> None:
    span = locate(tiny_lm(), Phrase(template="Rome is Rome, but {} is not", subject="Rome"))
    assert tiny_lm().tokenizer.decode(span.input_ids[: span.subject.start]) == "Rome is Rome, but"


def test_many_are_located_as_one_by_one() -> None:
    lm = tiny_lm(bos=True)
    phrases = [Phrase(template=t, subject=s, target="Rome") for t in TEMPLATES for s in SUBJECTS[:4]]
    assert locate_all(lm, phrases) == [locate(lm, phrase) for phrase in phrases]


@pytest.mark.parametrize(
    ("prompt", "answer", "joined"),
    [
        ("It is in", "Rome", "It is in Rome"),
        ("It is in ", "Rome", "It is in Rome"),
        ("", "Rome", "Rome"),
        ("首都は", "東京", "首都は東京"),
        ("首都は", "Rome", "首都は Rome"),
    ],
)
def test_answers_are_joined_as_people_write(prompt: str, answer: str, joined: str) -> None:
    assert join_answer(prompt, answer) == joined


def test_what_has_no_token_is_an_error() -> None:
    lm = tiny_lm()
    with pytest.raises(SubjectNotFoundError, match="no token"):
        locate(lm, Phrase(template="It is {}", subject=""))
    with pytest.raises(EmptyTextError, match="answer"):
        locate(lm, Phrase(template="It is in", target=" "))
    with pytest.raises(EmptyTextError, match="no token"):
        locate(lm, Phrase(template=""))
