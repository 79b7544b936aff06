"""`run_evaluation`: edits in batches, scored, saved and resumable."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kgmet.base.errors import GraphError, RequestError, SearchError
from kgmet.base.progress import Progress, ProgressEvent, Quiet, Silent, Stage
from kgmet.base.text import caseless
from kgmet.editing.context import EditContext
from kgmet.editing.editors import WriterKind
from kgmet.editing.graph_part import graph_part
from kgmet.editing.plan import plan_edits
from kgmet.editing.told import sentences_of
from kgmet.evaluate.datasets.cases import Dataset, EvalCase, told_case
from kgmet.evaluate.runs.before import BeforeScores
from kgmet.evaluate.runs.checkpoints import Checkpointer
from kgmet.evaluate.runs.folder import RunFolder
from kgmet.evaluate.runs.graphs import case_contexts
from kgmet.evaluate.runs.multi_hop import with_multi_hop
from kgmet.evaluate.runs.rows import case_row
from kgmet.evaluate.runs.score import CaseScore, score_cases
from kgmet.evaluate.runs.settings import RunMode, RunSettings, run_header
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.metrics import TfIdf
from kgmet.write.corpus import bundled_corpus
from kgmet.write.patch import EditPatch, attached
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

__all__ = ["RunResources", "plan_batches", "run_evaluation"]

_CHUNK = 32
"""Cases scored together, and again if a run is killed; fixed, so that a resumed run has the same batches."""


def plan_batches(cases: Sequence[EvalCase], num_edits: int) -> list[tuple[int, ...]]:
    """Return the case indices of each batch; a case that contradicts its batch starts the next one."""
    batches: list[tuple[int, ...]] = []
    current: list[int] = []
    said: dict[tuple[str, str], str] = {}
    for place, case in enumerate(cases):
        mine = {(caseless(e.subject), caseless(e.template)): caseless(e.new_object) for e in case.edits}
        clashes = any(said.get(key, new) != new for key, new in mine.items())
        if current and (len(current) == num_edits or clashes):
            batches.append(tuple(current))
            current, said = [], {}
        current.append(place)
        said |= mine
    return [*batches, tuple(current)] if current else batches


@dataclass(frozen=True, eq=False, kw_only=True)
class RunResources:
    """Read-only resources shared by runs.

    `store` is the graph, or ``None``; `catalogue` the wordings of relations; `statistics` the model's key statistics,
    computed by default; `before` the folder of the unedited model's scores, shared by runs on the same data.
    """

    store: TripleStore | None
    catalogue: RelationCatalogue
    statistics: KeyStatistics | None = None
    before: Path | None = None


def run_evaluation(
    lm: LoadedLM,
    dataset: Dataset,
    settings: RunSettings,
    *,
    folder: Path,
    resources: RunResources,
    progress: Progress | None = None,
) -> RunFolder:
    """Make every edit, score every case and save the results in `folder`; continue an interrupted run.

    Args:
        lm: the model, with nothing attached. No weight of it changes.
        dataset: the cases.
        settings: settings of the run.
        folder: folder of the run; one begun with the same settings is continued.
        resources: the graph and other resources shared with other runs.
        progress: receives edits and cases with ``seconds_left``; can cancel between them.

    Raises:
        StaleArtifactError: if the folder belongs to another run.
        Cancelled: if asked to stop; the run can be continued.
    """
    store, catalogue = resources.store, resources.catalogue
    # Editors without a graph get the same questions as the others.
    asked_from = store or sample_store()
    statistics = resources.statistics or KeyStatistics(lm)
    text = statistics.corpus.fingerprint
    own_text = None if text == bundled_corpus().fingerprint else text
    header = run_header(settings, lm=lm, dataset=dataset, store=store, catalogue=catalogue, corpus=own_text)
    run = _Run(
        lm=lm,
        cases=dataset.cases,
        settings=settings,
        folder=RunFolder(folder, header),
        store=store,
        asked_from=asked_from,
        catalogue=catalogue,
        statistics=statistics,
        before=BeforeScores.for_run(
            resources.before, lm=lm, dataset=dataset, config=settings.score, graph=asked_from.fingerprint
        ),
        checkpointer=Checkpointer(lm, settings),
        progress=progress or Silent(),
        tfidf=TfIdf([" ".join(case.references) for case in dataset.cases if case.references]),
    )
    run.go()
    return run.folder


@dataclass(eq=False, kw_only=True)
class _Run:
    """State of a run."""

    lm: LoadedLM
    cases: tuple[EvalCase, ...]
    settings: RunSettings
    folder: RunFolder
    store: TripleStore | None
    asked_from: TripleStore
    catalogue: RelationCatalogue
    statistics: KeyStatistics
    before: BeforeScores
    checkpointer: Checkpointer
    progress: Progress
    tfidf: TfIdf
    spent: dict[str, tuple[float, int]] = field(default_factory=dict)

    def go(self) -> None:
        """Edit and score what is not done yet."""
        self.batches = plan_batches(self.cases, self.settings.num_edits)
        self.scored = {row["case_id"] for row in self.folder.cases.rows}
        self.done: dict[int, Mapping[str, Any]] = {}
        self.by_case: dict[str, dict[str, Any]] = {"graph": {}, "told": {}}
        for row in self.folder.batches.rows:
            self._take(row)
        self._report("edit")
        if self.settings.mode is RunMode.ALONE:
            self._go_alone()
        else:
            self._go_sequential()
        self._report("done")

    def _take(self, row: Mapping[str, Any]) -> None:
        """Remember a batch that is done, and what the graph and the teller gave each of its cases."""
        self.done.setdefault(row["batch"], row)
        for name, known in self.by_case.items():
            known |= row.get(name, {})

    def _go_sequential(self) -> None:
        so_far = EditsSoFar()
        self._checkpoint((), 0)
        for number in range(len(self.batches)):
            if patch := self._batch(number, so_far):
                so_far = so_far.then_merged(patch, self.lm)
            self._checkpoint(so_far.patches, number + 1)
        for places in _chunks(range(len(self.cases)), _CHUNK):
            self._score(places, so_far.patches, batch=None)

    def _go_alone(self) -> None:
        self._checkpoint((), 0)
        for number, places in enumerate(self.batches):
            is_scored = all(self.cases[place].case_id in self.scored for place in places)
            if is_scored and not self._is_due(number + 1):
                continue
            patch = self._batch(number, EditsSoFar())
            patches = (patch,) if patch else ()
            for chunk in _chunks(places, _CHUNK):
                self._score(chunk, patches, batch=number)
            self._checkpoint(patches, number + 1)

    def _batch(self, number: int, so_far: EditsSoFar) -> EditPatch | None:
        """Return the patch of one batch, from disk or new; ``None`` if the edits failed."""
        done = self.done.get(number)
        patch = self.folder.load_patch(number)
        is_told = self.settings.method.writer is WriterKind.TOLD
        if done is not None and (patch is not None or done["failed"] or is_told):
            return patch
        self.progress.check()
        start, failed, statistics = time.perf_counter(), "", 0.0
        graph: dict[str, list[dict[str, Any] | None]] = {}
        told: dict[str, list[str]] = {}
        places = self.batches[number]
        try:
            by_case = {self.cases[place].case_id: self._contexts(self.cases[place]) for place in places}
            contexts = [context for found in by_case.values() for context in found]
            graph = {str(case_id): self._graph_parts(found) for case_id, found in by_case.items()}
            if is_told:
                told = {str(case_id): self._sentences(found) for case_id, found in by_case.items()}
            else:
                plan = plan_edits(
                    self.lm,
                    contexts,
                    editor=self.settings.method,
                    statistics=self.statistics,
                    config=self.settings.edit_config,
                    earlier=so_far,
                    progress=Quiet(self.progress),
                )
                patch = plan.patch
                # Estimated once per model, so its time must not count for the first batch.
                statistics = plan.seconds.get("statistics", 0.0)
                self.folder.save_patch(number, plan.patch)
        except (SearchError, RequestError, GraphError) as error:
            # A failed edit is a result; it must not end a run of many hours.
            patch, failed = None, f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - start - statistics
        row = {
            "batch": number,
            "n_edits": self._n_edits(number),
            "seconds": seconds,
            "seconds_statistics": statistics,
            "failed": failed,
            "graph": graph,
            **({"told": told} if is_told else {}),
        }
        self.folder.batches.append([row])
        self._take(row)
        self._count("edit", seconds)
        self._report("edit")
        return patch

    def _graph_parts(self, contexts: Sequence[EditContext]) -> list[dict[str, Any] | None]:
        """Return the graph's contribution to each edit of a case; ``None`` without a graph."""
        parts = [graph_part(context, self.settings.edit_config) for context in contexts]
        return [None if part is None else part.to_json() for part in parts]

    def _sentences(self, contexts: Sequence[EditContext]) -> list[str]:
        """Return what is told before the prompts of a case: its own facts, as by a retriever that is always right."""
        told = [sentences_of(self.settings.method, context, self.catalogue) for context in contexts]
        return list(dict.fromkeys(sentence for sentences in told for sentence in sentences))

    def _told(self, cases: Sequence[EvalCase]) -> list[EvalCase]:
        """Return the cases with what is told before their prompts; for editors the cases themselves."""
        if self.settings.method.writer is not WriterKind.TOLD:
            return list(cases)
        return [told_case(case, self.by_case["told"].get(str(case.case_id), [])) for case in cases]

    def _contexts(self, case: EvalCase) -> Sequence[EditContext]:
        return case_contexts(
            case,
            store=self.store,
            catalogue=self.catalogue,
            config=self.settings.edit_config,
            source=self.settings.graph,
        )

    def _score(self, places: Sequence[int], patches: Sequence[EditPatch], *, batch: int | None) -> None:
        """Score cases before and after, and save those not saved yet."""
        cases = [self.cases[place] for place in places]
        if all(case.case_id in self.scored for case in cases):
            return
        most = self.settings.score.n_multi_hop
        cases = [with_multi_hop(case, store=self.asked_from, catalogue=self.catalogue, most=most) for case in cases]
        self.progress.check()
        start = time.perf_counter()
        before = self.before.of(cases, lambda: self._scored_now(cases, places))
        with attached(list(patches), self.lm):
            after = self._scored_now(self._told(cases), places)
        rows = [
            case_row(case, was, now, position=place, batch=self._batch_of(place) if batch is None else batch)
            | {"graph": self.by_case["graph"].get(str(case.case_id), [])}
            for case, place, was, now in zip(cases, places, before, after, strict=True)
        ]
        self.folder.cases.append(row for row in rows if row["case_id"] not in self.scored)
        self.scored |= {case.case_id for case in cases}
        self._count("score", time.perf_counter() - start, len(cases))
        self._report("score")

    def _scored_now(self, cases: Sequence[EvalCase], places: Sequence[int]) -> list[CaseScore]:
        return score_cases(self.lm, cases, config=self.settings.score, tfidf=self.tfidf, positions=places)

    def _checkpoint(self, patches: Sequence[EditPatch], n_batches: int) -> None:
        if not self._is_due(n_batches):
            return
        self.progress.check()
        edited = [self.cases[place] for batch in self.batches[:n_batches] for place in batch]
        if self.settings.mode is RunMode.ALONE and n_batches:
            edited = [self.cases[place] for place in self.batches[n_batches - 1]]
        with attached(list(patches), self.lm):
            row = self.checkpointer.measure(edited)
        self.folder.checkpoints.append([{"n_batches": n_batches, "n_edits": self._n_edits(n_batches - 1), **row}])

    def _is_due(self, n_batches: int) -> bool:
        if any(row["n_batches"] == n_batches for row in self.folder.checkpoints.rows):
            return False
        total = len(self.batches)
        if self.settings.mode is RunMode.ALONE:
            # Perplexity after single batches is a mean over ten of them, evenly spread.
            return n_batches % max(1, total // 10) == 0
        steps = self.settings.downstream_eval_steps
        return n_batches in (0, total) or bool(steps and n_batches % steps == 0)

    def _batch_of(self, place: int) -> int:
        return next(number for number, places in enumerate(self.batches) if place in places)

    def _n_edits(self, number: int) -> int:
        """Return the number of edits after batch `number`."""
        return sum(len(self.cases[place].edits) for places in self.batches[: number + 1] for place in places)

    def _count(self, what: str, seconds: float, n: int = 1) -> None:
        total, count = self.spent.get(what, (0.0, 0))
        self.spent[what] = total + seconds, count + n

    def _report(self, doing: str) -> None:
        n_batch, n_done = len(self.batches), len(self.folder.batches.rows)
        left = {"edit": max(0, n_batch - n_done), "score": len(self.cases) - len(self.scored)}
        detail: dict[str, float | str] = {"doing": doing}
        if all(what in self.spent or not left[what] for what in left):
            detail["seconds_left"] = sum(self.spent[w][0] / self.spent[w][1] * n for w, n in left.items() if n)
        done, total = n_done + len(self.scored), n_batch + len(self.cases)
        self.progress.report(ProgressEvent(stage=Stage.EVALUATE, done=done, total=total, detail=detail))


def _chunks(places: Sequence[int], size: int) -> Iterator[list[int]]:
    for begin in range(0, len(places), size):
        yield list(places[begin : begin + size])
