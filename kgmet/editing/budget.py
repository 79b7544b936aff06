"""How much memory a model takes with an editor, before anything of it is loaded; what fits where that is too much.

With n layers written, d the width of keys and b the bytes of a value of the model's dtype:

===============  ==========================================  ==========================================================
stage            on the model's device                       on the CPU (beside it, or added where it is the device)
===============  ==========================================  ==========================================================
weights          all parameters, tied ones once              the same while they are read, if the device is another
key statistics   ``4 n d²``: float32 sums; one batch's keys  ``24 d²``: the float64 sum and what is saved
eigenvectors     ``24 d²``: the matrix, which the vectors     ``8 d²``: the float64 moment; finished layers (as
                 replace, and work space                     ``kept``), which wait there for the others
kept             ``2 n d²`` null space (``4 n d²`` damped);  nothing; least squares keep the float64 moments, ``8 n d²``
                 ``8 d²`` for least squares, one layer at a
                 time (``8 n d²`` where they keep earlier
                 edits); on a CPU null spaces are float64
search           `kgmet.search.room`                         nothing
write            ``8 (2 m d + 3 m²)`` for m keys             ``4 n m d``: the keys that later edits keep
price            nothing                                     the index of known facts, at most 500 MB
===============  ==========================================  ==========================================================

Where the device has no room, statistics are summed for fewer layers at once, eigenvectors are worked out and kept on
the CPU, and a search is split; none of that is a refusal. The estimate of a search assumes prompts of ordinary length.
Peaks are checked by `tests/editing/test_budget.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from kgmet.base.errors import MemoryLimitError
from kgmet.base.memory import free_memory, gigabytes
from kgmet.editing.config import EditConfig
from kgmet.editing.editors import Editor, WriterKind
from kgmet.forecast.index import MOST_BYTES
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.load.shape import FORMATS, ModelShape, WeightFormat, format_of
from kgmet.search.room import SearchSize, search_bytes
from kgmet.write.moments import moment_bytes
from kgmet.write.spectrum import WORK

__all__ = ["MemoryEstimate", "Use", "Work", "check_memory", "estimate_memory", "free_room", "most_at_once", "ways_out"]

PAST, NODES, SCORED = 8, 9, 2
"""Tokens of an ordinary prompt before the lookup token and from it on, and tokens of an answer."""
BATCH_TOKENS = 16 * 96
"""Tokens of one batch of the key statistics."""
_TRIED = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Numbers of edits at once that are offered."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """Bytes on the model's device and on the CPU; where the device is the CPU, all of them are `cpu`."""

    device: int = 0
    cpu: int = 0

    def __add__(self, other: Use) -> Use:
        """Return both together."""
        return Use(device=self.device + other.device, cpu=self.cpu + other.cpu)

    def fits(self, room: Use) -> bool:
        """Return whether so many bytes are free."""
        return self.device <= room.device and self.cpu <= room.cpu


@dataclass(frozen=True, kw_only=True)
class Work:
    """An editor with its settings on a model whose weights are stored in a format.

    `is_on_cpu` is whether the model's device is the CPU; `n_edit` is how many edits are made at once. Of a model that
    `is_loaded` the weights are not counted. With `is_least`, everything that can be is done in parts or on the CPU.
    """

    shape: ModelShape
    weights: WeightFormat
    editor: Editor
    config: EditConfig
    is_on_cpu: bool
    n_edit: int = 1
    is_loaded: bool = False
    is_least: bool = False


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes in use while each stage runs, by stage, with all that is resident then. One stage runs at a time."""

    stages: Mapping[str, Use]

    @property
    def peak(self) -> Use:
        """The largest use, on each side."""
        return Use(
            device=max(use.device for use in self.stages.values()), cpu=max(use.cpu for use in self.stages.values())
        )

    @property
    def fullest(self) -> str:
        """The stage that takes most."""
        return max(self.stages, key=lambda name: self.stages[name].device + self.stages[name].cpu)


def estimate_memory(work: Work) -> MemoryEstimate:
    """Estimate the memory of some work from the sizes of the model."""
    weights = 0 if work.is_loaded else work.shape.weight_bytes(work.weights)
    resident, kept = _placed(work, device=weights), _kept(work)
    stages = {} if work.is_loaded else {"load": resident + Use(cpu=0 if work.is_on_cpu else weights)}
    if work.editor.writer.searches:  # the others work on gradients, without statistics
        stages["key statistics"] = resident + _statistics(work)
        stages["eigenvectors"] = resident + _eigenvectors(work)
    stages["search"] = resident + kept + _search(work)
    stages["write"] = resident + kept + _write(work)
    return MemoryEstimate(stages=stages)


def _placed(work: Work, *, device: int = 0, cpu: int = 0) -> Use:
    return Use(cpu=device + cpu) if work.is_on_cpu else Use(device=device, cpu=cpu)


def _statistics(work: Work) -> Use:
    shape, itemsize = work.shape, work.weights.dtype.itemsize
    n_layer = len(work.config.write.layers)
    keys = BATCH_TOKENS * ((n_layer + 3) * itemsize + 4) * shape.d_key + 8 * BATCH_TOKENS * itemsize * shape.d_model
    sums, beside = moment_bytes(shape.d_key, 1 if work.is_least else n_layer)
    return _placed(work, device=sums + keys, cpu=beside)


def _eigenvectors(work: Work) -> Use:
    """Return what one layer's decomposition takes, and the results that are there already."""
    square, kept = work.shape.d_key**2, _kept(work)
    if work.editor.writer is not WriterKind.NULL_SPACE:  # a Cholesky factor, and the copy it is made of
        return kept + _placed(work, device=8 * square)
    if work.is_on_cpu or work.is_least:
        return kept + Use(cpu=(8 + WORK) * square)
    return Use(device=WORK * square, cpu=8 * square + kept.device)


