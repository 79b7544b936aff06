"""`replayed_states`: what every edited layer gives when the shift is made at the first of them.

Forward replay (arXiv:2605.00358): the shift is searched after the first edited layer. One forward pass under it gives
each later layer its own target, in place of a share of one residual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.placement import exact_device
from kgmet.lm.run.suffixes import left_padded, token_positions
from kgmet.lm.run.tracing import recorded, shifted, stopped_after
from kgmet.write.keys import KeyRow

__all__ = ["replayed_states"]

_BATCH = 64


def replayed_states(
    lm: LoadedLM, rows: Sequence[KeyRow], deltas: Tensor, *, layers: Sequence[int]
) -> Mapping[int, Tensor]:
    """Return the states at each row's last token after every layer, under shifts after the first of the layers.

    Args:
        lm: the model, with whatever patches attached.
        rows: texts that end with the lookup token.
        deltas: (n_row, d_model) the shifts.
        layers: ascending.

    Returns:
        layer → (n_row, d_model), float32.
    """
    found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    modules = [lm.layers[layer] for layer in layers]
    for begin in range(0, len(rows), _BATCH):
        ids, mask = left_padded([row.input_ids for row in rows[begin : begin + _BATCH]], device=lm.device)
        last = torch.full((len(ids),), ids.shape[1] - 1, dtype=torch.long, device=lm.device)
        inputs = {"attention_mask": mask, "position_ids": token_positions(mask)}
        by = deltas[begin : begin + _BATCH]
        # The shift's hook comes first, so that what is recorded is shifted.
        with (
            torch.no_grad(),
            shifted(lm, layer=layers[0], positions=last, by=by),
            recorded(modules) as seen,
            stopped_after(lm, layers[-1]),
        ):
            lm.base(ids, use_cache=False, **inputs)
        for layer, states in zip(layers, seen, strict=True):
            assert states is not None
            found[layer].append(states[:, -1].detach().float().to(exact_device(states.device)))
    empty = torch.zeros(0, lm.d_model, dtype=torch.float32)
    return {layer: torch.cat(parts) if parts else empty for layer, parts in found.items()}
