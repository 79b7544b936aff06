"""Examples are sorted by what the loaded model says, asked once, on the side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kgmet.editing.examples import known_edits, read_known_edits
from kgmet.editing.report import own_question
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import load_lm
from kgmet.measure.ask import ask
from tests.workbench.sessions import fresh_process, wait_for
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.shared import examples as examples_module
from workbench.shared.examples import examples, sorted_examples


@pytest.fixture
def resident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resident]:
    made = fresh_process(tmp_path, monkeypatch)
    monkeypatch.setattr(examples_module, "known_edits", known_edits)  # as in the app
    yield made


def test_the_order_is_the_files_until_the_model_was_asked(resident: Resident) -> None:
    first = sorted_examples(resident.lm)
    assert first.known == tuple(examples()) and first.hard == ()
    job = jobs.latest("server", "examples")
    assert job is not None and job.is_aside and wait_for(job.id).error == ""
    then = sorted_examples(resident.lm)
    assert {edit.id for edit in (*then.known, *then.hard)} == {edit.id for edit in first.known}
    assert then.known == (), "a random model knows nothing"
    assert jobs.latest("server", "examples") is job, "it is asked once"


def test_what_it_says_decides(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two facts has for its old object a word with which the tiny model goes on."""
    tower = FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Oslo")
    (answer,) = ask(resident.lm, [own_question(tower)])
    word = next(word for word in answer.said.split() if word.isalpha())
    unknown, known = replace(tower, old_object="Bern"), replace(tower, new_object="Cairo", old_object=word, id="")
    assert known_edits(resident.lm, [unknown, known]) == {known.id}
    monkeypatch.setattr(examples_module, "examples", lambda: [unknown, known])
    found = sorted_examples(resident.lm)
    assert (found.known, found.hard) == ((known,), (unknown,))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"known": 3}', '{"known": ["somebody else"]}'])
def test_a_damaged_file_is_asked_again(resident: Resident, tmp_path: Path, text: str) -> None:
    facts = examples()[:2]
    assert read_known_edits(resident.lm, facts) is None
    known = known_edits(resident.lm, facts)
    (path,) = (tmp_path / "examples").iterdir()
    path.write_text(text, encoding="utf-8")
    assert read_known_edits(resident.lm, facts) is None
    assert known_edits(resident.lm, facts) == known == read_known_edits(resident.lm, facts)


def test_the_default_model_knows_paris_and_not_who_founded_microsoft(
    default_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KGMET_CACHE", str(tmp_path))
    facts = examples()
    known = known_edits(load_lm(str(default_model_dir)), facts)
    by_prompt = {fact.prompt: fact.id in known for fact in facts}
    assert by_prompt["The Eiffel Tower is located in the city of"]
    assert not by_prompt["Microsoft was founded by"] and not by_prompt["Hamlet was written by"]
