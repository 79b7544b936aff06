"""`halve`: successive halving: every setting on a few facts, the better half on twice as many, until one is left.

Uncalibrated settings stay in every round, so that the best is compared with them on the same facts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kgmet.calibrate.trials import Trial
from kgmet.measure.columns import Columns, score_of, summed

__all__ = ["Budget", "Measured", "halve", "most_trials", "rounds_of"]

_FIRST_ROUND = 4
_LEAST = 2


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many settings are compared at most, and for how long at most; the facts' count says how thoroughly.

    A limit on seconds makes the result depend on the machine; one on settings alone does not.
    """

    settings: int
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One setting, by its number, on the first `n_case` facts; the score is 0 where an edit could not be made."""

    number: int
    n_case: int
    columns: Columns
    failed: str = ""

    @property
    def score(self) -> float:
        """0 to 1; see `score_of`."""
        return 0.0 if self.failed else score_of(self.columns)


def rounds_of(n_case: int) -> tuple[int, ...]:
    """Return facts of each round: 16 → 4, 8, 16."""
    found = [n_case]
    while found[0] >= 2 * _FIRST_ROUND:
        found.insert(0, found[0] // 2)
    return tuple(found)


def most_trials(n_setting: int, n_case: int) -> int:
    """Return how many edits `halve` measures at most; what an earlier round measured is not measured again."""
    alive, before, total = n_setting, 0, 0
    for n in rounds_of(n_case):
        total += alive * (n - before)
        alive, before = min(alive, 1 + -(-alive // 2)), n
    return total


def halve(
    n_setting: int,
    n_case: int,
    measure: Callable[[int, int], Sequence[Trial]],
    *,
    seconds: float | None = None,
    heard: Callable[[Measured], None] = lambda _: None,
) -> list[Measured]:
    """Compare settings and return those of the last round, the best first; of equals the earlier one.

    Args:
        n_setting: how many there are; number 0 are the uncalibrated ones.
        n_case: facts of the last round.
        measure: (setting, n) → its trials on the first n facts; asked again for more of the same setting.
        seconds: each round begins no setting beyond its share of them, but compares two at least.
        heard: is told every result.
    """
    rounds, start = rounds_of(n_case), time.monotonic()
    alive, ranked = list(range(n_setting)), list[Measured]()
    for place, n in enumerate(rounds):
        end = None if seconds is None else start + seconds * (place + 1) / len(rounds)
        ranked = []
        for number in alive:
            if end is not None and len(ranked) >= _LEAST and time.monotonic() > end:
                break
            ranked.append(_measured(number, n, measure(number, n)))
            heard(ranked[-1])
        ranked.sort(key=lambda one: (-one.score, one.number))
        kept = [one.number for one in ranked[: max(1, -(-len(ranked) // 2))] if one.number]
        alive = [0, *kept]
    return ranked


def _measured(number: int, n_case: int, trials: Sequence[Trial]) -> Measured:
    failed = next((trial.failed for trial in trials if trial.failed), "")
    return Measured(number=number, n_case=n_case, columns=summed(trial.columns for trial in trials), failed=failed)
