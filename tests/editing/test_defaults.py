"""The settings an editor has for a model: its own, published, scaled or calibrated, with words for which."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kgmet.base.errors import BrokenArtifactError, StaleArtifactError
from kgmet.editing import profile as profile_module
from kgmet.editing.config import config_from_mapping
from kgmet.editing.defaults import (
    SettingsSource,
    default_config,
    default_settings,
    scaled_layers,
    uncalibrated_settings,
)
from kgmet.editing.editors import EDITORS
from kgmet.editing.profile import (
    SHIPPED_PROFILES,
    CalibratedEditor,
    ModelProfile,
    check_profile,
    find_profile,
    load_profile,
    own_profile,
    profile_path,
    save_profile,
    shipped_profile,
)
from kgmet.editing.session import EditSession
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.columns import Counts
from tests.tiny_models import tiny_lm

COUNTS = {"efficacy": Counts(n=24, preferred=24, first=20)}


def shaped(model_type: str, n_layer: int, d_model: int) -> LoadedLM:
    config = SimpleNamespace(model_type=model_type)
    lm = SimpleNamespace(config=config, n_layer=n_layer, d_model=d_model, fingerprint="0" * 16, name="shape")
    return cast(LoadedLM, lm)


def profile_of(lm: LoadedLM, **changes: Any) -> ModelProfile:
    editor = EDITORS["AlphaEdit"]
    found = CalibratedEditor(
        editor=editor.name,
        config=config_from_mapping({"write": {"layers": [0], "ridge": 4.0}}, base=editor.config),
        changes="write.layers [0], write.ridge 4.0",
        reason="Best of the search.",
        is_default=False,
        tried=12,
        seed=0,
        n_search=16,
        n_check=24,
        searched=COUNTS,
        searched_default=COUNTS,
        checked=COUNTS,
        checked_default=COUNTS,
    )
    values: dict[str, Any] = {
        "model": lm.name,
        "model_fingerprint": lm.fingerprint,
        "graph": "sample",
        "editors": {editor.name: found},
        "knows": {"asked": 4, "known": 2},
        "layers": {},
    }
    return ModelProfile(**values | changes)


def test_smollm2_keeps_every_editors_own_settings() -> None:
    lm = shaped("llama", 30, 576)
    for editor in EDITORS.values():
        found = default_settings(editor, lm)
        assert found.config is editor.config
        assert found.source is SettingsSource.OWN


def test_layers_are_scaled_by_relative_depth() -> None:
    own = EDITORS["AlphaEdit"].config.write.layers
    assert scaled_layers(own, 30) == own == (3, 4, 5, 6, 7, 8)
    assert scaled_layers(own, 18) == (2, 3, 4, 5)
    assert scaled_layers(own, 60) == tuple(range(6, 17))
    assert scaled_layers((6,), 18) == (3,)
    assert scaled_layers(own, 2) == (0,)
    found = default_settings(EDITORS["KGMET"], shaped("gemma3_text", 18, 640))
    assert found.source is SettingsSource.SCALED
    assert found.sentence == "not calibrated: scaled from SmolLM2, layers 2–5 of 18"
    assert found.config.write.ridge == EDITORS["KGMET"].config.write.ridge


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        (("gpt2", 48, 1600), (13, 14, 15, 16, 17)),
        (("gptj", 28, 4096), (3, 4, 5, 6, 7, 8)),
        (("llama", 32, 4096), (4, 5, 6, 7, 8)),
        (("qwen2", 28, 3584), (4, 5, 6, 7, 8)),
        (("mistral", 32, 4096), (4, 5, 6, 7, 8)),
    ],
)
def test_published_layers_are_taken_where_there_are_some(shape: tuple[str, int, int], layers: tuple[int, ...]) -> None:
    found = default_settings(EDITORS["AlphaEdit"], shaped(*shape))
    assert (found.source, found.config.write.layers) == (SettingsSource.PUBLISHED, layers)
    # Another span, or one layer, was chosen for a reason: it is scaled.
    assert default_settings(EDITORS["ROME"], shaped(*shape)).source is SettingsSource.SCALED


def test_an_editor_with_changed_settings_keeps_them() -> None:
    editor = EDITORS["AlphaEdit"]
    changed = replace(editor, config=replace(editor.config, seed=7))
    assert default_config(changed, tiny_lm()) is changed.config


def test_a_profile_round_trips_and_is_found_where_its_model_is_loaded(tmp_path: Path) -> None:
    lm, editor = tiny_lm(), EDITORS["AlphaEdit"]
    profile = profile_of(lm)
    save_profile(profile, tmp_path / "profile.json")
    assert load_profile(tmp_path / "profile.json") == profile
    assert find_profile(lm) is None
    assert default_settings(editor, lm).source is SettingsSource.SCALED
    save_profile(profile, profile_path(lm))
    found = default_settings(editor, lm)
    assert found.source is SettingsSource.CALIBRATED
    assert found.config == profile.editors["AlphaEdit"].config
    assert found.words.startswith("calibrated on 16 facts (write.layers [0], write.ridge 4.0); on 24 other facts: ")
    assert default_settings(EDITORS["MEMIT"], lm).source is SettingsSource.SCALED  # not in it
    # A new one is read at once, though pages ask all the time.
    save_profile(replace(profile, editors={}), profile_path(lm))
    assert default_settings(editor, lm).source is SettingsSource.SCALED


def test_a_profile_of_another_model_is_refused_by_name() -> None:
    lm, other = tiny_lm(), tiny_lm("gpt2")
    with pytest.raises(StaleArtifactError, match=r"tiny llama .*tiny gpt2"):
        default_settings(EDITORS["AlphaEdit"], other, profile=profile_of(lm))


def test_a_profile_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({**profile_of(tiny_lm()).to_json(), "format": 2, "version": "9.1"}), encoding="utf-8")
    with pytest.raises(StaleArtifactError, match=r"format 2, written by kgmet 9\.1"):
        load_profile(path)


@pytest.mark.parametrize("spoil", ["nothing", "editor", "layers", "text"])
def test_a_damaged_profile_is_refused_and_edits_say_so(spoil: str) -> None:
    lm = tiny_lm()
    data = profile_of(lm).to_json()
    if spoil == "editor":
        del data["editors"]["AlphaEdit"]["tried"]
    elif spoil == "layers":
        data["editors"]["AlphaEdit"]["config"]["write"]["layers"] = ["a"]
    path = profile_path(lm)
    path.parent.mkdir(parents=True)
    path.write_text("{" if spoil == "text" else json.dumps({} if spoil == "nothing" else data), encoding="utf-8")
    with pytest.raises(BrokenArtifactError, match=path.name):
        load_profile(path)
    found = default_settings(EDITORS["AlphaEdit"], lm)
    assert found.source is SettingsSource.SCALED
    assert str(path) in found.sentence


def test_a_session_and_its_reports_say_where_the_settings_come_from() -> None:
    lm = tiny_lm()
    save_profile(profile_of(lm), profile_path(lm))
    session = EditSession(lm, editor="AlphaEdit", graph=None)
    assert session.config.write.layers == (0,)
    session.use("AlphaEdit", {"target": {"max_steps": 2}})
    assert (session.config.write.layers, session.config.target.max_steps) == ((0,), 2)
    report = session.edit(FactEdit(subject="The Louvre", template="{} is in the city of", new_object="Rome")).report
    assert report.settings.startswith("calibrated on 16 facts")
    assert report.settings.endswith("; changed")
    assert type(report).from_json(report.to_json()) == report
    assert f"Settings: {report.settings}." in str(report)
    given = EditSession(lm, editor="AlphaEdit", config=EDITORS["MEMIT"].config, graph=None)
    assert (given.config, given.settings) == (EDITORS["MEMIT"].config, "as given")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(profile_module, "SHIPPED_PROFILES", tmp_path / "shipped")
    return tmp_path / "shipped"


def test_a_shipped_profile_is_found_after_the_users_own(shipped: Path) -> None:
    lm, editor = tiny_lm(), EDITORS["AlphaEdit"]
    mine = profile_of(lm)
    theirs = replace(mine.editors["AlphaEdit"], n_search=99)
    memit = replace(theirs, editor="MEMIT", config=config_from_mapping({"write": {"layers": [1]}}))
    profile = replace(mine, editors={"AlphaEdit": theirs, "MEMIT": memit}, layers={"n": 3})
    save_profile(profile, shipped / f"{lm.fingerprint}.json")
    assert (find_profile(lm), shipped_profile(lm), own_profile(lm)) == (profile, profile, None)
    assert default_settings(editor, lm).sentence.startswith("calibrated on 99 facts")
    save_profile(mine, profile_path(lm))
    assert default_settings(editor, lm).sentence.startswith("calibrated on 16 facts")
    assert default_settings(EDITORS["MEMIT"], lm).config.write.layers == (1,)  # only the shipped one has it
    found = find_profile(lm)
    assert found is not None and (found.layers, found.knows) == ({"n": 3}, mine.knows)
    # The user's own cannot be read: the shipped one is used, and it is said.
    profile_path(lm).write_text("{", encoding="utf-8")
    settings = default_settings(editor, lm)
    assert settings.source is SettingsSource.CALIBRATED
    assert settings.sentence.startswith("calibrated on 99 facts") and str(profile_path(lm)) in settings.sentence
    # Nor can the shipped one.
    data = profile.to_json()
    data["editors"]["MEMIT"]["config"]["write"]["no longer there"] = 1
    (shipped / f"{lm.fingerprint}.json").write_text(json.dumps(data), encoding="utf-8")
    settings = default_settings(editor, lm)
    assert settings.source is SettingsSource.SCALED
    assert "There is no setting write.no longer there" in settings.sentence


def test_where_nothing_was_better_the_present_settings_are_kept_and_it_is_said(shipped: Path) -> None:
    lm, editor = tiny_lm(), EDITORS["AlphaEdit"]
    own = default_settings(editor, lm).config
    kept = replace(profile_of(lm).editors["AlphaEdit"], is_default=True)
    save_profile(profile_of(lm, editors={"AlphaEdit": kept}), shipped / f"{lm.fingerprint}.json")
    found = default_settings(editor, lm)
    assert found.config == own
    assert found.words.startswith(
        "calibrated on 16 facts; no other settings tried were better, so these are the uncalibrated ones; on 24 other "
        "facts: "
    )
    assert "24" not in found.sentence


def test_a_profile_that_writes_to_a_layer_the_model_lacks_is_refused() -> None:
    lm = tiny_lm()
    far = replace(profile_of(lm).editors["AlphaEdit"], config=config_from_mapping({"write": {"layers": [lm.n_layer]}}))
    with pytest.raises(BrokenArtifactError, match=f"layer {lm.n_layer} with AlphaEdit"):
        check_profile(profile_of(lm, editors={"AlphaEdit": far}), lm)


SHAPES = {"bundled:smollm2": ("llama", 30, 576), "bundled:gemma3": ("gemma3_text", 18, 640)}


def test_both_bundled_models_have_a_shipped_profile() -> None:
    assert sorted(load_profile(path).model for path in SHIPPED_PROFILES.glob("*.json")) == sorted(SHAPES)


@pytest.mark.parametrize("path", sorted(SHIPPED_PROFILES.glob("*.json")), ids=lambda path: path.stem)
def test_a_shipped_profile_is_of_the_model_it_is_named_after_and_of_todays_settings(path: Path) -> None:
    """Where an editor's own settings change, its calibration compared others: make the profiles again."""
    profile = load_profile(path)
    assert path.stem == profile.model_fingerprint
    lm = shaped(*SHAPES[profile.model])
    assert profile.editors and profile.knows["known"] > 0
    assert len(profile.layers["restored"]) == lm.n_layer
    for name, found in profile.editors.items():
        base = uncalibrated_settings(EDITORS[name], lm).config
        assert found.editor == name
        assert (found.config == base) is found.is_default
        if found.is_default:
            assert found.checked == found.checked_default
        assert found.checked["efficacy"].n == found.n_check
