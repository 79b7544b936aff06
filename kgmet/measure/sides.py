"""`before_and_after`: the model without and with a patch, as two rows of one batch."""

from __future__ import annotations

from contextlib import AbstractContextManager

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import Side, unchanged
from kgmet.write.patch import EditPatch, attached_updates, check_patch

__all__ = ["before_and_after"]


def before_and_after(patch: EditPatch, lm: LoadedLM) -> tuple[Side, Side]:
    """Return two sides for `ask_each_side`: the model as it is, and with the patch added.

    Raises:
        StaleArtifactError: if the patch was made for another model.
        BrokenArtifactError: if a layer or a shape does not fit.
    """
    check_patch(patch, lm)

    def with_patch(row: int | None) -> AbstractContextManager[None]:
        return attached_updates(patch.updates, lm, row=row)

    return unchanged, with_patch
