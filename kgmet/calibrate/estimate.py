"""`estimate`: how long a calibration takes, before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from kgmet.calibrate.calibrate import CalibrationConfig
from kgmet.calibrate.halving import most_trials
from kgmet.calibrate.trials import TRIALS, TrialBook, calibration_folder
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["Estimate", "estimate"]

_SECONDS_PER_PARAMETER = 4e-8
"""An edit with its questions on one CPU thread: KGMET took 4.3 to 6.1 s of processor time on SmolLM2-135M (12 edits).

Used until edits of the model itself are timed."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long a calibration takes at most: edits, and seconds each; without asking and tracing."""

    edits: int
    seconds_per_edit: float
    is_timed: bool
    """Whether edits of this model were timed; else their time is guessed from its size."""
    limit: float | None = None
    """Seconds after which the search ends, for all editors together; the check is made in any case."""
    check_edits: int = 0

    @property
    def seconds(self) -> float:
        """Seconds of all edits."""
        whole = self.edits * self.seconds_per_edit
        return whole if self.limit is None else min(whole, self.limit + self.check_edits * self.seconds_per_edit)


def estimate(lm: LoadedLM, config: CalibrationConfig, *, n_editor: int) -> Estimate:
    """Estimate what a calibration takes before it starts."""
    timed = TrialBook(calibration_folder(lm) / TRIALS).seconds_per_edit()
    check = 2 * config.n_check * n_editor
    seconds = config.budget.seconds
    return Estimate(
        edits=n_editor * most_trials(config.budget.settings, config.n_search) + check,
        seconds_per_edit=timed or lm.n_parameter * _SECONDS_PER_PARAMETER,
        is_timed=timed is not None,
        limit=None if seconds is None else seconds * n_editor,
        check_edits=check,
    )
