from __future__ import annotations

from pathlib import Path

import pytest

from kgmet.base.errors import ConfigError
from kgmet.editing.config import EditConfig, config_from_mapping, config_to_mapping, load_config
from kgmet.editing.editors import EDITORS, editor_named
from kgmet.write.nullspace import CutoffKind


@pytest.mark.parametrize("editor", EDITORS.values(), ids=lambda editor: editor.name)
def test_every_editors_settings_survive_the_way_through_json(editor: object) -> None:
    config = editor.config  # type: ignore[attr-defined]
    assert config_from_mapping(config_to_mapping(config)) == config


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"target": {"max_stepps": 3}}, "target.max_stepps"),
        ({"target": {"max_steps": "many"}}, "target.max_steps"),
        ({"target": {"max_steps": True}}, "target.max_steps"),
        ({"target": {"max_steps": 0}}, "target.max_steps"),
        ({"target": {"max_steps": 10**30}}, "target.max_steps must be at most 100000"),
        ({"target": {"max_steps": 1_001}}, "target.max_steps must be from 1 to 1000, got 1001"),
        ({"target": {"anchor_pilots": 10_001}}, "target.anchor_pilots must be from 0 to 10000, got 10001"),
        ({"finetune": {"steps": 1_001}}, "finetune.steps must be from 1 to 1000, got 1001"),
        ({"ultra": {"pilots": 10_001}}, "ultra.pilots must be from 0 to 10000, got 10001"),
        ({"write": {"repeats": 101}}, "write.repeats must be from 1 to 100, got 101"),
        ({"target": {"anchor_pilots": 100_001}}, "target.anchor_pilots must be at most"),
        ({"write": {"repeats": 10**30}}, "write.repeats must be at most"),
        ({"write": {"layers": [1, 10**30]}}, "write.layers must be at most"),
        ({"target": 3}, "target"),
        ({"write": {"layers": 4}}, "write.layers"),
        ({"write": {"layers": [5, 4]}}, "write.layers"),
        ({"write": {"schedule": "fast"}}, "write.schedule"),
        ({"write": {"ridge": -1}}, "write.ridge"),
        ({"cutoff": {"kind": "rank", "value": 2.0}}, "cutoff"),
        ({"hold": {"contexts": 0}}, "hold.contexts"),
        ({"shuffled": 1}, "shuffled"),
    ],
)
def test_a_wrong_setting_is_named(data: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        config_from_mapping(data)


def test_the_largest_settings_are_taken() -> None:
    data = {
        "target": {"max_steps": 1_000, "anchor_pilots": 10_000},
        "finetune": {"steps": 1_000},
        "ultra": {"pilots": 10_000},
        "write": {"repeats": 100},
    }
    assert config_to_mapping(config_from_mapping(data))["target"]["max_steps"] == 1_000


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("subgraph", "read_limit"),
        ("consequences", "read_limit"),
        ("consequences", "max_values"),
        ("consequences", "max_templates"),
        ("consequences", "max_questions"),
    ],
)
def test_a_setting_of_an_earlier_version_is_refused_by_name(table: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"There is no setting {table}\.{name}; there are {table}\."):
        config_from_mapping({table: {name: 1}})


def test_a_toml_file_replaces_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[write]\nlayers = [1, 2]\nridge = 2\n[cutoff]\nkind = "energy"\nvalue = 0.1\n', encoding="utf-8")
    config = load_config(path)
    assert config.write.layers == (1, 2)
    assert config.write.ridge == 2.0
    assert config.cutoff.kind is CutoffKind.ENERGY
    assert config.target == EditConfig().target


def test_a_damaged_toml_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[write\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"settings\.toml"):
        load_config(path)


def test_editors_are_found_whatever_the_sign_between_their_words() -> None:
    assert editor_named("memit-rect") is EDITORS["MEMIT_rect"]
    with pytest.raises(ConfigError, match="AlphaEdit"):
        editor_named("no such editor")
