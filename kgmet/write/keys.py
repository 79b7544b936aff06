"""`measure_keys`: what a layer's down-projection is asked with at each lookup token, and what came out further up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kgmet.lm.loaded import LoadedLM
from kgmet.lm.spans import Phrase, locate_all
from kgmet.lm.suffixes import left_padded, replayable
from kgmet.lm.tracing import hidden_of, recorded, recorded_calls, recorded_last, stopped_after
from kgmet.shapes import check_shape

__all__ = ["KeyBatch", "KeyRow", "StartedRows", "key_rows", "measure_keys"]


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

    def run(ids: Tensor, mask: Tensor, positions: Tensor) -> None:
        with stopped_after(lm, top):
            lm.base(ids, attention_mask=mask, position_ids=positions, use_cache=False)

    return _together(
        [_seen(lm, partial(run, *batch), layer=layer, top=top) for batch in _batches(lm, rows, batch_size)], layer
    )


class StartedRows:
    """Rows that have run up to decoder layer `first` once, to be run on from there as often as they are wanted.

    What is written at `first` or above changes nothing below it, and below is most of the work where layers are deep.
    """

    def __init__(self, lm: LoadedLM, rows: Sequence[KeyRow], *, first: int, top: int, batch_size: int = 64) -> None:
        self._lm, self._first, self._top = lm, first, top
        self._starts = []
        for ids, mask, positions in _batches(lm, rows, batch_size):
            with torch.no_grad(), recorded_calls(list(lm.layers[first : top + 1])) as calls, stopped_after(lm, top):
                lm.base(ids, attention_mask=mask, position_ids=positions, use_cache=False)
            given = calls[0][0][0] if calls[0][0] else calls[0][1]["hidden_states"]
            self._starts.append((given.detach(), [replayable(args, kwargs) for args, kwargs in calls]))

    def measure(self, layer: int) -> KeyBatch:
        """As `measure_keys` for a `layer` from `first` to `top`, with the updates attached now."""

        def run(hidden: Tensor, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> None:
            for module, (args, kwargs) in zip(self._lm.layers[self._first : self._top + 1], calls, strict=True):
                hidden = hidden_of(module(hidden, *args, **kwargs))

        found = [_seen(self._lm, partial(run, *start), layer=layer, top=self._top) for start in self._starts]
        return _together(found, layer)


def _batches(lm: LoadedLM, rows: Sequence[KeyRow], size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Token ids, mask and positions of `size` rows at a time, padded on the left."""
    for begin in range(0, len(rows), size):
        ids, mask = left_padded([row.input_ids for row in rows[begin : begin + size]], device=lm.device)
        yield ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


def _seen(lm: LoadedLM, run: Callable[[], None], *, layer: int, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Key, output and state at the last position while something runs."""
    module = lm.family.write_module(lm.model, layer)
    with (
        torch.no_grad(),
        recorded([module], inputs=True) as key,
        recorded([module]) as output,
        recorded([lm.layers[top]]) as state,
    ):
        run()
    return recorded_last(key), recorded_last(output), recorded_last(state)


def _together(found: Sequence[tuple[Tensor, Tensor, Tensor]], layer: int) -> KeyBatch:
    keys, outputs, states = (torch.cat(parts) for parts in zip(*found, strict=True))
    return KeyBatch(layer=layer, keys=keys, outputs=outputs, states=states)
