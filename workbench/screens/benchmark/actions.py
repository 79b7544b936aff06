"""Actions of the Benchmark page: runs over data sets in a separate queue, started, stopped, resumed and read.

A run takes minutes to hours. It has its own worker, so that no edit waits for it; patches are attached per thread, so
the two do not affect each other.
"""

from __future__ import annotations

import functools
import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kgmet.base.cache import cache_dir, written_whole
from kgmet.base.errors import BrokenArtifactError, FileError, KgmetError
from kgmet.base.files import SETTINGS_FILE, read_json_object
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress
from kgmet.base.values import value_from
from kgmet.editing.config import config_from_mapping, config_to_mapping
from kgmet.editing.defaults import default_settings
from kgmet.editing.editors import editor_named
from kgmet.evaluate.datasets.cases import Dataset
from kgmet.evaluate.datasets.load import OWN_CASES, load_dataset, rows_of
from kgmet.evaluate.runs.folder import new_run
from kgmet.evaluate.runs.run import RunResources, run_evaluation
from kgmet.evaluate.runs.score import ScoreConfig
from kgmet.evaluate.runs.settings import RunMode, RunSettings
from kgmet.evaluate.tables.summary import RunSummary, summarize_run
from workbench.running import jobs
from workbench.running.jobs import Job
from workbench.running.resources import Resident, catalogue, store
from workbench.state.session import WorkbenchState
from workbench.wording import count

__all__ = [
    "RunOrder",
    "RunPart",
    "StoredRun",
    "begin",
    "bench_job",
    "delete_run",
    "drop_not_begun",
    "keep_upload",
    "order_dataset",
    "past_runs",
    "resume",
    "unfinished",
]

MOST_UPLOAD = 64 << 20
"""Largest data file, in bytes."""


