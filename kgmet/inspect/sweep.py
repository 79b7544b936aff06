"""`swept`: patch every state of one run into another, one at a time, and read the resulting probabilities.

A state after layer l at token t changes nothing below l and nothing before t. So each token is swept separately: the
tokens before it are a key/value cache, and the model is run once from that token on. Its batch grows on the way: from
each patched layer on it has the rows of one more state. This takes about a quarter of the work of full runs, half of
that if every second layer is patched, and works for every family.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.suffixes import FrozenPast, cache_argument, frozen_past, replayable
from kgmet.lm.run.tracing import entering, hidden_of, hooked, recorded, recorded_calls, stopped_after, with_hidden

if TYPE_CHECKING:
    from transformers import DynamicCache

__all__ = [
    "Part",
    "Run",
    "are_close",
    "checked_layers",
    "embedded",
    "every_nth_layer",
    "joined_rows",
    "part_module",
    "replaced",
    "run_from",
    "swept",
    "with_states",
]


class Part(Enum):
    """The part of a layer that is patched."""

    STATE = "hidden state"
    """The residual stream after the layer."""
    MLP = "MLP output"
    """Output of the MLP's down-projection."""
    ATTENTION = "attention output"
    """Output of the attention's output projection."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """Recorded forward pass of texts of one length.

    `embeddings` (n_row, pos, d_model) are the inputs and `entered` the first layer's input. `parts` holds for each part
    a tensor (n_row, pos, d_model) per layer, on the layer's device. `logits` (n_row, d_vocab), float32, belong to the
    last token. `past` holds each layer's keys and values, (n_row, n_head, pos, d_head); it is ``None`` if a sliding
    window dropped some.
    """

    embeddings: Tensor
    entered: Tensor
    parts: Mapping[Part, tuple[Tensor, ...]]
    logits: Tensor
    past: tuple[tuple[Tensor, Tensor], ...] | None

    def rows(self, rows: slice) -> Run:
        """Select some of the texts."""
        return Run(
            embeddings=self.embeddings[rows],
            entered=self.entered[rows],
            parts={part: tuple(state[rows] for state in states) for part, states in self.parts.items()},
            logits=self.logits[rows],
            past=None if self.past is None else tuple((keys[rows], values[rows]) for keys, values in self.past),
        )


def every_nth_layer(n_layer: int, step: int) -> tuple[int, ...]:
    """Return every `step`-th layer, ascending, counted down from the last one."""
    return tuple(reversed(range(n_layer - 1, -1, -step)))


def checked_layers(lm: LoadedLM, layers: Sequence[int] | None) -> tuple[int, ...]:
    """Return the layers in ascending order, each once; all by default.

    Raises:
        IndexError: if there is no such layer, or none at all.
    """
    chosen = tuple(range(lm.n_layer)) if layers is None else tuple(sorted(set(layers)))
    if not chosen or chosen[0] < 0 or chosen[-1] >= lm.n_layer:
        raise IndexError(f"Choose layers from 0 to {lm.n_layer - 1}, got {list(chosen)}.")
    return chosen


def joined_rows(*maps: tuple[Sequence[int], Tensor]) -> tuple[tuple[int, ...], Tensor]:
    """Put maps (n_patched, pos) of several layers into one, ascending; of a layer that two have, the first counts."""
    rows: dict[int, Tensor] = {}
    for layers, values in maps:
        for layer, row in zip(layers, values, strict=True):
            rows.setdefault(layer, row)
    layers = tuple(sorted(rows))
    return layers, torch.stack([rows[layer] for layer in layers])


def are_close(*pairs: tuple[float, float]) -> bool:
    """Return whether the probabilities of two maps agree as those of the same texts do, up to rounding."""
    return all(math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-9) for one, other in pairs)


def part_module(lm: LoadedLM, part: Part, layer: int) -> nn.Module:
    """Return the module whose output is this part of a layer."""
    if part is Part.STATE:
        return lm.layers[layer]
    if part is Part.MLP:
        return lm.family.write_module(lm.model, layer)
    return lm.family.attend_module(lm.model, layer)


def embedded(lm: LoadedLM, ids: Sequence[int]) -> Tensor:
    """Return the token embeddings (1, pos, d_model), as the model's own embedding gives them."""
    with torch.no_grad():
        embeddings: Tensor = lm.embedding(torch.tensor([list(ids)], dtype=torch.long, device=lm.device))
    return embeddings


