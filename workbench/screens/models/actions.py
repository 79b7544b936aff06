"""Actions of the Models page: a model's size before loading, loading it, measuring its statistics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from kgmet.base.errors import ConfigError
from kgmet.base.progress import Progress, ProgressEvent, Stage
from kgmet.lm.load.bundled import ensure_bundled, is_bundled, is_ready
from kgmet.lm.load.description import n_parameters as count_of
from kgmet.lm.load.description import read_config
from workbench.running import jobs
from workbench.running.access import access
from workbench.running.resources import ModelHolder, Resident, check_fits
from workbench.state.session import WorkbenchState

__all__ = ["DTYPES", "devices", "load_model", "measure_statistics", "n_parameters"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Dtypes by display name."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def devices() -> list[str]:
    """Return the devices of this machine, best first."""
    found = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def n_parameters(source: str) -> int | None:
    """Count a model's parameters from a local description, without reading weights; ``None`` without one.

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
        folder = str(Path(source).expanduser())
        if not (Path(folder) / "config.json").is_file():
            return None
    try:
        return count_of(read_config(folder)[0])
    except OSError:
        return None


def complaint_about(source: str) -> str | None:
    """Return an obvious error in a typed source, or ``None``."""
    if not source.strip():
        return "Type a Hugging Face id such as Qwen/Qwen2.5-0.5B, or the path of a folder."
    is_folder = source.startswith((".", "/", "~")) or Path(source).expanduser().exists()
    if is_bundled(source) or is_folder or _HUB_ID.fullmatch(source):
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
        count = n_parameters(source)
        if count is not None:
            check_fits(count * wanted.itemsize, device=device)
        progress.check()
        return holder.load(source, device=device, dtype=wanted, progress=progress).lm.name

    return jobs.start("model", work, state.session_id, title=f"Load {source}")


def measure_statistics(state: WorkbenchState, resident: Resident, layers: Sequence[int]) -> str | None:
    """Start the job ``statistics``: key moments of these layers, cached on disk."""

    def work(progress: Progress) -> None:
        progress.report(ProgressEvent(stage=Stage.KEY_STATISTICS, done=0))
        resident.statistics.moments(layers, progress=progress)

    return jobs.start("statistics", work, state.session_id, title="Measure key statistics")