@dataclass(frozen=True, kw_only=True)
class RunOrder:
    """The options of a run as plain values, saved in its folder so that it can be resumed."""

    editor: str
    ds_name: str = "own"
    ds_path: str | None = None
    ds_label: str = ""
    limit: int = 20
    num_edits: int = 1
    sequential: bool = False
    free_tokens: int = 0
    n_generation: int = 0
    seed: int = 0
    batch: str = ""
    """Common to the runs that were started together; they are taken up again together."""
    place: int = 0
    """Place among those, from 0."""
    config: dict[str, Any] | None = None
    """The editor's settings for the model it began with, as `config_to_mapping`; ``None`` for the editor's own."""

    @property
    def settings(self) -> RunSettings:
        """Return the run's settings."""
        n_batch = -(-self.limit // self.num_edits)
        own = editor_named(self.editor).config
        return RunSettings(
            editor=self.editor,
            config=own if self.config is None else config_from_mapping(self.config, base=own),
            num_edits=self.num_edits,
            mode=RunMode.SEQUENTIAL if self.sequential else RunMode.ALONE,
            score=ScoreConfig(free_tokens=self.free_tokens, n_generation=self.n_generation, seed=self.seed),
            downstream_eval_steps=max(1, n_batch // 8) if self.sequential else 0,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredRun:
    """A run on disk with its progress. `order` is ``None`` for an external run."""

    folder: Path
    changed: float
    """Time of the last change, in seconds since 1970."""
    summary: RunSummary
    order: RunOrder | None

    @property
    def n_case(self) -> int:
        """The number of cases to score."""
        return self.summary.n_wanted

    @property
    def is_complete(self) -> bool:
        """Whether every case was scored."""
        return self.summary.is_finished

    @property
    def label(self) -> str:
        """Label in selectors."""
        of = "" if self.is_complete else f" · {self.summary.n_cases} of {self.n_case}"
        data = self.order.ds_label if self.order is not None and self.order.ds_label else self.summary.dataset
        return f"{self.summary.editor}/{self.folder.name} · {data} · {count(self.n_case, 'case')}{of}"


@dataclass(frozen=True, eq=False, kw_only=True)
class RunPart:
    """One editor's part of runs that were started together. `run` is ``None`` if it has not begun."""

    folder: Path
    order: RunOrder
    run: StoredRun | None

    @property
    def is_complete(self) -> bool:
        """Whether every case was scored."""
        return self.run is not None and self.run.is_complete

    @property
    def kept(self) -> str:
        """What is on disk of it, in words."""
        if self.run is None:
            return f"{self.order.editor} not begun"
        summary = self.run.summary
        return (
            f"{self.order.editor} {count(summary.n_edits, 'edit')} made, "
            f"{summary.n_cases} of {count(self.run.n_case, 'case')} scored"
        )


def runs_folder(state: WorkbenchState) -> Path:
    """Return the folder of this session's runs; its name does not reveal the session's id."""
    return cache_dir() / "runs" / state.record.folder.name


def bench_job(state: WorkbenchState) -> Job | None:
    """Return this session's latest run, running or ended."""
    return jobs.long_runs().latest(state.session_id)


def order_dataset(order: RunOrder) -> Dataset:
    """Load the cases of an order.

    Raises:
        KgmetError: if the file is missing or breaks the schema; says which record.
    """
    path = OWN_CASES if order.ds_path is None else Path(order.ds_path)
    return load_dataset(order.ds_name, path, limit=order.limit)


def keep_upload(state: WorkbenchState, data: bytes) -> Path:
    """Save an uploaded file where a resumed run finds it.

    Raises:
        BrokenArtifactError: if it is too large or not a JSON list.
    """
    if len(data) > MOST_UPLOAD:
        raise BrokenArtifactError(f"The file has {len(data) >> 20} MB; at most {MOST_UPLOAD >> 20} are read.")
    rows_of(data, where="The file")
    path = runs_folder(state) / "data" / f"{digest(data)[:16]}.json"
    if not path.is_file():
        with written_whole(path) as temporary:
            temporary.write_bytes(data)
    return path


def begin(state: WorkbenchState, resident: Resident, orders: Sequence[RunOrder]) -> str | None:
    """Start one run per order, one after the other, as one job; return a message if that is not possible."""
    try:
        size = max((len(order_dataset(order).cases) for order in orders), default=0)
    except KgmetError as error:
        return str(error)
    # Every run has its folder before the first begins, so that none is lost when the job is stopped or killed.
    batch = secrets.token_hex(8)
    ordered = [
        replace(order, batch=batch, place=place, config=_settings_for(order, resident))
        for place, order in enumerate(orders)
    ]
    work = [(order, _new_folder(runs_folder(state), order)) for order in ordered]
    problem = _submit(state, resident, work, size)
    if problem is not None:
        for _, folder in work:
            shutil.rmtree(folder, ignore_errors=True)
    return problem


def resume(state: WorkbenchState, resident: Resident, parts: Sequence[RunPart]) -> str | None:
    """Take up again all parts that are not complete, those not begun too."""
    work = [(part.order, part.folder) for part in parts if not part.is_complete]
    size = max((part.run.n_case if part.run is not None else part.order.limit for part in parts), default=0)
    return _submit(state, resident, work, size)


def unfinished(state: WorkbenchState, runs: Sequence[StoredRun]) -> list[tuple[RunPart, ...]]:
    """Return the runs that were started together and are not complete, newest first, each with all its parts.

    Args:
        state: the session.
        runs: its `past_runs`.
    """
    begun = {run.folder: run for run in runs}
    found: dict[str, list[RunPart]] = {}
    for path in runs_folder(state).glob("*/run_*/order.json"):
        order = _order_of(path.parent)
        if order is not None:
            part = RunPart(folder=path.parent, order=order, run=begun.get(path.parent))
            found.setdefault(order.batch or str(path.parent), []).append(part)
    parts = [tuple(sorted(group, key=lambda part: part.order.place)) for group in found.values()]
    return sorted((group for group in parts if not all(part.is_complete for part in group)), key=_age)


def drop_not_begun(parts: Sequence[RunPart]) -> None:
    """Remove the folders of parts that have not begun."""
    for part in parts:
        if part.run is None:
            shutil.rmtree(part.folder, ignore_errors=True)


def past_runs(state: WorkbenchState) -> list[StoredRun]:
    """Return all runs of this session, newest first; unreadable folders are left out."""
    found = []
    for settings in runs_folder(state).glob("*/run_*/settings.json"):
        try:
            found.append(_stored(settings.parent))
        except (KgmetError, OSError, KeyError, TypeError, ValueError):
            continue
    return sorted(found, key=lambda run: -run.changed)


def delete_run(run: StoredRun) -> None:
    """Remove a run's folder."""
    shutil.rmtree(run.folder, ignore_errors=True)


def _age(parts: Sequence[RunPart]) -> float:
    return -max((part.folder / "order.json").stat().st_mtime for part in parts)


def _submit(
    state: WorkbenchState, resident: Resident, work: Sequence[tuple[RunOrder, Path]], n_case: int
) -> str | None:
    before = runs_folder(state) / "before"

    def go(progress: Progress) -> None:
        for order, folder in work:
            _run(resident, order, folder, before=before, progress=progress)

    # A session in which nothing was typed is not on disk yet; without it the runs would be lost after a restart.
    state.record.save(even_blank=True)
    names = ", ".join(dict.fromkeys(order.editor for order, _ in work))
    try:
        jobs.long_runs().submit("benchmark", go, state.session_id, title=f"{names} on {count(n_case, 'case')}")
    except KgmetError as error:
        return str(error)
    return None


def _run(resident: Resident, order: RunOrder, folder: Path, *, before: Path, progress: Progress) -> None:
    run_evaluation(
        resident.lm,
        order_dataset(order),
        order.settings,
        folder=folder,
        resources=RunResources(store=store(), catalogue=catalogue(), statistics=resident.statistics, before=before),
        progress=progress,
    )


def _settings_for(order: RunOrder, resident: Resident) -> dict[str, Any]:
    """Return the settings that the editor has for the model, as the Edit page uses them."""
    return config_to_mapping(default_settings(editor_named(order.editor), resident.lm).config)


def _new_folder(out: Path, order: RunOrder) -> Path:
    folder = new_run(out / order.editor)
    with written_whole(folder / "order.json") as temporary:
        temporary.write_text(json.dumps(asdict(order), ensure_ascii=False), encoding="utf-8")
    return folder


def _stored(folder: Path) -> StoredRun:
    files = [(item.name, item.stat()) for item in sorted(folder.iterdir())]
    return _summarized(folder, tuple((name, status.st_mtime_ns, status.st_size) for name, status in files))


# The intervals of a summary are drawn by resampling, a third of a second for each run: not at every redraw again.
@functools.lru_cache(maxsize=256)
def _summarized(folder: Path, files: tuple[tuple[str, int, int], ...]) -> StoredRun:
    """Summarize a run, cached by its files (name, time of last change in nanoseconds, size)."""
    summary = summarize_run(folder)
    changed = max(changed_ns for _, changed_ns, _ in files) / 1e9
    return StoredRun(folder=folder, changed=changed, summary=summary, order=_order_of(folder))


def _order_of(folder: Path) -> RunOrder | None:
    """Return the saved options; ``None`` for an external run or a damaged file."""
    path = folder / "order.json"
    if not path.exists():
        return None
    try:
        return value_from(RunOrder, read_json_object(path, limits=SETTINGS_FILE, within=folder), "This is no run")
    except FileError:
        return None
