"""General ability on published tasks, where the user has their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from kgmet.base.progress import Progress, ProgressEvent, Stage
from kgmet.evaluate.card.edited import EditedModel, same_base
from kgmet.evaluate.card.value import Cell
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.general import TASKS, TaskResult, find_tasks, run_task
from kgmet.measure.metrics import share_value

__all__ = ["task_cell", "task_results"]


def task_results(
    models: Sequence[EditedModel], folder: Path, *, limit: int, progress: Progress
) -> list[dict[str, TaskResult]]:
    """Answer the tasks found in a folder with the unedited model, then with each edited one.

    Raises:
        ConfigError: if the folder holds no task.
        BrokenArtifactError: if a file is not as published.
        Cancelled: if asked to stop.
    """
    found = find_tasks(folder)
    first = same_base(models)
    sides: list[tuple[LoadedLM, AbstractContextManager[None]]] = [
        (first.base, first.base_side(None)),
        *((model.lm, model.attached()) for model in models),
    ]
    results: list[dict[str, TaskResult]] = []
    for number, (lm, side) in enumerate(sides):
        mine = {}
        with side:
            for place, (name, questions) in enumerate(found.items()):
                done, total = number * len(found) + place, len(sides) * len(found)
                progress.report(ProgressEvent(stage=Stage.CARD, done=done, total=total))
                progress.check()
                mine[name] = run_task(lm, TASKS[name], questions, limit=limit)
        results.append(mine)
    return results


def task_cell(results: Mapping[str, TaskResult]) -> Cell:
    """Return the share of right answers over all tasks, with that of each task in the note."""
    n = sum(result.n for result in results.values())
    share = share_value(round(sum(result.accuracy * result.n for result in results.values())), n)
    note = ", ".join(f"{name} {100 * result.accuracy:.0f} % of {result.n}" for name, result in results.items())
    return Cell(value=share.value, n=n, interval=share.interval, note=note)
