"""Sides of one batch: the model without and with patches."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.tracing import Rows
from kgmet.lm.say.packed import Side, unchanged
from kgmet.write.patch import EditPatch, attached_updates, check_patch

__all__ = ["before_and_after", "with_patches"]


def before_and_after(patch: EditPatch, lm: LoadedLM) -> tuple[Side, Side]:
    """Return two sides for `ask_each_side`: the model as it is, and with the patch added.

    Raises:
        StaleArtifactError: if the patch was made for another model.
        BrokenArtifactError: if a layer or a shape does not fit.
    """
    return unchanged, with_patches([patch], lm)


def with_patches(patches: Sequence[EditPatch], lm: LoadedLM) -> Side:
    """Return the side of the model with all these patches added.

    Raises:
        StaleArtifactError: if a patch was made for another model.
        BrokenArtifactError: if a layer or a shape does not fit.
    """
    for patch in patches:
        check_patch(patch, lm)
    updates = [update for patch in patches for update in patch.updates]

    def side(rows: Rows | None) -> AbstractContextManager[None]:
        return attached_updates(updates, lm, rows=rows)

    return side
