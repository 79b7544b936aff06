"""The split that quality is measured on is apart from the one that settings are chosen on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from kgmet.editing.config import config_from_mapping, config_to_mapping
from kgmet.editing.editors import EDITORS
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.measure.columns import COLUMNS, Counts

CATALOGUE = RelationCatalogue.load()


@pytest.fixture
def edit_set(load) -> ModuleType:
    return load("edit_set")


def test_every_old_object_is_the_only_one_the_graph_has(edit_set: ModuleType) -> None:
    store = sample_store()
    for relation, kind in edit_set.SPLITS["test"].items():
        for subject, old, new in kind.edits:
            name = subject.removeprefix("The ")
            found = {
                triple.object.label
                for triple in store.with_relation(relation, limit=10**6)
                if triple.subject.label in (subject, name)
            }
            assert found == {old}, (relation, subject)
            assert new != old


def test_the_test_split_has_enough_edits_of_each_relation(edit_set: ModuleType) -> None:
    counts = {relation: len(kind.edits) for relation, kind in edit_set.SPLITS["test"].items()}
    assert counts.keys() == edit_set.SPLITS["tuning"].keys()
    assert sum(counts.values()) >= 48
    assert counts.pop("P131") >= 12
    assert min(counts.values()) >= 4


def test_the_splits_are_apart(edit_set: ModuleType) -> None:
    edit_set.check_held_out(CATALOGUE)


@pytest.mark.parametrize("borrowed", ["subject", "subject without its article", "wording", "cloze"])
def test_a_borrowed_subject_or_wording_is_refused(
    edit_set: ModuleType, monkeypatch: pytest.MonkeyPatch, borrowed: str
) -> None:
    test, tuning = edit_set.SPLITS["test"]["P131"], edit_set.SPLITS["tuning"]["P131"]
    bad = {
        "subject": replace(test, edits=(*test.edits, tuning.edits[0])),
        "subject without its article": replace(test, edits=(*test.edits, ("Eiffel Tower", "Paris", "Seoul"))),
        "wording": replace(test, paraphrases=(*test.paraphrases, tuning.paraphrases[0].upper())),
        "cloze": replace(test, paraphrases=(*test.paraphrases, CATALOGUE.spec("P17").cloze[1])),
    }[borrowed]
    monkeypatch.setitem(edit_set.SPLITS["test"], "P131", bad)
    with pytest.raises(SystemExit, match=r"both splits|in the catalogue"):
        edit_set.check_held_out(CATALOGUE)


def test_what_another_edit_changes_is_not_tested_under_both(edit_set: ModuleType) -> None:
    def case(subject_id: str, relation: str, *uses: tuple[str, str]):
        edit = FactEdit(
            subject=subject_id, subject_id=subject_id, relation=relation, template="{} is in", new_object="X"
        )
        tests = tuple(
            edit_set.TestPrompt(kind="consequence", text=str(use), expected="a", rejected="b", uses=frozenset({use}))
            for use in uses
        )
        return edit_set.Case(edit=edit, tests=tests, reserved=frozenset())

    city = case("Q1", "P17", ("Q1", "P17"), ("Q2", "P38"), ("Q2", "P37"))
    country = case("Q2", "P38", ("Q2", "P38"))
    kept = [[test.text for test in one.tests] for one in edit_set.undisturbed([city, country])]
    assert kept == [[str(("Q1", "P17")), str(("Q2", "P37"))], [str(("Q2", "P38"))]]
    assert edit_set.undisturbed([city]) == [city]


def test_every_editor_gets_as_many_variants_and_each_is_another(load) -> None:
    grids = load("tune_grids")
    for editor in EDITORS.values():
        configs = [
            config_from_mapping(changes, base=editor.config)
            for alternatives in grids.rounds_for(editor)
            for changes in alternatives
        ]
        assert len(configs) == grids.BUDGET
        assert configs[0] == editor.config
        # What won has become the default, so a variant may be what the editor is; no two others are alike.
        others = [config for config in configs if config != editor.config]
        assert all(config not in others[:n] for n, config in enumerate(others)), editor.name


def test_a_line_cut_off_is_passed_over_and_the_best_settings_are_taken(load, tmp_path: Path) -> None:
    tune = load("tune")
    editor = EDITORS["MEMIT"]
    lines = []
    for reached in (1, 3, 2):
        config = config_from_mapping({"write": {"moment_weight": 10.0 * reached}}, base=editor.config)
        columns = {kind: Counts(n=4, preferred=reached, first=0) for kind in COLUMNS}
        variant = tune.Variant(
            editor=editor.name,
            text="",
            changes={},
            config=config_to_mapping(config),
            measured_on="",
            columns=columns,
        )
        lines.append(json.dumps(variant.to_json()))
    file = tmp_path / "tuned.jsonl"
    file.write_text("\n".join([*lines, lines[0][:40]]), encoding="utf-8")
    variants = tune.read_variants(file)
    assert len(variants) == 3
    assert tune.best_editor(editor, variants).config.write.moment_weight == 30.0
    assert tune.best_editor(EDITORS["ROME"], variants) == EDITORS["ROME"]
