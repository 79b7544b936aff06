from __future__ import annotations

from pathlib import Path

import pytest
import torch

import kgmet
from kgmet.base.errors import BrokenArtifactError, ConfigError, RequestError, StaleArtifactError
from kgmet.editing.editors import EDITORS, Editor
from kgmet.editing.session import EditSession
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.corpus import Corpus
from kgmet.write.statistics import KeyStatistics
from tests.editing.small import GATE, TOWER, small_editor
from tests.graph.small_world import world
from tests.tiny_models import tiny_lm

LINES = tuple(
    f"The {a} of {b} is old." for a in ("city", "tower", "gate") for b in ("France", "Rome", "Tokyo", "Paris")
)
PROMPT = "The Eiffel Tower is located in the city of"


@pytest.fixture(scope="module")
def lm() -> LoadedLM:
    return tiny_lm()


def small() -> Editor:
    return small_editor(EDITORS["KGMET"], steps=5)


def session_of(lm: LoadedLM) -> EditSession:
    statistics = KeyStatistics(lm, Corpus(name="test", lines=LINES))
    return EditSession(lm, editor=small(), graph=world(), statistics=statistics)


def logits(session: EditSession) -> torch.Tensor:
    ids = torch.tensor([session.lm.tokenizer(PROMPT)["input_ids"]])
    with session.attached() as lm, torch.no_grad():
        found: torch.Tensor = lm.model(ids).logits
    return found


def test_an_edit_is_kept_and_undone_to_the_bit(lm: LoadedLM) -> None:
    session = session_of(lm)
    untouched = logits(session)
    edited = session.edit(TOWER)
    assert session.patches == (edited.patch,)
    assert edited.report.edit.new_object == "Tokyo"
    assert not torch.equal(logits(session), untouched)
    assert session.undo() is edited.patch
    assert torch.equal(logits(session), untouched)
    with pytest.raises(RequestError, match="no edit to undo"):
        session.undo()


def test_a_later_edit_comes_after_those_that_are_on(lm: LoadedLM) -> None:
    session = session_of(lm)
    first = session.edit(TOWER)
    second = session.edit(GATE)
    assert second.plan.so_far.patches == (first.patch, second.patch)
    assert second.plan.so_far.ledger.patch_ids == (first.patch.id, second.patch.id)
    assert session.toggle(first.patch.id) is False
    third = session.edit(FactEdit(subject="Big Ben", template="{} is located in the city of", new_object="Rome"))
    assert third.plan.so_far.patches == (second.patch, third.patch)


def test_several_facts_are_one_patch_with_a_report_each(lm: LoadedLM) -> None:
    session = session_of(lm)
    edited = session.edit_many([TOWER, GATE])
    assert [report.edit.subject for report in edited.reports] == ["The Eiffel Tower", "The Brandenburg Gate"]
    assert len(session.edits) == 1
    with pytest.raises(RequestError, match="no fact to edit"):
        session.edit_many([])


def test_switching_off_and_on_again_is_exact(lm: LoadedLM) -> None:
    session = session_of(lm)
    untouched = logits(session)
    patch = session.edit(TOWER).patch
    edited = logits(session)
    assert session.toggle(patch.id, on=False) is False
    assert torch.equal(logits(session), untouched)
    assert session.toggle(patch.id) is True
    assert torch.equal(logits(session), edited)
    with pytest.raises(RequestError, match=patch.id):
        session.toggle("nothing")


def test_a_saved_session_comes_back_as_it_was(lm: LoadedLM, tmp_path: Path) -> None:
    session = session_of(lm)
    first, second = session.edit(TOWER).patch, session.edit(GATE).patch
    session.toggle(first.id)
    folder = session.save(tmp_path / "mine")
    again = session_of(lm)
    again.load(folder)
    assert [(made.patch.id, made.is_on) for made in again.edits] == [(first.id, False), (second.id, True)]
    assert torch.equal(logits(again), logits(session))
    with pytest.raises(StaleArtifactError, match="was made for model"):
        EditSession(tiny_lm("gpt2"), graph=None).load(folder)
    for text in ("", "[]", '{"edits": 3}', "[" * 100_000):
        (folder / "edits.json").write_text(text, encoding="utf-8")
        with pytest.raises(BrokenArtifactError, match="no saved session"):
            again.load(folder)
    assert len(again.edits) == 2


def test_a_probe_asks_the_unedited_and_the_edited_model(lm: LoadedLM) -> None:
    session = session_of(lm)
    session.edit(TOWER)
    (pair,) = session.probe([PROMPT]).pairs
    assert pair.before.top != pair.after.top
    assert len(session.generate([PROMPT], max_new_tokens=3)) == 1


def test_another_method_can_be_used_for_the_next_edit(lm: LoadedLM) -> None:
    session = session_of(lm)
    session.use("AlphaEdit", {"write": {"layers": [1]}})
    assert session.editor.name == "AlphaEdit" and session.config.write.layers == (1,)
    with pytest.raises(ConfigError, match="no editor 'none'"):
        session.use("none")


def test_the_one_call_is_the_same_edit(lm: LoadedLM) -> None:
    edited = kgmet.edit(lm, TOWER, editor=small(), graph=None)
    assert edited.patch.edits == (TOWER,)
    assert edited.report.graph["took_part"] is False
