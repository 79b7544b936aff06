"""All forward hooks of the project: record, shift or add to activations for the length of a ``with``.

Every hook belongs to the thread that opened the ``with``. Another thread that runs the same model is not affected, so
one user's edit cannot leak into another user's answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kgmet.lm.load.loaded import LoadedLM

__all__ = [
    "Rows",
    "StopForward",
    "added",
    "entering",
    "hooked",
    "leaves",
    "recorded",
    "recorded_calls",
    "shifted",
    "stopped_after",
]


class StopForward(Exception):
    """Raised inside a forward pass to end it early; caught by `stopped_after`."""


@dataclass(eq=False)
class Rows:
    """The rows of a batch that a change applies to; `now` may be set again while the change is attached."""

    now: slice


@contextmanager
def hooked(module: nn.Module, change: Callable[[tuple[Any, ...], Any], Any]) -> Iterator[None]:
    """Call ``change(inputs, output)`` after each forward of `module` in this thread; its result replaces the output."""
    owner = threading.get_ident()

    def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        return change(inputs, output) if threading.get_ident() == owner else None

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def entering(
    module: nn.Module, change: Callable[[tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]
) -> Iterator[None]:
    """Call ``change(positional, by name)`` before each forward of `module` in this thread; it is called with these."""
    owner = threading.get_ident()

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return change(args, kwargs) if threading.get_ident() == owner else None

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def recorded(modules: Sequence[nn.Module], *, inputs: bool = False) -> Iterator[list[Tensor | None]]:
    """Record the output (or, with `inputs`, the input) of each module, in the order of `modules`.

    The tensors are those of the last forward pass, not detached: gradients flow through them.
    """
    seen: list[Tensor | None] = [None] * len(modules)

    def recorder(index: int) -> Callable[[tuple[Any, ...], Any], None]:
        def record(given: tuple[Any, ...], output: Any) -> None:
            seen[index] = given[0] if inputs else hidden_of(output)

        return record

    with _all(hooked(module, recorder(index)) for index, module in enumerate(modules)):
        yield seen


@contextmanager
def leaves(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Add differentiable zeros to the output of each module, in the order of `modules`; they are set when it runs.

    The gradient of a zero is that of the output. Nothing below the first module is recorded for the backward pass.
    """
    zeros = [torch.empty(0, dtype=torch.float32, device="cpu")] * len(modules)

    def adder(index: int) -> Callable[[tuple[Any, ...], Any], Any]:
        def add(_inputs: tuple[Any, ...], output: Any) -> Any:
            zeros[index] = torch.zeros_like(output, requires_grad=True)
            return output + zeros[index]

        return add

    with _all(hooked(module, adder(index)) for index, module in enumerate(modules)):
        yield zeros


@contextmanager
def recorded_calls(modules: Sequence[nn.Module]) -> Iterator[list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Record the arguments each module is called with: (positional, by name), in the order of the calls."""
    owner = threading.get_ident()
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() == owner:
            calls.append((args, dict(kwargs)))

    handles = [module.register_forward_pre_hook(hook, with_kwargs=True) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def shifted(lm: LoadedLM, *, layer: int, positions: Tensor, by: Tensor) -> Iterator[None]:
    """Add a vector to the residual stream after `layer`, at one position of each row.

    Args:
        lm: the model.
        layer: index of the decoder layer whose output is shifted.
        positions: (n_row,) token positions.
        by: (d_model,) for all rows, or (n_row, d_model).
    """

    def change(_inputs: tuple[Any, ...], output: Any) -> Any:
        hidden = hidden_of(output)
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        moved = hidden.clone()
        moved[rows, positions.to(hidden.device)] += by.to(hidden)
        return with_hidden(output, moved)

    with hooked(lm.layers[layer], change):
        yield


@contextmanager
def added(
    module: nn.Module, *, input_factor: Tensor, output_factor: Tensor | None, rows: Rows | None = None
) -> Iterator[None]:
    """Add ``(x · input_factorᵀ) · output_factor`` to the output of `module` for x.

    The factors are used in their own dtype on the output's device, because the weight of a quantised or offloaded model
    gives neither device nor dtype.

    Args:
        module: a projection (d_key → d_model).
        input_factor: (n_key, d_key).
        output_factor: (n_key, d_model); ``None`` stands for the identity.
        rows: the rows of a batch it is added to; by default all.
    """
    placed: dict[torch.device, tuple[Tensor, Tensor | None]] = {}

    def change(inputs: tuple[Any, ...], output: Any) -> Any:
        if output.device not in placed:
            factor = None if output_factor is None else output_factor.to(output.device)
            placed[output.device] = input_factor.to(output.device), factor
        factor_in, factor_out = placed[output.device]
        given = inputs[0] if rows is None else inputs[0][rows.now]
        extra = given.to(factor_in) @ factor_in.T
        extra = (extra if factor_out is None else extra @ factor_out).to(output.dtype)
        if rows is None:
            return output + extra
        changed = output.clone()
        changed[rows.now] += extra
        return changed

    with hooked(module, change):
        yield


@contextmanager
def stopped_after(lm: LoadedLM, layer: int) -> Iterator[None]:
    """End the forward pass after decoder layer `layer`; the model call then has no result."""

    def stop(_inputs: tuple[Any, ...], _output: Any) -> None:
        raise StopForward

    try:
        with hooked(lm.layers[layer], stop):
            yield
    except StopForward:
        pass


def hidden_of(output: Any) -> Tensor:
    """Return the hidden state in a layer's output: the output itself, or the first of a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def with_hidden(output: Any, hidden: Tensor) -> Any:
    """Return the same output with another hidden state."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


@contextmanager
def _all(contexts: Iterator[Any]) -> Iterator[None]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield
