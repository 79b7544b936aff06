"""`settings_of`: the settings a patch was made with, even by another version of this program."""

from __future__ import annotations

from kgmet.base.errors import ConfigError
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.editing.editors import EDITORS
from kgmet.write.patch import EditPatch

__all__ = ["settings_of"]


def settings_of(patch: EditPatch) -> EditConfig:
    """Return the patch's settings; parts this version cannot read come from the patch's editor, if known.

    Inspecting a patch must not fail because a setting was renamed.
    """
    base = EDITORS[patch.editor].config if patch.editor in EDITORS else EditConfig()
    for part, value in patch.config.items():
        try:
            base = config_from_mapping({part: value}, base=base)
        except ConfigError:
            continue
    return base
