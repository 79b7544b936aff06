"""`run_jobs`: the runs of a sweep, one after the other in this process; `Job` is shared by all engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kgmet.base.progress import Progress, ProgressEvent, Silent
from kgmet.editing.defaults import uncalibrated_settings
from kgmet.editing.editors import editor_named
from kgmet.evaluate.datasets.cases import Dataset
from kgmet.evaluate.datasets.load import FaultyRecords, load_dataset
from kgmet.evaluate.runs.folder import is_run, new_run
from kgmet.evaluate.runs.graphs import GraphSource
from kgmet.evaluate.runs.hparams import load_hparams
from kgmet.evaluate.runs.run import RunResources, run_evaluation
from kgmet.evaluate.runs.score import ScoreConfig
from kgmet.evaluate.runs.settings import RunMode, RunSettings
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.write.corpus import Corpus
from kgmet.write.statistics import KeyStatistics

__all__ = ["Job", "JobOptions", "Resources", "continued", "run_jobs"]


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Options of a run as plain values that can be sent to another process.

    Names are those of the command-line options; `graph` lists the files of the store.
    """

    model: str = DEFAULT_MODEL
    hparams_fname: str | None = None
    ds_name: str = "own"
    ds_path: Path | None = None
    dataset_size_limit: int | None = None
    num_edits: int = 1
    alone: bool = False
    downstream_eval_steps: int = 0
    downstream_path: Path | None = None
    downstream_limit: int = 100
    score: ScoreConfig = field(default_factory=ScoreConfig)
    graph_source: GraphSource = GraphSource.AUTO
    graph_path: Path | None = None
    graph: tuple[Path, ...] = ()
    no_graph: bool = False
    references_path: Path | None = None
    keep_faulty: bool = False
    out: Path = Path("runs")
    continue_from_run: str | None = None
    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    corpus: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a sweep. `folder` is set when the job begins."""

    editor: str
    options: JobOptions
    folder: Path | None = None

    @property
    def dataset(self) -> Dataset:
        """Load the data set."""
        given = self.options
        return load_dataset(
            given.ds_name,
            given.ds_path,
            limit=given.dataset_size_limit,
            graph_path=given.graph_path,
            references_path=given.references_path,
            faulty=FaultyRecords(dropped=not given.keep_faulty, together=not (given.alone and given.num_edits == 1)),
        )

    @property
    def settings(self) -> RunSettings:
        """Return the settings of the run."""
        given = self.options
        config = editor_named(self.editor).config
        if given.hparams_fname:
            config = load_hparams(given.hparams_fname, base=config).config
        return RunSettings(
            editor=self.editor,
            config=replace(config, seed=given.score.seed),
            num_edits=given.num_edits,
            mode=RunMode.ALONE if given.alone else RunMode.SEQUENTIAL,
            graph=given.graph_source,
            score=given.score,
            downstream_eval_steps=given.downstream_eval_steps,
            downstream_folder=given.downstream_path,
            downstream_limit=given.downstream_limit,
        )

    @property
    def has_run_to_continue(self) -> bool:
        """Whether the run that its options want continued exists."""
        name = self.options.continue_from_run
        return name is not None and is_run(self.options.out / self.editor / name)

    def begun(self) -> Job:
        """Return the job with its folder ``OUT/EDITOR/run_NNN``; a new one unless a run is continued."""
        if self.folder is not None:
            return self
        directory = self.options.out / self.editor
        return replace(self, folder=new_run(directory, self.options.continue_from_run))


class Resources:
    """The model with its statistics and the graph of the last job, kept between jobs."""

    def __init__(self, *, lm: LoadedLM | None = None) -> None:
        """Start empty, or with a loaded model that is used for every job."""
        self._lm, self._given = lm, lm is not None
        self._model_key: tuple[Any, ...] = ()
        self._statistics = KeyStatistics(lm) if lm else None
        self._stores: dict[tuple[Any, ...], TripleStore | None] = {}

    def model(self, options: JobOptions, progress: Progress) -> tuple[LoadedLM, KeyStatistics]:
        """Load the model of a job; one at a time is resident."""
        key = options.model, options.device, options.dtype, options.corpus
        if self._lm is None or self._statistics is None or (key != self._model_key and not self._given):
            self._lm = self._statistics = None
            corpus = Corpus.from_file(options.corpus) if options.corpus else None
            self._lm = _load(options, progress)
            self._statistics = KeyStatistics(self._lm, corpus)
            self._model_key = key
        return self._lm, self._statistics

    def store(self, options: JobOptions) -> TripleStore | None:
        """Load the store of a job: its files, the sample graph, or ``None``."""
        key = options.graph, options.no_graph
        if key not in self._stores:
            self._stores = {key: _open_store(options)}
        return self._stores[key]

    def do(self, job: Job, progress: Progress | None = None) -> Path:
        """Run or continue a job that has a folder, and return the folder."""
        # Settings and data come first, so that errors appear before a folder is made or a model loaded.
        settings, dataset = job.settings, job.dataset
        job = job.begun()
        assert job.folder is not None
        progress = _Named(progress or Silent(), f"{job.editor}/{job.folder.name}")
        lm, statistics = self.model(job.options, progress)
        run_evaluation(
            lm,
            dataset,
            settings if job.options.hparams_fname else _on_layers_of(lm, settings),
            folder=job.folder,
            resources=RunResources(
                store=self.store(job.options),
                catalogue=RelationCatalogue.load(),
                statistics=statistics,
                before=job.options.out / "before",
            ),
            progress=progress,
        )
        return job.folder


def continued(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs of a sweep that goes on: those that had not begun the run to continue begin a new one.

    If none of them had begun it, they are returned as they are.
    """
    begun = [job.has_run_to_continue for job in jobs]
    if not any(begun):
        return list(jobs)
    return [
        job if is_begun else replace(job, options=replace(job.options, continue_from_run=None))
        for job, is_begun in zip(jobs, begun, strict=True)
    ]


def run_jobs(jobs: Sequence[Job], *, lm: LoadedLM | None = None, progress: Progress | None = None) -> list[Path]:
    """Run all jobs in this process and return their folders, in order.

    Raises:
        KgmetError: if settings, data or model are invalid; finished work stays.
    """
    resources = Resources(lm=lm)
    return [resources.do(job, progress) for job in jobs]


def _on_layers_of(lm: LoadedLM, settings: RunSettings) -> RunSettings:
    """Return the settings on the layers that the editor has for this model; what was calibrated does not count."""
    config = uncalibrated_settings(settings.method, lm).config
    return replace(settings, config=replace(config, seed=settings.edit_config.seed))


def _load(options: JobOptions, progress: Progress) -> LoadedLM:
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype) if options.dtype else None
    return load_lm(options.model, device=options.device, dtype=dtype, progress=progress)


def _open_store(options: JobOptions) -> TripleStore | None:
    if options.no_graph:
        return None
    if options.graph:
        from kgmet.graph.stores.readers import load_graph

        return load_graph(options.graph)
    from kgmet.graph.stores.sample import sample_store

    return sample_store()


class _Named:
    """Progress that adds the run's name to each event."""

    def __init__(self, outer: Progress, name: str) -> None:
        self._outer = outer
        self._name = name

    def report(self, event: ProgressEvent) -> None:
        """Pass the event on with the run's name."""
        detail: Mapping[str, float | str] = {**event.detail, "run": self._name}
        self._outer.report(replace(event, detail=detail))

    def check(self) -> None:
        """Check the outer progress."""
        self._outer.check()
