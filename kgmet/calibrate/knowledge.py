"""`knowledge_of`: which facts of a graph a model knows, by relation; every answer is kept at once.

The calibration asks only relations that edits can be tried on, the Models page every relation; answers are shared.
"""

from __future__ import annotations

from kgmet.base.progress import Progress
from kgmet.calibrate.cases import usable_relations
from kgmet.calibrate.lines import LineBook, book_state
from kgmet.calibrate.trials import calibration_folder, locked_folder
from kgmet.forecast.known import KnownFacts, known_facts, known_so_far
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["ANSWERS", "answers_state", "ask_all", "asking_seconds", "knowledge_of", "known_on_disk"]

ANSWERS = "answers.jsonl"
_SECONDS_PER_PARAMETER = 4.8e-10
"""One fact in one to three wordings: 430 facts took Gemma 3 270M 55 s on a busy CPU thread."""


def knowledge_of(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    *,
    per_relation: int,
    progress: Progress | None = None,
) -> KnownFacts:
    """Ask the model the best-known facts of every relation whose edits fill all columns.

    What it said is kept in the cache folder; the same question is not asked again. Call it with the folder locked
    (`kgmet.calibrate.trials.locked_folder`).

    Args:
        lm: the model, with nothing attached.
        store: the graph.
        catalogue: the words.
        per_relation: most facts asked of a relation.
        progress: receives every batch and can cancel.
    """
    relations = usable_relations(store, catalogue)
    book = LineBook(calibration_folder(lm) / ANSWERS)
    return known_facts(
        lm, store, catalogue, per_relation=per_relation, relations=relations, book=book, progress=progress
    )


def ask_all(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    *,
    per_relation: int,
    progress: Progress | None = None,
) -> KnownFacts:
    """Ask the model the best-known facts of every relation with a wording; goes on where an earlier run was stopped.

    Args:
        lm: the model, with nothing attached.
        store: the graph.
        catalogue: the words.
        per_relation: most facts asked of a relation.
        progress: receives every batch and can cancel.

    Raises:
        ArtifactError: if another process measures the same model.
        Cancelled: if asked to stop; what was answered is kept.
    """
    with locked_folder(lm) as folder:
        book = LineBook(folder / ANSWERS)
        return known_facts(lm, store, catalogue, per_relation=per_relation, book=book, progress=progress)


def known_on_disk(
    lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, *, per_relation: int
) -> tuple[KnownFacts, int]:
    """Return what `ask_all` found so far, also where it was stopped, and how many facts are left to ask."""
    book = LineBook(calibration_folder(lm) / ANSWERS)
    return known_so_far(lm, store, catalogue, per_relation=per_relation, book=book)


def answers_state(lm: LoadedLM) -> tuple[int, int]:
    """Return the state of what a model answered; zeros before it was asked."""
    return book_state(calibration_folder(lm) / ANSWERS)


def asking_seconds(lm: LoadedLM, n_fact: int) -> float:
    """Estimate the seconds to ask so many facts on one CPU thread; a GPU is much faster."""
    return n_fact * lm.n_parameter * _SECONDS_PER_PARAMETER
