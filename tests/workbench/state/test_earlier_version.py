"""A session that an earlier version saved opens whole, with every result, and is saved again as this version does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kgmet.fact import FactEdit
from tests.formats import saved_session as made
from tests.formats import values
from workbench import shell
from workbench.state.compared import editors_to_json
from workbench.state.disk import SESSION
from workbench.state.kept import codecs, keeps
from workbench.state.values import FactDraft
from workbench.state.vault import SessionRecord, SessionVault

FILES = Path(made.__file__).resolve().parent / "files" / "session"
DRAFT = FactDraft(
    subject="The Eiffel Tower",
    template=values.EDIT.template,
    new_object="Rome",
    old_object="Paris",
    relation="P131",
    subject_id="Q243",
    exclude=made.EXCLUDE,
    leave=frozenset({"c0ffee", "own1"}),
)


@pytest.fixture
def record(tmp_path: Path) -> SessionRecord:
    """The session, found by its id as after a restart."""
    keeps(*shell.KEPT)
    folder = SessionVault(tmp_path).new(made.SESSION_ID).folder
    shutil.copytree(FILES, folder)
    found = SessionVault(tmp_path).find(made.SESSION_ID)
    assert found is not None
    return found


def test_all_of_it_opens(record: SessionRecord) -> None:
    assert record.damage == ()
    saved, (first, second, third) = record.saved, made.entries()
    assert saved.draft == DRAFT
    assert (saved.editor, saved.settings, saved.is_guide_seen) == ("MEMIT", made.SETTINGS, True)
    assert (saved.focus, saved.focus_edit) == (first.id, first.edit.id if first.edit else None)
    assert [entry.id for entry in saved.stack] == [first.id, second.id]
    assert [entry.id for entry in saved.redo] == [third.id]
    for found, entry in zip(saved.entries, (first, second, third), strict=True):
        assert (found.name, found.note, found.is_on) == (entry.name, entry.note, entry.is_on)
        assert (found.based_on, found.exclude, found.leave) == (entry.based_on, entry.exclude, entry.leave)
        assert (found.report, found.curve, found.edit) == (entry.report, entry.curve, entry.edit)


def test_its_draft_is_the_fact_that_was_typed(record: SessionRecord) -> None:
    """The template was called a prompt in the file."""
    assert '"prompt": "{} is located in the city of"' in (FILES / SESSION).read_text(encoding="utf-8")
    fact = record.saved.draft.edit
    assert isinstance(fact, FactEdit) and (fact.template, fact.prompt) == (values.EDIT.template, values.EDIT.prompt)


@pytest.mark.parametrize("name", list(made.RESULTS))
def test_every_result_is_what_it_was(record: SessionRecord, name: str) -> None:
    found, codec = record.result(name), codecs()[name]
    assert found is not None and found.made_from == name
    assert type(found.value) is type(made.RESULTS[name])
    # Tensors have no truth value, so what would be saved is compared.
    assert json.dumps(codec.to_json(found.value)) == json.dumps(codec.to_json(made.RESULTS[name]))


def test_its_comparison_of_editors_is_what_it_was(record: SessionRecord) -> None:
    found = record.result("compare")
    assert found is not None and found.made_from == "compare"
    assert (found.value.chosen, found.value.rows) == (made.COMPARED.chosen, made.COMPARED.rows)
    assert editors_to_json(found.value.comparison) == editors_to_json(made.COMPARED.comparison)


def test_it_is_saved_in_the_names_of_this_version(record: SessionRecord) -> None:
    record.change(is_guide_seen=False)
    draft = json.loads((record.folder / SESSION).read_text(encoding="utf-8"))["draft"]
    assert draft["template"] == values.EDIT.template and "prompt" not in draft
    again = SessionVault(record.folder.parent).find(made.SESSION_ID)
    assert again is not None and again.saved.draft == DRAFT and again.damage == ()
