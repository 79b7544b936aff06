"""`swept`: patch every state of one run into another, one at a time, and read the resulting probabilities.

A state after layer l at token t changes nothing below l and nothing before t. So each token is swept separately: the
tokens before it are a key/value cache, and the layers are run once, with one more row in the batch from each layer on.
This takes about a quarter of the work of full runs and works for every family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.suffixes import cache_argument, frozen_past, replayable
from kgmet.lm.run.tracing import hidden_of, hooked, recorded, recorded_calls, with_hidden

__all__ = ["Part", "Run", "embedded", "part_module", "replaced", "run_from", "swept"]


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
    last token.
    """

    embeddings: Tensor
    entered: Tensor
    parts: Mapping[Part, tuple[Tensor, ...]]
    logits: Tensor

    def rows(self, rows: slice) -> Run:
        """Select some of the texts."""
        return Run(
            embeddings=self.embeddings[rows],
            entered=self.entered[rows],
            parts={part: tuple(state[rows] for state in states) for part, states in self.parts.items()},
            logits=self.logits[rows],
        )


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
        lm.base(inputs_embeds=embeddings, use_cache=False)
        args, kwargs = calls[0]
        states = [state.detach() for state in seen if state is not None]
        n = lm.n_layer
        return Run(
            embeddings=embeddings,
            entered=(args[0] if args else kwargs["hidden_states"]).detach(),
            parts={part: tuple(states[number * n : (number + 1) * n]) for number, part in enumerate(Part)},
            logits=lm.vocabulary_logits(states[n - 1][:, -1]),
        )


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
        window: number of layers patched around each layer; hidden states always use one.
        progress: receives every position; can cancel.
        stage: stage name of the progress.

    Returns:
        (n_layer, n_position, n_row, n_token), float32, on the CPU.

    Raises:
        Cancelled: if asked to stop.
    """
    progress = progress or Silent()
    window = 1 if part is Part.STATE else window
    known = _keys_and_values(lm, base)
    found = []
    for number, position in enumerate(positions):
        progress.report(ProgressEvent(stage=stage, done=number, total=len(positions)))
        progress.check()
        with torch.no_grad():
            calls = _calls_after(lm, base, position, known)
            found.append(_swept_at(lm, base, donor, part, position, tokens, window, calls))
    progress.report(ProgressEvent(stage=stage, done=len(positions), total=len(positions)))
    return torch.stack(found, dim=1)


def _swept_at(
    lm: LoadedLM,
    base: Run,
    donor: Run,
    part: Part,
    position: int,
    tokens: Sequence[int],
    window: int,
    calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]],
) -> Tensor:
    """Sweep all layers at one position; returns (n_layer, n_row, n_token)."""
    windows = [_window(layer, window, lm.n_layer) for layer in range(lm.n_layer)]
    n_row = len(base.embeddings)
    hidden: Tensor | None = None
    for layer, (module, (args, kwargs)) in enumerate(zip(lm.layers, calls, strict=True)):
        given = donor.parts[part][layer][:1, position]
        if part is Part.STATE:
            if hidden is not None:
                hidden = hidden_of(module(hidden, *args, **kwargs))
            restored = base.parts[part][layer][:, position:].clone()
            restored[:, 0] = given
            hidden = _below(hidden, restored, 1)
        else:
            below = base.entered if layer == 0 else base.parts[Part.STATE][layer - 1]
            hidden = _below(hidden, below[:, position:], sum(span.start == layer for span in windows))
            inside = [number for number, span in enumerate(windows) if layer in span]
            rows = slice(inside[0] * n_row, (inside[-1] + 1) * n_row)
            with hooked(part_module(lm, part, layer), _put_in(rows, given)):
                hidden = hidden_of(module(hidden, *args, **kwargs))
    assert hidden is not None
    logits = lm.vocabulary_logits(hidden[:, -1])
    chosen = logits[:, list(tokens)] - logits.logsumexp(-1, keepdim=True)
    return chosen.exp().reshape(lm.n_layer, n_row, len(tokens)).cpu()


def _window(layer: int, width: int, n_layer: int) -> range:
    """Return the window of layers centred on this one, cut at the model's ends."""
    first = layer - (width - 1) // 2
    return range(max(0, first), min(n_layer, first + width))


def _below(hidden: Tensor | None, more: Tensor, times: int) -> Tensor:
    """Append rows to a batch, repeated as often as given."""
    added = [more] * times
    return torch.cat(added if hidden is None else [hidden, *(rows.to(hidden.device) for rows in added)])


def _put_in(rows: slice, given: Tensor) -> Any:
    def change(_inputs: tuple[Any, ...], output: Any) -> Any:
        changed = hidden_of(output).clone()
        changed[rows, 0] = given.to(changed)
        return with_hidden(output, changed)

    return change


def _keys_and_values(lm: LoadedLM, base: Run) -> list[tuple[Tensor, Tensor]] | None:
    """Return all layers' keys and values, (n_row, n_head, pos, d_head); ``None`` if a sliding window dropped some."""
    with torch.no_grad():
        cache = lm.base(inputs_embeds=base.embeddings, use_cache=True).past_key_values
    n_token = base.embeddings.shape[1]
    if any(layer.keys.shape[-2] != n_token for layer in cache.layers):
        return None
    return [(layer.keys, layer.values) for layer in cache.layers]


def _calls_after(
    lm: LoadedLM, base: Run, position: int, known: list[tuple[Tensor, Tensor]] | None
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return each layer's call arguments for the tokens from `position` on, for replay with other states."""
    cache: DynamicCache | None = None
    if position and known is None:
        cache = lm.base(inputs_embeds=base.embeddings[:, :position], use_cache=True).past_key_values
    elif position and known is not None:
        cache = DynamicCache()
        for number, (keys, values) in enumerate(known):
            cache.update(keys[:, :, :position], values[:, :, :position], number)
    past = frozen_past(cache)
    if cache is not None:
        cache.batch_select_indices(torch.tensor([0], dtype=torch.int64, device=lm.device))
    with recorded_calls(list(lm.layers)) as calls:
        lm.base(inputs_embeds=base.embeddings[:1, position:], **cache_argument(lm, cache), use_cache=cache is not None)
    return [replayable(args, kwargs, past) for args, kwargs in calls]