def run_from(lm: LoadedLM, embeddings: Tensor) -> Run:
    """Run embeddings (n_row, pos, d_model), with attached patches, and record every part of every layer."""
    modules = [part_module(lm, part, layer) for part in Part for layer in range(lm.n_layer)]
    with torch.no_grad(), recorded(modules) as seen, recorded_calls([lm.layers[0]]) as calls:
        cache = lm.base(inputs_embeds=embeddings, use_cache=True).past_key_values
        args, kwargs = calls[0]
        states = [state.detach() for state in seen if state is not None]
        n = lm.n_layer
        return Run(
            embeddings=embeddings,
            entered=(args[0] if args else kwargs["hidden_states"]).detach(),
            parts={part: tuple(states[number * n : (number + 1) * n]) for number, part in enumerate(Part)},
            logits=lm.vocabulary_logits(states[n - 1][:, -1]),
            past=_whole(cache, embeddings.shape[1]),
        )


def _whole(cache: Any, n_token: int) -> tuple[tuple[Tensor, Tensor], ...] | None:
    """Return all layers' keys and values, unless a sliding window dropped some."""
    if any(layer.keys.shape[-2] != n_token for layer in cache.layers):
        return None
    return tuple((layer.keys, layer.values) for layer in cache.layers)


@contextmanager
def replaced(lm: LoadedLM, donor: Run, cells: Sequence[tuple[int, int]], *, part: Part) -> Iterator[None]:
    """Patch full runs for the length of a ``with``, at (layer, position), from the first text of `donor`."""
    by_layer: dict[int, list[int]] = {}
    for layer, position in cells:
        by_layer.setdefault(layer, []).append(position)

    def taking(layer: int, positions: list[int]) -> Any:
        def change(_inputs: tuple[Any, ...], output: Any) -> Any:
            hidden = hidden_of(output).clone()
            hidden[:, positions] = donor.parts[part][layer][0, positions].to(hidden)
            return with_hidden(output, hidden)

        return change

    with ExitStack() as stack:
        for layer, positions in by_layer.items():
            stack.enter_context(hooked(part_module(lm, part, layer), taking(layer, positions)))
        yield


def swept(
    lm: LoadedLM,
    base: Run,
    donor: Run,
    *,
    part: Part,
    positions: Sequence[int],
    tokens: Sequence[int],
    layers: Sequence[int] | None = None,
    window: int = 1,
    progress: Progress | None = None,
    stage: Stage = Stage.CAUSAL_TRACE,
) -> Tensor:
    """Return end probabilities of `tokens` with one part of `donor` patched into `base` at each layer and position.

    The patches attached for `base` must be attached here too.

    Args:
        lm: the model.
        base: the receiving texts, all of one length.
        donor: one text of that length.
        part: the patched part.
        positions: token positions, patched one at a time.
        tokens: the tokens whose probabilities are returned.
        layers: the patched layers, ascending; by default all.
        window: number of layers patched around each layer; hidden states always use one.
        progress: receives every position; can cancel.
        stage: stage name of the progress.

    Returns:
        (n_patched, n_position, n_row, n_token), float32, on the CPU.

    Raises:
        Cancelled: if asked to stop.
    """
    progress = progress or Silent()
    window = 1 if part is Part.STATE else window
    windows = [_window(layer, window, lm.n_layer) for layer in (range(lm.n_layer) if layers is None else layers)]
    found = []
    for number, position in enumerate(positions):
        progress.report(ProgressEvent(stage=stage, done=number, total=len(positions)))
        progress.check()
        with torch.no_grad():
            logits = lm.vocabulary_logits(_swept_at(lm, base, donor, part, position, windows)[:, -1])
        chosen = logits[:, list(tokens)] - logits.logsumexp(-1, keepdim=True)
        found.append(chosen.exp().reshape(len(windows), -1, len(tokens)).cpu())
    progress.report(ProgressEvent(stage=stage, done=len(positions), total=len(positions)))
    return torch.stack(found, dim=1)


