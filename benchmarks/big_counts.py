"""Complexity by counting: forward and backward passes, bytes moved and waits of each stage on a device.

The device is `tests.far`, an accelerator that is not there: every wait for it and every byte moved is counted, on any
machine. What is counted does not depend on the model's size except for bytes, which are given beside the size that
explains them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from kgmet.editing.context import EditContext
from kgmet.editing.editors import Editor
from kgmet.editing.plan import plan_edits, search_edits, write_edits
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.corpus import Corpus
from kgmet.write.moments import make_key_moments
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics
from tests.far import FarMode, placed_far

__all__ = ["Counts", "counted_stages"]


@dataclass
class Counts:
    """What one stage did: passes through the whole model's layers, backward passes, waits, bytes moved."""

    forward: float = 0.0
    backward: int = 0
    waits: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    detail: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def counting(lm: LoadedLM, mode: FarMode) -> Iterator[Counts]:
    """Count what happens inside the ``with``; a forward pass through half of the layers counts as a half."""
    found = Counts()
    start = mode.waits, mode.bytes_up, mode.bytes_down
    plain, inside = torch.Tensor.backward, [False]

    def passed(*_: Any) -> None:
        found.forward += 1 / lm.n_layer

    def backward(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        if inside[0]:  # torch calls it again for a tensor of another class
            plain(tensor, *args, **kwargs)
            return
        found.backward, inside[0] = found.backward + 1, True
        try:
            plain(tensor, *args, **kwargs)
        finally:
            inside[0] = False

    hooks = [layer.register_forward_hook(passed) for layer in lm.layers]
    torch.Tensor.backward = backward  # type: ignore[method-assign]
    try:
        yield found
    finally:
        torch.Tensor.backward = plain  # type: ignore[method-assign]
        for hook in hooks:
            hook.remove()
        now = mode.waits, mode.bytes_up, mode.bytes_down
        found.waits, found.bytes_up, found.bytes_down = (one - was for one, was in zip(now, start, strict=True))


def counted_stages(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    *,
    editor: Editor,
    corpus: Corpus,
    layers: Sequence[int],
    many: int,
    sequence: int,
) -> dict[str, Counts]:
    """Run the stages of edits on the far device, and return what each did.

    Args:
        lm: the model; it is on the far device for the length of the call.
        contexts: at least `many` edits, and more than `sequence`.
        editor: the method, on layers of this model, with a fixed number of steps.
        corpus: the text of the key statistics.
        layers: layers of the key statistics.
        many: edits made at once.
        sequence: edits made one after the other; one more is counted after the first and after all but one of them.
    """
    mode, found = FarMode(), {}
    with placed_far(lm, mode):
        with counting(lm, mode) as found["key statistics, 1 layer"]:
            make_key_moments(lm, layers[:1], corpus=corpus)
        with counting(lm, mode) as found[f"key statistics, {len(layers) - 1} layers"]:
            make_key_moments(lm, layers[1:], corpus=corpus)
        statistics = KeyStatistics(lm, corpus)
        make_key_moments(lm, editor.config.write.layers, corpus=corpus)
        with counting(lm, mode) as found[f"free directions, {len(editor.config.write.layers)} layers"]:
            statistics.free(editor.config.write.layers, editor.config.cutoff)
        for n in (1, many):
            name = "1 edit" if n == 1 else f"{n} edits at once"
            with counting(lm, mode) as found[f"search, {name}"]:
                searched = search_edits(lm, contexts[:n], editor=editor)
            found[f"search, {name}"].detail = {"steps": max(shift.steps for shift in searched.shifts)}
            with counting(lm, mode) as found[f"write, {name}"]:
                write_edits(lm, searched, editor=editor, statistics=statistics)
        so_far, last = EditsSoFar(), contexts[sequence]
        for number in range(sequence):
            if number in (1, sequence - 1):
                with counting(lm, mode) as found[f"an edit after {number} earlier edit{'s' * (number > 1)}"]:
                    plan_edits(lm, [last], editor=editor, statistics=statistics, earlier=so_far)
            plan = plan_edits(lm, [contexts[number]], editor=editor, statistics=statistics, earlier=so_far)
            so_far = so_far.then_merged(plan.patch, lm)
    return found
