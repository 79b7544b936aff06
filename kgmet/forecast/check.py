"""`check_forecast`: measure the forecast facts with the patch attached, and compare forecast and measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.base.shapes import check_shape
from kgmet.forecast.forecast import FactForecast
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import score_answers
from kgmet.write.patch import EditPatch, attached

__all__ = ["CheckedForecast", "check_forecast", "rank_correlation"]

_AT_ONCE = 32


@dataclass(frozen=True, eq=False, kw_only=True)
class CheckedForecast:
    """Forecasts with the measured changes.

    `before` and `after` (n_fact,) are the answers' log-probabilities in nats, summed over their tokens, without and
    with the patch; earlier patches are attached in both.
    """

    forecasts: tuple[FactForecast, ...]
    before: Tensor
    after: Tensor

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shape("before", self.before, len(self.forecasts))
        check_shape("after", self.after, len(self.forecasts))

    @property
    def forecast(self) -> Tensor:
        """The forecast changes (n_fact,), in nats."""
        return torch.tensor([item.change for item in self.forecasts], dtype=torch.float64)

    @property
    def measured(self) -> Tensor:
        """The measured changes (n_fact,), in nats."""
        return self.after - self.before

    @property
    def probabilities(self) -> dict[str, float]:
        """The answers' probabilities with the patch, by the fact's id."""
        values = self.after.exp().tolist()
        return {item.fact.prompt.id: value for item, value in zip(self.forecasts, values, strict=True)}

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's rank correlation of forecast and measured changes; ``None`` if undefined."""
        return rank_correlation(self.forecast, self.measured)

    def losing(self, nats: float = 0.5) -> int:
        """Return how many facts lost more than the given nats."""
        return int((self.measured < -nats).sum())


def check_forecast(
    lm: LoadedLM,
    forecasts: Sequence[FactForecast],
    patch: EditPatch,
    *,
    earlier: Sequence[EditPatch] = (),
    progress: Progress | None = None,
) -> CheckedForecast:
    """Measure every fact without and with the patch.

    Args:
        lm: the model, with nothing attached.
        forecasts: the facts, each with its forecast.
        patch: the forecast patch.
        earlier: patches attached in both cases; without any, the index gives the values before.
        progress: receives every batch and can cancel.

    Raises:
        StaleArtifactError: if a patch is of another model.
        Cancelled: if asked to stop.
    """
    progress, items = progress or Silent(), tuple(forecasts)
    total = len(items) * (2 if earlier else 1)
    before = torch.tensor([item.fact.logprob for item in items], dtype=torch.float64)
    if earlier:
        before = _logprobs(lm, items, list(earlier), progress, begin=0, total=total)
    after = _logprobs(lm, items, [*earlier, patch], progress, begin=total - len(items), total=total)
    progress.report(ProgressEvent(stage=Stage.CHECK_FORECAST, done=total, total=total))
    return CheckedForecast(forecasts=items, before=before, after=after)


def _logprobs(
    lm: LoadedLM,
    items: Sequence[FactForecast],
    patches: Sequence[EditPatch],
    progress: Progress,
    *,
    begin: int,
    total: int,
) -> Tensor:
    found: list[float] = []
    for first in range(0, len(items), _AT_ONCE):
        progress.report(ProgressEvent(stage=Stage.CHECK_FORECAST, done=begin + first, total=total))
        progress.check()
        pairs = [(item.fact.prompt.text, item.fact.answer) for item in items[first : first + _AT_ONCE]]
        with attached(list(patches), lm):
            found += [score.logprob for score in score_answers(lm, pairs)]
    return torch.tensor(found, dtype=torch.float64)


def rank_correlation(one: Tensor, other: Tensor) -> float | None:
    """Return Spearman's rank correlation of two lists, in [−1, 1]; equal values share their mean rank.

    ``None`` for fewer than two values, or where all values of a list are equal.
    """
    if len(one) < 2:
        return None
    first, second = (ranks - ranks.mean() for ranks in (_ranks(one), _ranks(other)))
    size = float(first.norm() * second.norm())
    return float(first @ second) / size if size > 0 else None


def _ranks(values: Tensor) -> Tensor:
    """Return ranks from 0, (n,), float64; equal values share their mean rank."""
    order = values.double().argsort()
    ordered = values.double()[order]
    ranks = torch.arange(len(values), dtype=torch.float64)
    starts = torch.ones(len(values), dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    group = starts.cumsum(0) - 1
    sums = torch.zeros(len(values), dtype=torch.float64).index_add_(0, group, ranks)
    counts = torch.zeros(len(values), dtype=torch.float64).index_add_(0, group, torch.ones_like(ranks))
    found = torch.empty_like(ranks)
    found[order] = (sums / counts.clamp(min=1))[group]
    return found
