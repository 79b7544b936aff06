"""How many bytes a search takes, and how many edits of a batch fit.

While a step is taken, memory holds, with b the bytes of a value and d_k the width of keys:

- the key/value cache of all tokens, ``2 b d_kv`` a token and layer;
- what the backward pass needs of each layer above the shifted one: the MLP's three inner states, queries, attention's
  output and the inputs of the norms in float32 a node, and the repeated keys and values of every token seen;
- one layer's scores and inner states while it runs;
- the logits of scored positions: in float32 once where the vocabulary projection is a plain matrix, else with their
  log-softmax and gradients.

A batch is padded to its longest text, and texts that begin alike share nodes; the bound counts neither sharing nor
what a framework frees early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kgmet.base.errors import MemoryLimitError
from kgmet.base.memory import free_memory, gigabytes
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.load.shape import ModelShape
from kgmet.lm.run.placement import layer_device
from kgmet.lm.run.spans import locate_all
from kgmet.search.problem import ShiftProblem

__all__ = ["SearchSize", "parts_that_fit", "search_bytes", "size_of"]


@dataclass(frozen=True, kw_only=True)
class SearchSize:
    """Tokens of one edit's prompts: before the lookup tokens, from them on, and positions whose logits are scored."""

    n_past: int
    n_node: int
    n_scored: int


def search_bytes(shape: ModelShape, sizes: Sequence[SearchSize], *, layer: int, itemsize: int, plain_head: bool) -> int:
    """Return the bytes that searching these edits in one batch takes beyond the weights.

    Args:
        shape: the model.
        sizes: one per edit.
        layer: the decoder layer whose output is shifted.
        itemsize: bytes of a value of the model's dtype.
        plain_head: whether the vocabulary projection is a plain float32 matrix.
    """
    if not sizes:
        return 0
    n_edit = len(sizes)
    nodes, past = n_edit * max(size.n_node for size in sizes), n_edit * max(size.n_past for size in sizes)
    seen = (nodes + past) // n_edit
    above, d_model = shape.n_layer - 1 - layer, shape.d_model
    norms = 4 if shape.has_norms_after else 2
    of_a_node = itemsize * (3 * shape.d_key + 2 * shape.d_attend) + 4 * norms * d_model
    of_a_token = itemsize * 2 * shape.d_attend
    saved = above * (nodes * of_a_node + (nodes + past) * of_a_token)
    cache = shape.n_layer * (nodes + past) * 2 * shape.d_kv * itemsize
    running = nodes * (itemsize * (4 * shape.d_key + 8 * d_model) + 4 * shape.n_head * seen)
    scored = sum(size.n_scored for size in sizes)
    of_a_logit = 8 if plain_head else 2 * itemsize + 20
    return saved + cache + running + scored * shape.d_vocab * of_a_logit


def _edits_that_fit(
    shape: ModelShape, sizes: Sequence[SearchSize], *, free: int, layer: int, itemsize: int, plain_head: bool
) -> int:
    """Return how many of these edits, from the first, fit into `free` bytes in one batch; 0 if not even one does."""
    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high + 1) // 2
        need = search_bytes(shape, sizes[:middle], layer=layer, itemsize=itemsize, plain_head=plain_head)
        low, high = (middle, high) if need <= free else (low, middle - 1)
    return low


def size_of(lm: LoadedLM, problem: ShiftProblem) -> SearchSize:
    """Count the tokens of a problem's prompts."""
    spans = locate_all(lm, [prompt.phrase(problem.edit.subject) for prompt in problem.prompts])
    starts = [span.lookup.position for span in spans]
    return SearchSize(
        n_past=sum(starts),
        n_node=sum(len(span.input_ids) - start for span, start in zip(spans, starts, strict=True)),
        n_scored=sum(len(span.target or (0,)) for span in spans),
    )


def parts_that_fit(lm: LoadedLM, problems: Sequence[ShiftProblem], *, layer: int) -> list[int]:
    """Split a batch of problems into parts that fit into free memory; their lengths, in order.

    Memory of a CPU is not refused by the system when it is asked for, so a batch is split before it runs.

    Raises:
        MemoryLimitError: if not even one problem fits; names it.
    """
    if not 0 <= layer < lm.n_layer - 1:  # refused in words where it is encoded
        return [len(problems)]
    devices = {layer_device(lm, layer), layer_device(lm, lm.n_layer - 1)}
    free = min((room for device in devices if (room := free_memory(device)) is not None), default=None)
    if free is None:
        return [len(problems)]
    shape, itemsize = lm.shape, lm.dtype.itemsize
    sizes, plain_head = [size_of(lm, problem) for problem in problems], lm.linear_head is not None
    parts: list[int] = []
    while (begin := sum(parts)) < len(problems):
        rest = sizes[begin:]
        n = _edits_that_fit(shape, rest, free=free, layer=layer, itemsize=itemsize, plain_head=plain_head)
        if not n:
            need = search_bytes(shape, rest[:1], layer=layer, itemsize=itemsize, plain_head=plain_head)
            raise MemoryLimitError(
                f"The search for {problems[begin].edit.prompt!r} would take about {gigabytes(need)}, and "
                f"{gigabytes(free)} are free. Use fewer contexts and consequences (hold.contexts, hold.consequences), "
                "shorter prompts, a smaller model, or one in 8 bits."
            )
        parts.append(n)
    return parts