def _kept(work: Work) -> Use:
    """Return what is kept of the statistics from edit to edit."""
    n_layer, square, write = len(work.config.write.layers), work.shape.d_key**2, work.config.write
    if not work.editor.writer.searches:
        return Use()
    if work.editor.writer is not WriterKind.NULL_SPACE:
        extends = work.editor.writer is not WriterKind.NEURONS and (work.editor.keeps_earlier or write.compensates)
        is_one = not (work.is_on_cpu or extends)  # a system of earlier keys, which is extended, holds its factor
        return _placed(work, device=8 * square * (1 if is_one else n_layer), cpu=8 * n_layer * square)
    single = (4 if write.ordinary_weight else 2) * n_layer * square
    if work.is_on_cpu:
        return Use(cpu=2 * single)
    return Use(cpu=single) if work.is_least else Use(device=single)


def _search(work: Work) -> Use:
    n_row = _n_answered(work.config) + work.config.hold.kept + 1
    size = SearchSize(n_past=PAST * n_row, n_node=NODES * n_row, n_scored=SCORED * n_row)
    n_byte = search_bytes(
        work.shape,
        [size] * (1 if work.is_least else work.n_edit),
        layer=work.config.write.layers[-1],
        itemsize=work.weights.dtype.itemsize,
        plain_head=work.weights.name == "float32",
    )
    return _placed(work, device=n_byte)


def _write(work: Work) -> Use:
    shape, write = work.shape, work.config.write
    if not work.editor.writer.searches:  # the weights' changes, their gradients and two moments of Adam
        return _placed(work, device=16 * len(write.layers) * shape.d_key * shape.d_model)
    each = _n_answered(work.config) if write.keys_per_edit == "each" else 1
    n_key = work.n_edit * (each + work.config.hold.neighbours)
    system = 8 * (2 * n_key * shape.d_key + 3 * min(n_key, shape.d_key) ** 2)
    index = MOST_BYTES if work.config.prices_facts else 0
    return _placed(work, device=system, cpu=4 * len(write.layers) * n_key * shape.d_key + index)


def _n_answered(config: EditConfig) -> int:
    """Return the most prompts of an edit that have an answer."""
    hold = config.hold
    return hold.contexts + hold.paraphrases + hold.consequences * hold.wordings


def most_at_once(work: Work, room: Use) -> int:
    """Return how many edits at once fit into `room`, of 1, 2, 4 … 256; 0 if not even one does."""
    found = 0
    for n_edit in _TRIED:
        if not estimate_memory(replace(work, n_edit=n_edit)).peak.fits(room):
            break
        found = n_edit
    return found


def ways_out(work: Work, room: Use) -> list[str]:
    """Return what fits into free memory: formats of the weights, each with how many edits at once.

    `room` holds the bytes that are free before the model is loaded. Where no format fits, other ways are named.
    """
    work, ways = replace(work, is_loaded=False, is_least=True), []
    for row in FORMATS.values():
        is_of_use = row.bits <= work.weights.bits and row.name != "float16" and not (work.is_on_cpu and row.bits == 4)
        n_edit = most_at_once(replace(work, weights=row), room) if is_of_use else 0
        if n_edit:
            many = "1 edit" if n_edit == 1 else f"up to {n_edit} edits"
            ways.append(f"{many} at once in {row.name} ({gigabytes(work.shape.weight_bytes(row))} of weights)")
    if ways:
        return ways
    total = Use(cpu=room.device + room.cpu)
    if not work.is_on_cpu and estimate_memory(replace(work, is_on_cpu=True, n_edit=1)).peak.fits(total):
        return ["1 edit at once of the model spread over devices with device_map='auto' (--device-map auto), slowly"]
    fewer = "fewer layers (write.layers), or " if len(work.config.write.layers) > 1 else ""
    return [f"{fewer}a smaller model"]


def free_room(device: torch.device) -> Use | None:
    """Return the free bytes of a device and of the CPU; ``None`` where they cannot be determined."""
    free, cpu = free_memory(device), free_memory(torch.device("cpu"))
    if free is None or cpu is None:
        return None
    return Use(cpu=cpu) if device.type == "cpu" else Use(device=free, cpu=cpu)


def check_memory(lm: LoadedLM, editor: Editor, config: EditConfig, *, n_edit: int) -> None:
    """Refuse edits of a loaded model that do not fit into free memory, before any of their work begins.

    Raises:
        MemoryLimitError: if so; gives needed and free memory, and what fits.
    """
    room = free_room(lm.device)
    if room is None or lm.dtype not in {row.dtype for row in FORMATS.values()}:
        return
    work = Work(
        shape=lm.shape,
        weights=format_of(lm.dtype),
        editor=editor,
        config=config,
        is_on_cpu=lm.device.type == "cpu",
        n_edit=n_edit,
        is_loaded=True,
        is_least=True,
    )
    estimate = estimate_memory(work)
    if estimate.peak.fits(room):
        return
    place, need, free = ("cpu", estimate.peak.cpu, room.cpu)
    if estimate.peak.cpu <= room.cpu:
        place, need, free = (str(lm.device), estimate.peak.device, room.device)
    empty = room + _placed(work, device=sum(p.numel() * p.element_size() for p in lm.model.parameters()))
    edits = "one edit" if n_edit == 1 else f"{n_edit} edits at once"
    raise MemoryLimitError(
        f"{editor.name} would take about {gigabytes(need)} on {place} beside the weights of {lm.name} for {edits} "
        f"(stage {estimate.fullest!r}), and {gigabytes(free)} are free. What fits: {'; '.join(ways_out(work, empty))}."
    )
