"""`StartedRows`: keys and outputs of a layer's down-projection at each lookup token, and the states above."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kgmet.base.shapes import check_shape
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.placement import exact_device, write_device
from kgmet.lm.run.spans import Phrase, locate_all
from kgmet.lm.run.suffixes import left_padded, replayable, token_positions, trees_fit
from kgmet.lm.run.token_tree import lay_out, lowest_where_unseen, share_out
from kgmet.lm.run.tracing import hidden_of, recorded, recorded_calls, stopped_after

__all__ = ["KeyBatch", "KeyRow", "StartedRows", "key_rows", "measure_keys"]

_BATCH = 64
"""Rows per batch where texts are not laid out as trees."""


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """A text cut after its lookup token; `owner` is an edit's id, or a name for a protected key."""

    owner: str
    input_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class KeyBatch:
    """Measurements at each row's lookup token, in float32.

    `keys` (n_row, d_key) and `outputs` (n_row, d_model) are the input and output of one layer's down-projection, on
    its `write_device`; `states` (n_row, d_model) is the residual stream after a higher layer, on that layer's.
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
    """Return one row per distinct text up to the lookup token; later tokens cannot change a key."""
    spans = locate_all(lm, phrases)
    texts = dict.fromkeys(span.input_ids[: span.lookup.position + 1] for span in spans)
    return tuple(KeyRow(owner=owner, input_ids=ids) for ids in texts)


def measure_keys(lm: LoadedLM, rows: Sequence[KeyRow], *, layer: int, top: int) -> KeyBatch:
    """Measure keys at `layer` and states after layer `top` (≥ `layer`) at each row's last token."""
    return StartedRows(lm, rows, first=layer, top=top).measure(layer)


class StartedRows:
    """Rows advanced layer by layer while the layers are written, from the lowest written one up.

    Writing a layer changes nothing below it, so each layer is run once per pass. Rows with a common beginning are laid
    out as trees (`kgmet.lm.run.token_tree`), with at most `max_node` tokens per tree.
    """

    def __init__(self, lm: LoadedLM, rows: Sequence[KeyRow], *, first: int, top: int, max_node: int = 128) -> None:
        self._lm, self._first, self._top = lm, first, top
        texts = [row.input_ids for row in rows]
        widest = max(max_node, *map(len, texts), 0)
        batches = _trees(lm, texts, max_node) if trees_fit(lm, widest) else _padded(lm, texts)
        self._started = [_started(lm, inputs, places, first, top) for inputs, places in batches]
        self.rewind()

    def rewind(self) -> None:
        """Start over at `first`, for another pass over the layers."""
        self._at = self._first
        self._hidden = [start.hidden for start in self._started]

    def measure(self, layer: int, *, after: int | None = None) -> KeyBatch:
        """Return keys and outputs of `layer` and the top states, with the currently attached updates.

        Args:
            layer: from the last one measured (at first, `first`) to `top`. The updates below it must not change.
            after: the layer, from `layer` to `top`, whose output the states are; by default `top`.
        """
        keys, outputs, states = self._seen(layer, self._top if after is None else after)
        return KeyBatch(layer=layer, keys=keys, outputs=outputs, states=states)

    def keys(self, layer: int) -> Tensor:
        """Return only the keys of `measure`, (n_row, d_key); cheaper, because nothing above `layer` is run."""
        return self._seen(layer, layer)[0]

    def _seen(self, layer: int, top: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys and outputs of `layer` and states after `top`."""
        self._run_to(layer)
        module, found = self._lm.family.write_module(self._lm.model, layer), []
        for start, hidden in zip(self._started, self._hidden, strict=True):
            with recorded([module], inputs=True) as key, recorded([module]) as output:
                state = self._run(start, hidden, layer, top)
            found.append([start.at_places(seen) for seen in (key[0], output[0], state)])
        if not found:
            empty = torch.zeros(0, self._lm.d_model, dtype=torch.float32, device=write_device(self._lm, layer))
            return empty.new_zeros(0, self._lm.d_key), empty, empty
        keys, outputs, states = (torch.cat(parts) for parts in zip(*found, strict=True))
        return keys, outputs, states

    def _run_to(self, layer: int) -> None:
        if not self._at <= layer <= self._top:
            raise ValueError(f"layer {layer} is not from {self._at}, the last one measured, to {self._top}")
        if layer > self._at:
            self._hidden = [
                self._run(start, hidden, self._at, layer - 1)
                for start, hidden in zip(self._started, self._hidden, strict=True)
            ]
            self._at = layer

    def _run(self, start: _Start, hidden: Tensor, first: int, last: int) -> Tensor:
        with torch.no_grad():
            for layer in range(first, last + 1):
                args, kwargs = start.calls[layer - self._first]
                hidden = hidden_of(self._lm.layers[layer](hidden, *args, **kwargs))
        return hidden


@dataclass(frozen=True, eq=False, kw_only=True)
class _Start:
    """Texts run up to a layer: its input, the recorded call arguments of the layers above, and the lookup positions."""

    hidden: Tensor
    calls: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]
    places: tuple[Tensor, Tensor]

    def at_places(self, seen: Tensor | None) -> Tensor:
        """Return (n_row, width), float32, on its device or, if that has no float64, on the CPU."""
        if seen is None:
            raise RuntimeError("nothing was recorded: the layer did not call its down-projection")
        tree, node = (place.to(seen.device) for place in self.places)
        return seen[tree, node].detach().float().to(exact_device(seen.device))


def _started(lm: LoadedLM, inputs: dict[str, Tensor], places: tuple[Tensor, Tensor], first: int, top: int) -> _Start:
    with torch.no_grad(), recorded_calls(list(lm.layers[first : top + 1])) as calls, stopped_after(lm, top):
        lm.base(**inputs, use_cache=False)
    given = calls[0][0][0] if calls[0][0] else calls[0][1]["hidden_states"]
    return _Start(hidden=given.detach(), calls=tuple(replayable(args, kwargs) for args, kwargs in calls), places=places)


def _trees(
    lm: LoadedLM, texts: Sequence[tuple[int, ...]], max_node: int
) -> Iterator[tuple[dict[str, Tensor], tuple[Tensor, Tensor]]]:
    """Yield one tree at a time: the model's inputs, and the position of each text's last token."""
    tree_of = share_out(texts, max_node)
    for number in range(max(tree_of, default=-1) + 1):
        rows = [text for text, tree in zip(texts, tree_of, strict=True) if tree == number]
        layout = lay_out(rows, [0] * len(rows))
        inputs = {
            "input_ids": layout.ids.to(lm.device),
            "attention_mask": lowest_where_unseen(layout.sees, dtype=lm.dtype, device=lm.device),
            "position_ids": layout.positions.to(lm.device),
        }
        last = torch.tensor([path[-1] for path in layout.paths], dtype=torch.long, device=lm.device)
        yield inputs, (torch.zeros_like(last), last)


def _padded(
    lm: LoadedLM, texts: Sequence[tuple[int, ...]]
) -> Iterator[tuple[dict[str, Tensor], tuple[Tensor, Tensor]]]:
    """Yield a few texts at a time, padded on the left."""
    for begin in range(0, len(texts), _BATCH):
        ids, mask = left_padded(texts[begin : begin + _BATCH], device=lm.device)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": token_positions(mask)}
        rows = torch.arange(len(ids), dtype=torch.long, device=lm.device)
        yield inputs, (rows, torch.full_like(rows, ids.shape[1] - 1))
