"""A patch of another version can still be looked at."""

from __future__ import annotations

from dataclasses import replace

from kgmet.editing.config import EditConfig, config_to_mapping
from kgmet.editing.editors import EDITORS
from kgmet.inspect.settings import settings_of
from tests.inspect.looked import config_of, random_patch, written_patch
from tests.tiny_models import tiny_lm


def test_what_was_saved_is_read_back() -> None:
    assert settings_of(written_patch(tiny_lm(), share=0.25, ridge=3.0)) == config_of(0.25, 3.0)


def test_parts_that_cannot_be_read_are_the_editors_and_the_others_stay() -> None:
    saved = config_to_mapping(config_of(0.25, 3.0))
    saved["direction"] = {"source": "free", "dropout": 0.2}
    saved["shuffled"] = 1
    patch = replace(random_patch(tiny_lm()), editor="KGMET-paper", config=saved)
    found = settings_of(patch)
    assert found.write.ridge == 3.0
    assert found.direction == EDITORS["KGMET-paper"].config.direction


def test_a_patch_without_settings_has_the_defaults() -> None:
    assert settings_of(random_patch(tiny_lm())) == EditConfig()
