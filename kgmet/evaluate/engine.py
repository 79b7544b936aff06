"""`run_jobs`: the runs of a sweep, one after the other in this process. What a job is, other engines share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kgmet.editors import editor_named
from kgmet.evaluate.cases import Dataset
from kgmet.evaluate.datasets import load_dataset
from kgmet.evaluate.folder import new_run
from kgmet.evaluate.graphs import GraphSource
from kgmet.evaluate.hparams import load_hparams
from kgmet.evaluate.runs import run_evaluation
from kgmet.evaluate.score import ScoreConfig
from kgmet.evaluate.settings import RunMode, RunSettings
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.loaded import LoadedLM
from kgmet.progress import Progress, ProgressEvent, Silent
from kgmet.statistics import KeyStatistics

__all__ = ["Job", "run_job", "run_jobs"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a sweep: an editor and the options of the command. `folder` is fixed once the job was begun."""

    editor: str
    options: Mapping[str, Any]
    folder: Path | None = None

    @property
    def dataset(self) -> Dataset:
        """The data, read anew."""
        get = self.options.get
        return load_dataset(
            self.options["ds_name"],
            get("ds_path"),
            limit=get("dataset_size_limit"),
            graph_path=get("graph_path"),
            references_path=get("references_path"),
            drop_faulty=not get("keep_faulty"),
        )

    @property
    def settings(self) -> RunSettings:
        """The settings of the run."""
        get = self.options.get
        seed = int(get("seed") or 0)
        config = editor_named(self.editor).config
        if get("hparams_fname"):
            config = load_hparams(self.options["hparams_fname"], base=config).config
        score = ScoreConfig(
            free_tokens=get("free_tokens", 12),
            n_generation=0 if get("skip_generation_tests") else get("n_generation", 2),
            generation_interval=get("generation_test_interval", 1),
            chain_of_thought=not get("no_chain_of_thought"),
            seed=seed,
        )
        return RunSettings(
            editor=self.editor,
            config=replace(config, seed=seed),
            num_edits=get("num_edits", 1),
            mode=RunMode.ALONE if get("alone") else RunMode.SEQUENTIAL,
            graph=GraphSource(get("graph_source", "auto")),
            score=score,
            downstream_eval_steps=get("downstream_eval_steps", 0),
            downstream_folder=get("downstream_path"),
            downstream_limit=get("downstream_limit", 100),
        )

    def begun(self) -> Job:
        """The job with its folder: ``OUT/EDITOR/run_NNN``, a new one unless a run is continued."""
        if self.folder is not None:
            return self
        return replace(self, folder=new_run(self.options["out"] / self.editor, self.options.get("continue_from_run")))


def run_jobs(
    jobs: Sequence[Job], *, lm: LoadedLM, store: TripleStore | None, progress: Progress | None = None
) -> list[Path]:
    """Do all jobs with one resident model; returns their folders, in order.

    Raises:
        KgmetError: if settings, data or model do not fit; what was done stays.
    """
    statistics = KeyStatistics(lm)
    return [run_job(job.begun(), lm=lm, store=store, statistics=statistics, progress=progress) for job in jobs]


def run_job(
    job: Job,
    *,
    lm: LoadedLM,
    store: TripleStore | None,
    statistics: KeyStatistics,
    progress: Progress | None = None,
) -> Path:
    """Do one job that has a folder, or go on with it."""
    assert job.folder is not None
    run_evaluation(
        lm,
        job.dataset,
        job.settings,
        folder=job.folder,
        store=store,
        catalogue=RelationCatalogue.load(),
        statistics=statistics,
        before=Path(job.options["out"]) / "before",
        progress=_Named(progress or Silent(), f"{job.editor}/{job.folder.name}"),
    )
    return job.folder


class _Named:
    """Adds to each event which run it is of."""

    def __init__(self, outer: Progress, name: str) -> None:
        self._outer = outer
        self._name = name

    def report(self, event: ProgressEvent) -> None:
        """Pass it on with the run's name."""
        self._outer.report(replace(event, detail={**event.detail, "run": self._name}))

    def check(self) -> None:
        """Ask the outer one."""
        self._outer.check()
