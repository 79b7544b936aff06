"""`measure_keys`: what a layer's down-projection is asked with at each lookup token, and what came out further up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.lm.loaded import LoadedLM
from kgmet.lm.spans import Phrase, locate_all
from kgmet.lm.suffixes import left_padded
from kgmet.lm.tracing import recorded, recorded_last, stopped_after
from kgmet.shapes import check_shape

__all__ = ["KeyBatch", "KeyRow", "key_rows", "measure_keys"]


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """A text cut after its lookup token, and whose it is: `owner` is an edit's id, or a name for a protected key."""

    owner: str
    input_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class KeyBatch:
    """What was seen at each row's lookup token.

    `keys` (n_row, d_key) and `outputs` (n_row, d_model) are the input and output of one layer's down-projection,
    `states` (n_row, d_model) the residual stream after a higher layer.
    """

    layer: int
    keys: Tensor
    outputs: Tensor
    states: Tensor

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shape("outputs", self.outputs, self.keys.shape[0], None)
        check_shape("states", self.states, *self.outputs.shape)


def key_rows(lm: LoadedLM, owner: str, phrases: Sequence[Phrase]) -> tuple[KeyRow, ...]:
    """One row per different text up to the lookup token: what comes after it cannot change a key."""
    spans = locate_all(lm, phrases)
    texts = dict.fromkeys(span.input_ids[: span.lookup.position + 1] for span in spans)
    return tuple(KeyRow(owner=owner, input_ids=ids) for ids in texts)


def measure_keys(lm: LoadedLM, rows: Sequence[KeyRow], *, layer: int, top: int, batch_size: int = 64) -> KeyBatch:
    """Keys at `layer` and states after layer `top` (≥ `layer`) at the last token of each row.

    Sees whatever updates are attached. The forward pass stops after `top`.

    Returns:
        `KeyBatch` on the CPU, float32.
    """
    keys, outputs, states = [], [], []
    module = lm.family.write_module(lm.model, layer)
    for begin in range(0, len(rows), batch_size):
        ids, mask = left_padded([row.input_ids for row in rows[begin : begin + batch_size]], device=lm.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with (
            torch.no_grad(),
            recorded([module], inputs=True) as key,
            recorded([module]) as output,
            recorded([lm.layers[top]]) as state,
            stopped_after(lm, top),
        ):
            lm.base(ids, attention_mask=mask, position_ids=positions, use_cache=False)
        keys.append(recorded_last(key))
        outputs.append(recorded_last(output))
        states.append(recorded_last(state))
    return KeyBatch(layer=layer, keys=torch.cat(keys), outputs=torch.cat(outputs), states=torch.cat(states))