def _window(layer: int, width: int, n_layer: int) -> range:
    """Return the window of layers centred on this one, cut at the model's ends."""
    first = layer - (width - 1) // 2
    return range(max(0, first), min(n_layer, first + width))


def _swept_at(lm: LoadedLM, base: Run, donor: Run, part: Part, position: int, windows: Sequence[range]) -> Tensor:
    """Return the last layer's output from `position` on, (n_window · n_row, pos, d_model), window by window."""
    n_row = len(base.embeddings)
    cache = _cache_before(lm, base, position)
    past = frozen_past(cache)
    if cache is not None:  # masks and positions are those of one text; they hold for every row
        cache.batch_select_indices(torch.tensor([0], dtype=torch.int64, device=lm.device))
    begins = [span.start + 1 if part is Part.STATE else span.start for span in windows]
    with ExitStack() as stack:
        for layer, module in enumerate(lm.layers):
            new = [number for number, begin in enumerate(begins) if begin == layer]
            rows = None
            if new:
                rows = _rows_from(base, donor, part, layer, position).repeat(len(new), 1, 1)
            elif layer == 0:
                rows = base.entered[:, position:]  # until the first state is patched, the texts themselves are run
            is_first = layer == 0 or new[:1] == [0]
            stack.enter_context(entering(module, with_states(_with_rows(rows, is_first=is_first), past=past)))
            inside = [number for number, span in enumerate(windows) if layer in span]
            if part is not Part.STATE and inside:
                changed = slice(inside[0] * n_row, (inside[-1] + 1) * n_row)
                given = donor.parts[part][layer][:1, position]
                stack.enter_context(hooked(part_module(lm, part, layer), _put_in(changed, given)))
        seen = stack.enter_context(recorded([lm.layers[-1]]))
        with stopped_after(lm, lm.n_layer - 1):
            inputs = base.embeddings[:1, position:]
            lm.base(inputs_embeds=inputs, **cache_argument(lm, cache), use_cache=cache is not None)
    hidden = seen[0]
    assert hidden is not None
    if begins[-1] < lm.n_layer:
        return hidden
    last = _rows_from(base, donor, part, lm.n_layer, position)
    return last if len(begins) == 1 else torch.cat([hidden, last.to(hidden.device)])


def _rows_from(base: Run, donor: Run, part: Part, layer: int, position: int) -> Tensor:
    """Return the texts before a layer from `position` on, with the state below it patched if states are."""
    below = base.entered if layer == 0 else base.parts[Part.STATE][layer - 1]
    if part is not Part.STATE:
        return below[:, position:]
    patched = below[:, position:].clone()
    patched[:, 0] = donor.parts[part][layer - 1][:1, position]
    return patched


def with_states(change: Callable[[Tensor], Tensor], *, past: FrozenPast | None = None) -> Any:
    """Change a layer's arguments for `entering`: its states, (row, pos, d_model), and the keys and values before them.

    The number of rows may change.
    """

    def changed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden = args[0] if args else kwargs["hidden_states"]
        others, named = replayable(args, kwargs, past)
        return (change(hidden), *others), named

    return changed


def _with_rows(rows: Tensor | None, *, is_first: bool) -> Callable[[Tensor], Tensor]:
    """Add rows to a layer's states, or take only these, if they are the first."""

    def change(hidden: Tensor) -> Tensor:
        if rows is None:
            return hidden
        return rows.to(hidden) if is_first else torch.cat([hidden, rows.to(hidden)])

    return change


def _put_in(rows: slice, given: Tensor) -> Any:
    def change(_inputs: tuple[Any, ...], output: Any) -> Any:
        changed = hidden_of(output).clone()
        changed[rows, 0] = given.to(changed)
        return with_hidden(output, changed)

    return change


def _cache_before(lm: LoadedLM, base: Run, position: int) -> DynamicCache | None:
    """Return the keys and values of the tokens before `position`, for every row."""
    from transformers import DynamicCache

    if not position:
        return None
    if base.past is None:
        known: DynamicCache = lm.base(inputs_embeds=base.embeddings[:, :position], use_cache=True).past_key_values
        return known
    cache = DynamicCache()
    for number, (keys, values) in enumerate(base.past):
        cache.update(keys[:, :, :position], values[:, :, :position], number)
    return cache
