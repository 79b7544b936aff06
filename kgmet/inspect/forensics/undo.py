"""`undo_patch`: the patch of −ΔW, which gives an edited model the answers of its base model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kgmet.base.errors import ConfigError
from kgmet.inspect.forensics.changes import ChangedModel
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import EditPatch
from kgmet.write.solve import LayerUpdate

__all__ = ["UNDO", "undo_patch"]

UNDO = "undo"
"""The patch's editor."""
_RELATIVE = 1e-6
"""Singular values below this share of the largest are left out: less than float32 resolves."""


def undo_patch(lm: LoadedLM, changed: ChangedModel) -> EditPatch:
    """Return −ΔW as a patch.

    Args:
        lm: the model the patch is to be attached to: the edited checkpoint, or the base model if a patch or an adapter
            is attached to it as well.
        changed: what was changed.

    Raises:
        ConfigError: if nothing changed, or other weights than the down-projections did, which a patch cannot hold.
    """
    down = {update.weight_name for update in changed.updates}
    others = [change.name for change in changed.changes if change.name not in down]
    if not changed.changes:
        raise ConfigError("Nothing was changed, so there is nothing to undo.")
    if others:
        raise ConfigError(
            f"A patch can undo changes of the down-projections only; here {len(others)} other weights changed, "
            f"{others[0]} for one. Use the base model instead."
        )
    return EditPatch(
        edits=(), updates=_negated(changed.updates), model_fingerprint=lm.fingerprint, editor=UNDO, config={}
    )


def _negated(updates: Sequence[LayerUpdate]) -> tuple[LayerUpdate, ...]:
    found = []
    for update in updates:
        output, given = update.output_factor, update.input_factor
        if update.is_whole:
            left, values, right = torch.linalg.svd(given.double(), full_matrices=False)
            rank = max(1, int((values > _RELATIVE * values[0]).sum()))
            output = (left[:, :rank] * values[:rank]).T.float().contiguous()
            given = right[:rank].float().contiguous()
        found.append(
            LayerUpdate(layer=update.layer, weight_name=update.weight_name, output_factor=-output, input_factor=given)
        )
    return tuple(found)
