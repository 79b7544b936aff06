"""Counts the forward passes of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.tracing import hooked


@contextmanager
def passes(lm: LoadedLM, layer: int = 0) -> Iterator[list[tuple[int, int]]]:
    """Collect the shape (row, token) of each pass through the first layer, or another one."""
    seen: list[tuple[int, int]] = []
    with hooked(lm.layers[layer], lambda inputs, _output: seen.append((inputs[0].shape[0], inputs[0].shape[1]))):
        yield seen
