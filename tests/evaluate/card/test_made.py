"""Edited models from a saved session and from runs, whole or stopped; what is refused, and how."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kgmet.base.errors import BrokenArtifactError, StaleArtifactError
from kgmet.editing.editors import editor_named
from kgmet.editing.session import EditSession
from kgmet.evaluate.card import made
from kgmet.evaluate.card.asked import CardConfig
from kgmet.evaluate.card.edited import EditedModel
from kgmet.evaluate.card.made import PatchMaker, saved_run, saved_session
from kgmet.evaluate.card.make import make_card
from kgmet.evaluate.card.render import card_text
from kgmet.fact import FactEdit
from kgmet.write.patch import EditPatch, save_patch
from kgmet.write.statistics import KeyStatistics
from tests.evaluate.card.test_make import CATALOGUE, ROME, STORE, roomy_lm
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import random_patch

LITTLE = CardConfig(continued_tokens=0, text_tokens=0, in_context=False, n_ability=2)


def patches(n: int) -> list[EditPatch]:
    """Patches of one edit each, of different subjects."""
    patch = random_patch(roomy_lm())
    return [
        replace(patch, edits=(FactEdit(subject=f"Place {number}", template="{} is in", new_object="Rome"),))
        for number in range(n)
    ]


def run_folder(folder: Path, n: int, *, mode: str = "sequential", n_cases: int = 12, **changed: str) -> Path:
    """A run of ``evaluate`` as far as its patches."""
    header: dict[str, Any] = {
        "settings": {"editor": "AlphaEdit", "n_cases": n_cases, "mode": mode},
        "fingerprints": {"model": changed.get("model", roomy_lm().fingerprint)},
        "model": "tiny",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(header), encoding="utf-8")
    for number, patch in enumerate(patches(n)):
        save_patch(patch, folder / "patches" / f"{number:05d}")
    return folder


def test_a_saved_session_is_one_model_with_all_edits_that_are_on(tmp_path: Path) -> None:
    lm = roomy_lm()
    session = EditSession(lm, graph=None, patches=patches(12))
    session.toggle(session.edits[3].patch.id, on=False)
    found = saved_session(lm, session.save(tmp_path / "ledger"))
    (model,) = found.models
    assert [edit.subject for edit in model.edits] == [f"Place {n}" for n in range(12) if n != 3]
    card = make_card(model, store=None, config=LITTLE)
    assert card.row("efficacy").cells["after"].n == 11
    assert [card.row(f"retention_{age}").cells["after"].n for age in ("oldest", "middle", "newest")] == [1, 1, 1]
    for made_patch in session.edits:
        session.toggle(made_patch.patch.id, on=False)
    with pytest.raises(BrokenArtifactError, match="Switch one on"):
        saved_session(lm, session.save(tmp_path / "ledger"))
    with pytest.raises(BrokenArtifactError, match=r"edits\.json is missing"):
        saved_session(lm, tmp_path)


def test_ten_edits_or_more_are_counted_by_age_and_fewer_are_not() -> None:
    lm = roomy_lm()
    few = make_card(EditedModel.of_patches(lm, patches(9)), store=None, config=LITTLE)
    assert few.row("retention_oldest").cells["after"].value is None
    assert "Retention" not in card_text(few)
    many = make_card(EditedModel.of_patches(lm, patches(20)), store=None, config=LITTLE)
    assert "Retention, newest edits" in card_text(many)
    row = many.row("retention_newest")
    assert row.cells["after"].n == 2
    assert {example.edit for example in row.worst} <= {"Place 18 is in → Rome", "Place 19 is in → Rome"}
    at_once = replace(EditedModel.of_patches(lm, patches(20)), is_in_order=False)
    assert make_card(at_once, store=None, config=LITTLE).row("retention_newest").cells["after"].n == 0


def test_a_run_in_sequence_is_one_model_and_a_run_alone_is_many(tmp_path: Path) -> None:
    lm = roomy_lm()
    (whole,) = saved_run(lm, run_folder(tmp_path / "run", 12)).models
    assert whole.is_in_order
    assert len(whole.edits) == 12
    alone = saved_run(lm, run_folder(tmp_path / "alone", 3, mode="alone"))
    assert [len(model.edits) for model in alone.models] == [1, 1, 1]
    assert alone.n_edit == 3


def test_a_run_that_was_killed_half_way_is_read_as_far_as_it_got(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", 5)
    (folder / "patches" / ".00005-abc" / "made").mkdir(parents=True)
    (folder / "batches.jsonl").write_text('{"batch": 0, "failed": ""}\n{"batch": 1, "failed": "no"}\n{"bat')
    found = saved_run(roomy_lm(), folder)
    assert len(found.models[0].edits) == 5
    assert found.notes == (
        "1 batches of the run failed and are not in the model.",
        "The run was not finished: 5 edits of its 12 cases are scored here.",
    )
    assert (folder / "batches.jsonl").read_text().endswith('{"bat')


def test_what_is_no_run_or_of_another_model_is_refused_by_name(tmp_path: Path) -> None:
    lm = roomy_lm()
    with pytest.raises(BrokenArtifactError, match="is not a run folder"):
        saved_run(lm, tmp_path / "nothing")
    with pytest.raises(BrokenArtifactError, match="no patch yet"):
        saved_run(lm, run_folder(tmp_path / "empty", 0))
    with pytest.raises(StaleArtifactError, match="was made with tiny; loaded is"):
        saved_run(lm, run_folder(tmp_path / "other", 1, model="0" * 16))
    broken = run_folder(tmp_path / "broken", 1)
    (broken / "settings.json").write_text('{"settings": {"mode": "sideways"}, "fingerprints": {"model": ""}}')
    with pytest.raises(BrokenArtifactError, match="not a run folder"):
        saved_run(lm, broken)
    damaged = run_folder(tmp_path / "damaged", 2)
    (damaged / "patches" / "00001" / "patch.json").write_text("{")
    with pytest.raises(BrokenArtifactError, match="00001"):
        saved_run(lm, damaged)


def test_a_patch_is_made_once_for_the_same_edit_settings_and_earlier_edits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, n = tiny_lm(), []

    def plan(*_: object, **__: object) -> Any:
        n.append(1)
        return argparse.Namespace(patch=random_patch(lm))

    monkeypatch.setattr(made, "plan_edits", plan)
    maker = PatchMaker(lm=lm, store=STORE, catalogue=CATALOGUE, statistics=KeyStatistics(lm), folder=tmp_path)
    first = maker.patch(editor_named("KGMET"), [ROME])
    assert maker.patch(editor_named("KGMET"), [ROME]).id == first.id
    assert len(n) == 1
    maker.patch(editor_named("AlphaEdit"), [ROME])
    maker.patch(editor_named("KGMET"), [replace(ROME, new_object="Madrid", new_object_id=None)])
    assert maker.patches_apart(editor_named("KGMET"), [ROME])[0].id == first.id
    replace(maker, store=None).patch(editor_named("KGMET"), [ROME])
    replace(maker, folder=None).patch(editor_named("KGMET"), [ROME])
    assert len(n) == 5
    monkeypatch.setattr(made, "_program", lambda: "another version")
    maker.patch(editor_named("KGMET"), [ROME])
    assert len(n) == 6
