"""What an edit is looked at through: of the right kind, in the right words, and nothing twice."""

from __future__ import annotations

from dataclasses import replace

import torch

from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.editors import EDITORS
from kgmet.editing.problem import protected_facts
from kgmet.fact import FactEdit
from kgmet.inspect.texts import UNRELATED_TEXTS, TextKind, drift_texts, shift_texts
from kgmet.write.patch import EditPatch
from tests.graph.small_world import CATALOGUE, world

EDIT = FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Tokyo")
CONFIG = EDITORS["KGMET"].config


def context() -> EditContext:
    return prepare_edit(EDIT, store=world(), catalogue=CATALOGUE, config=CONFIG)


def test_without_a_graph_there_is_the_edit_and_what_is_unrelated() -> None:
    bare = prepare_edit(EDIT, store=None, catalogue=CATALOGUE, config=CONFIG)
    kinds = [text.kind for text in shift_texts(bare, CONFIG)]
    assert kinds == [TextKind.EDIT, TextKind.UNRELATED]
    assert [text.kind for text in drift_texts(bare, CONFIG)] == [TextKind.EDIT] + len(UNRELATED_TEXTS) * [
        TextKind.UNRELATED
    ]


def test_the_edit_comes_first_as_it_was_typed() -> None:
    first = shift_texts(context(), CONFIG)[0]
    assert (first.kind, first.text) == (TextKind.EDIT, EDIT.prompt)
    assert first.new == "Tokyo"


def test_paraphrases_and_consequences_name_the_subject_and_their_own_answers() -> None:
    texts = shift_texts(context(), CONFIG)
    paraphrases = [text for text in texts if text.kind is TextKind.PARAPHRASE]
    consequences = [text for text in texts if text.kind is TextKind.CONSEQUENCE]
    assert paraphrases and consequences
    assert all("Eiffel Tower" in text.text for text in (*paraphrases, *consequences))
    assert ("Japan", "France") in {text.answers for text in consequences}


def test_protected_and_other_neighbours_are_told_apart() -> None:
    known = context()
    texts = drift_texts(known, CONFIG)
    protected = {text.phrase.subject for text in texts if text.kind is TextKind.PROTECTED}
    others = {text.phrase.subject for text in texts if text.kind is TextKind.NEIGHBOUR}
    assert len(protected) == len(protected_facts(known, CONFIG))
    assert not protected & others
    assert not any("Eiffel" in subject for subject in protected | others)


def test_without_protection_no_neighbour_is_called_protected() -> None:
    unprotected = replace(CONFIG, hold=replace(CONFIG.hold, neighbours=0))
    assert TextKind.PROTECTED not in {text.kind for text in drift_texts(context(), unprotected)}


def test_only_what_the_edit_is_about_should_move() -> None:
    assert {kind for kind in TextKind if kind.should_move} == {
        TextKind.EDIT,
        TextKind.PARAPHRASE,
        TextKind.CONSEQUENCE,
    }


def test_what_a_patch_really_kept_is_what_is_called_protected() -> None:
    known = context()
    one = protected_facts(known, CONFIG)[0].triple.subject
    patch = EditPatch(
        edits=(EDIT,),
        updates=(),
        model_fingerprint="m",
        editor="KGMET",
        keys={1: ((f"{EDIT.id}/0", f"kept/{one.id}"), torch.zeros(2, 4))},
    )
    texts = drift_texts(known, CONFIG, patch=patch)
    protected = [text.phrase.subject for text in texts if text.kind is TextKind.PROTECTED]
    assert len(protected) == 1 and one.label in protected[0]
    assert sum(one.label in text.text for text in texts) == 1
