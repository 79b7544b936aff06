"""`CaseRunner`: makes the edits of cases with an editor's settings and asks the model before and after."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from kgmet.base.errors import Cancelled, KgmetError, MemoryLimitError
from kgmet.base.memory import is_out_of_memory
from kgmet.base.progress import Progress, ProgressEvent, Quiet, Stage, note
from kgmet.calibrate.cases import CalibrationCase
from kgmet.calibrate.trials import Trial, TrialBook, trial_key
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit, prepared_from
from kgmet.editing.editors import Editor
from kgmet.editing.plan import search_edits, write_edits
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.answer import Answer
from kgmet.measure.ask import ask
from kgmet.measure.columns import count_pairs
from kgmet.measure.compare import compare_answers
from kgmet.write.moments import make_key_moments
from kgmet.write.patch import attached
from kgmet.write.statistics import KeyStatistics

__all__ = ["CaseRunner"]

_AT_ONCE = 8
"""Edits whose shifts are searched together; fewer where that does not fit into memory."""


class CaseRunner:
    """One model and graph; asks each question of the unedited model once."""

    def __init__(
        self,
        lm: LoadedLM,
        store: TripleStore,
        catalogue: RelationCatalogue,
        *,
        statistics: KeyStatistics,
        book: TrialBook,
        progress: Progress,
    ) -> None:
        self._lm, self._store, self._catalogue = lm, store, catalogue
        self._statistics, self._book, self._progress = statistics, book, progress
        self._before: dict[str, list[Answer]] = {}
        self._at_once = _AT_ONCE
        self._contexts: dict[tuple[str, object], EditContext] = {}
        self.n_done = 0
        """Edits measured or read back so far."""

    def prepare(self, layers: Sequence[int]) -> None:
        """Estimate the key moments of these layers where they are not on disk.

        Raises:
            NonFiniteError: if a key is NaN or infinite; names the layer.
        """
        make_key_moments(self._lm, layers, corpus=self._statistics.corpus, progress=self._progress)

    def trials(
        self, editor: Editor, config: EditConfig, cases: Sequence[CalibrationCase], *, total: int
    ) -> list[Trial]:
        """Return each case edited on its own; what the book has is not measured again.

        Args:
            editor: the method.
            config: its settings.
            cases: the facts.
            total: edits that the whole calibration takes at most, for the progress.

        Raises:
            Cancelled: if asked to stop; what was measured is in the book.
        """
        keys = [trial_key(editor.name, config, case.id) for case in cases]
        missing = [n for n, key in enumerate(keys) if self._book.find(key) is None]
        self.n_done += len(cases) - len(missing)
        while missing:
            chunk = missing[: self._at_once]
            self._report(total)
            trials = self._fitting(editor, config, [cases[n] for n in chunk])
            for number, trial in zip(chunk, trials, strict=False):
                self._book.add(keys[number], trial)
                self.n_done += 1
                self._report(total)
            missing = missing[len(trials) :]
        found = [self._book.find(key) for key in keys]
        return [trial for trial in found if trial is not None]

    def _fitting(self, editor: Editor, config: EditConfig, cases: Sequence[CalibrationCase]) -> list[Trial]:
        """Return the trials of the first of the cases: of as many as fit into memory at once.

        Raises:
            MemoryLimitError: if not even one does.
        """
        while True:
            try:
                return self._measured(editor, config, cases)
            except (MemoryLimitError, RuntimeError, MemoryError) as error:
                if not (isinstance(error, MemoryLimitError) or is_out_of_memory(error)):
                    raise
                if len(cases) == 1:
                    raise MemoryLimitError(
                        f"Not even one edit of {editor.name} fits into the memory of {self._lm.device}. What was "
                        "measured so far is kept. Free some memory, or load the model in bfloat16 or on another "
                        "device, and run it again."
                    ) from error
            # Outside the handler, or the traceback would keep the tensors alive.
            self._at_once = len(cases) // 2
            cases = cases[: self._at_once]
            torch.cuda.empty_cache()  # nothing where no GPU is in use
            words = f"Out of memory: from here on {self._at_once} edits are searched at once."
            note(self._progress, Stage.CALIBRATE, words)

    def _measured(self, editor: Editor, config: EditConfig, cases: Sequence[CalibrationCase]) -> list[Trial]:
        # On a CPU the time of this thread, which does not grow with what else the machine does.
        clock = time.thread_time if self._lm.device.type == "cpu" else time.perf_counter
        quiet, start = Quiet(self._progress), clock()
        try:
            contexts = [self._context(case, config) for case in cases]
            searches = search_edits(
                self._lm, contexts, editor=editor, config=config, statistics=self._statistics, progress=quiet
            )
            found = []
            for case, searched in zip(cases, searches.apart(), strict=True):
                quiet.check()
                plan = write_edits(self._lm, searched, editor=editor, statistics=self._statistics, progress=quiet)
                before = self._unedited(case)
                with attached([plan.patch], self._lm):
                    after = ask(self._lm, case.questions)
                found.append(Trial(columns=count_pairs(compare_answers(before, after).pairs)))
            seconds = (clock() - start) / len(found)
            return [replace(trial, seconds=seconds) for trial in found]
        except (Cancelled, MemoryLimitError):
            raise
        except KgmetError as error:  # these settings do not work here; others may
            return [Trial(failed=f"{type(error).__name__}: {error}") for _ in cases]

    def _context(self, case: CalibrationCase, config: EditConfig) -> EditContext:
        key = case.id, prepared_from(config)
        if key not in self._contexts:
            self._contexts[key] = prepare_edit(case.edit, store=self._store, catalogue=self._catalogue, config=config)
        return self._contexts[key]

    def _unedited(self, case: CalibrationCase) -> list[Answer]:
        if case.id not in self._before:
            self._before[case.id] = ask(self._lm, case.questions)
        return self._before[case.id]

    def _report(self, total: int) -> None:
        self._progress.report(ProgressEvent(stage=Stage.CALIBRATE, done=self.n_done, total=max(total, self.n_done)))
        self._progress.check()
