"""Actions of the Models page: a model's size before loading, loading it, measuring its statistics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kgmet.base.errors import ConfigError
from kgmet.base.files import expanded, is_file, is_folder
from kgmet.base.progress import Progress, ProgressEvent, Stage
from kgmet.editing.budget import Work, estimate_memory, free_room, ways_out
from kgmet.editing.defaults import settings_for
from kgmet.lm.load.bundled import ensure_bundled, is_bundled, is_ready
from kgmet.lm.load.description import read_config
from kgmet.lm.load.shape import ModelShape, format_of
from workbench.running import jobs
from workbench.running.access import access
from workbench.running.resources import ModelHolder, Resident, check_fits
from workbench.state.session import WorkbenchState

__all__ = ["DTYPES", "MemoryNeeded", "devices", "load_model", "measure_statistics", "memory_needed"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Dtypes by display name."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def devices() -> list[str]:
    """Return the devices of this machine, best first."""
    found = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


@dataclass(frozen=True, kw_only=True)
class MemoryNeeded:
    """Bytes that a model takes on its device: the weights, the peak of an edit, and the least that an edit needs.

    `ways` says what fits into the memory that is free.
    """

    n_parameter: int
    weights: int
    peak: int
    least: int
    ways: tuple[str, ...]


def memory_needed(state: WorkbenchState, source: str, *, device: str, dtype: str) -> MemoryNeeded | None:
    """Estimate a model's memory from a local description, without reading weights; ``None`` without one.

    Raises:
        UnsupportedModelError: if the family is not in the table.
        BrokenModelError: if the description is invalid.
    """
    if is_bundled(source):
        name = source.removeprefix("bundled:")
        if not is_ready(name):
            return None
        folder = str(ensure_bundled(name))
    else:
        folder = str(expanded(source))
        if not is_file(Path(folder) / "config.json"):
            return None
    try:
        config = read_config(folder)[0]
    except OSError:
        return None
    shape, editor, place = ModelShape.of_config(config), state.editor, torch.device(device)
    settings = settings_for(editor, config.model_type, n_layer=shape.n_layer, d_model=shape.d_model).config
    is_on_cpu, weights = place.type == "cpu", format_of(DTYPES[dtype])
    work = Work(shape=shape, weights=weights, editor=editor, config=settings, is_on_cpu=is_on_cpu)
    peak, least = (estimate_memory(one).peak for one in (work, replace(work, is_least=True)))
    room = free_room(place)
    return MemoryNeeded(
        n_parameter=shape.n_parameter,
        weights=shape.weight_bytes(weights),
        peak=peak.cpu if is_on_cpu else peak.device,
        least=least.cpu if is_on_cpu else least.device,
        ways=() if room is None else tuple(ways_out(work, room)),
    )


def complaint_about(source: str) -> str | None:
    """Return an obvious error in a typed source, or ``None``."""
    if not source.strip():
        return "Type a Hugging Face id such as Qwen/Qwen2.5-0.5B, or the path of a folder."
    is_path = source.startswith((".", "/", "~")) or is_folder(expanded(source))
    if is_bundled(source) or is_path or _HUB_ID.fullmatch(source):
        return None
    return f"{source!r} is neither a folder on this machine nor a Hugging Face id of the form owner/name."


def load_model(state: WorkbenchState, holder: ModelHolder, source: str, *, device: str, dtype: str) -> str | None:
    """Start the job ``model``: check memory, load the model and make it resident; a failure keeps the old one."""
    complaint = complaint_about(source)
    if complaint is not None:
        return complaint
    try:
        access().check_model(source)
    except ConfigError as error:
        return str(error)
    wanted = DTYPES[dtype]

    def work(progress: Progress) -> str:
        need = memory_needed(state, source, device=device, dtype=dtype)
        if need is not None:
            check_fits(need.weights, device=device)
        progress.check()
        return holder.load(source, device=device, dtype=wanted, progress=progress).lm.name

    return jobs.start("model", work, state.session_id, title=f"Load {source}")


def load_again(state: WorkbenchState, holder: ModelHolder, source: str, dtype: str) -> str | None:
    """Start the job ``model`` for a model that was loaded here before, on this machine's best device."""
    if dtype not in DTYPES:
        return f"{dtype!r} is no number format that can be loaded here."
    return load_model(state, holder, source, device=devices()[0], dtype=dtype)


def measure_statistics(state: WorkbenchState, resident: Resident, layers: Sequence[int]) -> str | None:
    """Start the job ``statistics``: key moments of these layers, cached on disk."""

    def work(progress: Progress) -> None:
        progress.report(ProgressEvent(stage=Stage.KEY_STATISTICS, done=0))
        resident.statistics.moments(layers, progress=progress)

    return jobs.start("statistics", work, state.session_id, title="Measure key statistics")
