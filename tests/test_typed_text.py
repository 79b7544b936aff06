"""Whatever is typed either makes a sound edit that is found in the tokens, or is refused in words. By random texts."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgmet.base.errors import KgmetError, RequestError
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM, wrap_lm
from kgmet.lm.run.spans import Phrase, locate
from tests.lm.run.test_encoding import tokenizer_of
from tests.tiny_models import tiny_lm, tiny_model

SOAK = 25 if os.environ.get("KGMET_SOAK") == "1" else 1
"""How many times as many cases are drawn."""
pytestmark = [pytest.mark.soak] if SOAK > 1 else []

WORDS = "Rome Romeo São東京 北京市 กรุงเทพ القاهرة ירושלים Москва Αθήνα 서울 দিল্লি 🗼 O'Hare İ ß"
HOSTILE = "</s> <s> <pad> {} {0} Sa\u0303o a\u0301\u0302 \u202eabc \ufeff \u200d 👩\u200d👩\u200d👧"
SCRIPTS = st.sampled_from([*WORDS.split(), *HOSTILE.split(), "São Paulo"])
JOINTS = st.sampled_from([" ", " is in", ", the", ".", "(", "\t", "\n", "\x00"])
PIECES = st.one_of(SCRIPTS, st.text(max_size=8), JOINTS)
TEXTS = st.lists(PIECES, max_size=6).map("".join)
TEMPLATES = st.tuples(TEXTS, st.sampled_from(["{}", "{}", "{}", "", "{} {}"]), TEXTS).map("".join)
KINDS = [
    ("byte-level", "none"),
    ("byte-level", "both"),
    ("lower-case", "bos"),
    ("unigram", "eos"),
    ("unigram", "twice"),
]


def drawn(n: int) -> settings:
    """So many cases, the same each time; in a soak many more, and others each time."""
    checks = list(HealthCheck)
    return settings(max_examples=n * SOAK, deadline=None, derandomize=SOAK == 1, suppress_health_check=checks)


@pytest.fixture(scope="module", params=KINDS, ids=" ".join)
def lm(request: pytest.FixtureRequest) -> LoadedLM:
    kind, around = request.param
    return wrap_lm(tiny_model("llama"), tokenizer_of(kind, around), name=f"{kind}, {around}")


@drawn(400)
@given(subject=TEXTS, template=TEMPLATES, new_object=TEXTS, old_object=st.none() | TEXTS)
def test_a_typed_edit_is_sound_or_refused(subject: str, template: str, new_object: str, old_object: str | None) -> None:
    try:
        edit = FactEdit(subject=subject, template=template, new_object=new_object, old_object=old_object)
    except RequestError as error:
        assert str(error)
        return
    assert edit.template.count("{}") == 1
    assert edit.prompt == edit.template.replace("{}", edit.subject)
    for text in (edit.subject, edit.template, edit.new_object):
        assert text == text.strip() == unicodedata.normalize("NFC", text) != ""
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)
    assert FactEdit.from_json(edit.to_json()) == edit
    assert FactEdit(**edit.to_json()).id == edit.id  # type: ignore[arg-type]


@drawn(300)
@given(prompt=TEXTS, subject=TEXTS)
def test_a_subject_that_is_found_in_a_prompt_stands_there_as_a_word(prompt: str, subject: str) -> None:
    try:
        edit = FactEdit.from_prompt(prompt, subject=subject, new_object="Oslo")
    except RequestError as error:
        assert str(error)
        return
    if "{}" not in prompt:
        assert edit.prompt == unicodedata.normalize("NFC", prompt.strip())
        before, after = edit.template.split("{}")
        for left, right in ((before[-1:], edit.subject[0]), (edit.subject[-1], after[:1])):
            is_latin = all("LATIN" in unicodedata.name(each, "") for each in (left, right) if each)
            assert not (left and right and is_latin), "it would be a part of a word"


@drawn(100)
@given(subject=TEXTS, template=TEMPLATES, target=TEXTS)
def test_what_is_located_is_the_subject_and_the_target(lm: LoadedLM, subject: str, template: str, target: str) -> None:
    try:
        edit = FactEdit(subject=subject, template=template, new_object=target)
        span = locate(lm, Phrase(template=edit.template, subject=edit.subject, target=edit.new_object))
    except KgmetError as error:
        assert str(error)
        return
    control = set(lm.tokenizer.all_special_ids) - {lm.tokenizer.unk_token_id}
    assert span.target is not None
    assert 0 <= span.subject.start <= span.lookup.position < span.n_prompt <= span.target.start < span.target.stop
    assert span.target.stop == len(span.input_ids)
    assert not control & set(span.input_ids[span.subject.start :])
    assert all(0 <= token < lm.n_token for token in span.input_ids)
    prompt = locate(lm, Phrase(template=edit.template, subject=edit.subject))
    assert prompt.subject.start == span.subject.start


def test_a_subject_with_a_family_of_scripts_is_found_by_every_tokenizer(lm: LoadedLM) -> None:
    for subject in ("Rome", "São Paulo", "東京", "Москва", "🗼", "القاهرة"):
        span = locate(lm, Phrase(template="The city of {} is in", subject=subject))
        assert span.subject.start > 0
        assert tiny_lm().n_token > max(span.input_ids)
