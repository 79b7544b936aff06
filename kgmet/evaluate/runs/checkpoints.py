"""`Checkpointer`: general ability and edit quality at points of a long run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kgmet.evaluate.datasets.cases import EvalCase
from kgmet.evaluate.runs.score import ScoreConfig, score_cases
from kgmet.evaluate.runs.settings import RunSettings
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.general import TASKS, bundled_passages, drift_states, find_tasks, perplexity, run_task

__all__ = ["UNRELATED", "Checkpointer"]

_N_CASE = 20
"""Most edited cases asked again at a checkpoint, spread evenly over those so far: a trend, not a score."""
UNRELATED = (
    "Two plus two equals",
    "The opposite of hot is",
    "Once upon a time there was a",
    "To bake a cake you need flour, eggs and",
    "The first thing he did in the morning was to",
    "Please read the instructions before you",
    "The colour of the sky on a clear day is",
    "If it rains tomorrow, we will",
    "Dogs bark and cats",
    "The students wrote their names on the",
    "After a long walk they were tired and",
    "Plants need water and",
    "She put the book back on the",
    "In summer it is warm, in winter it is",
    "The recipe says to stir the soup for ten",
    "He could not open the door because he had lost his",
)
"""Prompts unrelated to any fact edit; their hidden states measure drift."""


class Checkpointer:
    """Measurements during a run, relative to the unedited model's states, which are recorded at creation."""

    def __init__(self, lm: LoadedLM, settings: RunSettings) -> None:
        self._lm = lm
        self._settings = settings
        self._passages = bundled_passages()
        self._states = drift_states(lm, UNRELATED)
        folder = settings.downstream_folder
        self._tasks = find_tasks(folder) if folder is not None and settings.downstream_eval_steps else {}

    def measure(self, edited: Sequence[EvalCase]) -> dict[str, Any]:
        """Measure perplexity, drift, the tasks with files, and a few of the edited cases.

        Drift is the mean over prompts of ‖after − before‖ / ‖before‖ at the middle and the last layer, and the maximum.
        """
        value, n_token = perplexity(self._lm, self._passages)
        moved = drift_states(self._lm, UNRELATED) - self._states
        relative = (moved.norm(dim=-1) / self._states.norm(dim=-1)).mean(1)
        return {
            "perplexity": value,
            "n_token": n_token,
            "drift": {
                "middle": float(relative[len(relative) // 2]),
                "last": float(relative[-1]),
                "largest": float(relative.max()),
                "n": len(UNRELATED),
            },
            "tasks": {name: self._task(name) for name in self._tasks},
            "quality": self._quality(edited),
        }

    def _task(self, name: str) -> dict[str, Any]:
        limit = self._settings.downstream_limit
        return asdict(run_task(self._lm, TASKS[name], self._tasks[name], limit=limit))

    def _quality(self, edited: Sequence[EvalCase]) -> dict[str, dict[str, int]]:
        """Count by kind: prompts, and those whose expected answer is preferred and first."""
        if not edited:
            return {}
        step = max(1, len(edited) / _N_CASE)
        sample = [edited[int(n * step)] for n in range(min(_N_CASE, len(edited)))]
        scores = score_cases(
            self._lm, sample, config=ScoreConfig(free_tokens=0, n_generation=0, answer_tokens=0, chain_of_thought=False)
        )
        counts: dict[str, dict[str, int]] = {}
        for case, score in zip(sample, scores, strict=True):
            for ask, result in zip(case.asks, score.asks, strict=True):
                kind = counts.setdefault(ask.kind.value, {"n": 0, "preferred": 0, "first": 0})
                kind["n"] += 1
                kind["preferred"] += result.preferred is True
                kind["first"] += result.first
        return counts
