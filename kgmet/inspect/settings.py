"""`settings_of`: the settings a patch was made with, also where another version of this program made it."""

from __future__ import annotations

from kgmet.base.errors import ConfigError
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.editing.editors import EDITORS
from kgmet.write.patch import EditPatch

__all__ = ["settings_of"]


def settings_of(patch: EditPatch) -> EditConfig:
    """Return the patch's settings; a part this version cannot read is as in the patch's editor, where that is known.

    A patch is data from disk or from somebody else, and looking at it must not fail over a setting that was renamed.
    """
    base = EDITORS[patch.editor].config if patch.editor in EDITORS else EditConfig()
    for part, value in patch.config.items():
        try:
            base = config_from_mapping({part: value}, base=base)
        except ConfigError:
            continue
    return base
