"""`find_target_shifts`: how far the hidden state must move, found by gradient, for many edits at once.

Each edit has its own shift, length limit and stop; edits that are done leave the batch. What does not depend on the
shift is encoded once (`kgmet.lm.run.suffixes`); logits are computed only where an answer or a held distribution is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError, MemoryLimitError, NonFiniteError, SearchError
from kgmet.base.progress import Progress, ProgressEvent, Silent
from kgmet.base.shapes import check_shape
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.adam import Adam
from kgmet.search.directions.source import Direction, DirectionSource
from kgmet.search.objective import TermWeights, length_penalty, limited, ordinary_norm
from kgmet.search.problem import ShiftProblem, Term
from kgmet.search.rows import ProblemRows

__all__ = ["Stop", "TargetConfig", "TargetShift", "find_target_shifts"]


class Stop(Enum):
    """Why a search ended."""

    ANSWER_HOLDS = "the answer holds"
    """Every answer is likely enough."""
    STEPS = "all steps used"
    """It ran to the last step."""


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """How far, and for how long, the hidden state is pushed."""

    max_steps: int = 25
    """Most gradient steps; at least 1."""
    rate: float = 0.12
    """Adam's learning rate, in units of ‖h‖/√d_model per step; ‖h‖ is here and below `ordinary_norm`."""
    momentum: float = 0.9
    """Adam's β₁: how much of each step is the last one's; from 0, below 1. With few steps, a small one overshoots less
    and ends with a shorter shift."""
    memory: float = 0.999
    """Adam's β₂: how long a coordinate's past gradients, large at the start, shorten its steps; from 0, below 1."""
    max_norm_ratio: float = 0.75
    """Longest ‖shift‖ / ‖hidden state‖; above 0."""
    short_norm_ratio: float = 0.0
    """The limit at first: only where the answers do not hold under it after `max_steps`, the search goes on for as many
    steps under the full one. The full one at once if this is 0 or not below it. Most shifts use all the length they
    may, whether they need it or not, and a short one disturbs less."""
    short_nll: float = 0.5
    """Answers hold under the short limit if the rewriting prompts' mean negative log-likelihood per token is at most
    this and the consequences' at most twice this; in nats, above 0."""
    stop_nll: float = 0.05
    """A search stops when every rewriting prompt's answer has at most this negative log-likelihood per token …"""
    stop_consequence_nll: float = 0.5
    """… and every consequence at most this; both in nats, above 0."""
    weights: TermWeights = field(default_factory=TermWeights)
    """How much each term counts."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.max_steps < 1:
            raise ConfigError(f"target.max_steps must be at least 1, got {self.max_steps}")
        for name in ("rate", "max_norm_ratio", "stop_nll", "stop_consequence_nll", "short_nll"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"target.{name} must be above 0, got {getattr(self, name)}")
        if not self.short_norm_ratio >= 0:
            raise ConfigError(f"target.short_norm_ratio must be at least 0, got {self.short_norm_ratio}")
        for name in ("momentum", "memory"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"target.{name} must be from 0 to below 1, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False, kw_only=True)
class TargetShift:
    """How one edit's hidden state is to move.

    `before` (d_model,) is the state at the lookup token after `layer`, in the first prompt in which that is not the
    text's very first token; `length` is in its units.
    `curve` has one entry per step: the value of each term, ``total`` and ``norm_ratio``.
    """

    edit_id: str
    layer: int
    before: Tensor
    direction: Direction
    length: float
    steps: int
    stopped: Stop
    curve: tuple[Mapping[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shape("before", self.before, self.direction.unit.shape[0])

    @property
    def delta(self) -> Tensor:
        """The shift, (d_model,)."""
        return self.direction.unit * self.length

    @property
    def after(self) -> Tensor:
        """The wanted state v*, (d_model,)."""
        return self.before + self.delta

    @property
    def norm_ratio(self) -> float:
        """‖shift‖ / ‖before‖, without massive entries."""
        return self.length / float(ordinary_norm(self.before))


def find_target_shifts(
    lm: LoadedLM,
    problems: Sequence[ShiftProblem],
    sources: Sequence[DirectionSource],
    *,
    layer: int,
    config: TargetConfig,
    progress: Progress | None = None,
) -> list[TargetShift]:
    """Find the shift of each edit, searched together, each with its own stop.

    Args:
        lm: the model, with whatever earlier patches attached.
        problems: what each shift is to achieve.
        sources: one per problem; they are trained in place.
        layer: the decoder layer whose output is shifted.
        config: see `TargetConfig`.
        progress: receives every step of every edit; can cancel between steps.

    Raises:
        NonFiniteError: if a loss becomes NaN or infinite; names the edit.
        SearchError: if the model passes no gradient.
        MemoryLimitError: if a batch does not fit.
        Cancelled: if asked to stop.
    """
    progress = progress or Silent()
    searches = [_Search(problem, source, config) for problem, source in zip(problems, sources, strict=True)]
    try:
        active = searches
        while active:
            batch = ProblemRows(lm, [search.problem for search in active], layer)
            for search, before in zip(active, batch.before, strict=True):
                search.before = before
            _run_batch(batch, active, config, progress)
            active = [search for search in active if search.stopped is None]
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryLimitError(
            f"{len(problems)} edits at once do not fit. Try half as many at once, or fewer contexts and consequences."
        ) from error
    return [search.result(layer) for search in searches]


class _Search:
    """One edit's state during the search."""

    def __init__(self, problem: ShiftProblem, source: DirectionSource, config: TargetConfig) -> None:
        self.problem = problem
        self.source = source
        self.config = config
        betas = (config.momentum, config.memory)
        self.optimizer = Adam(source.parameters(), rate=config.rate, betas=betas)
        self.before = torch.zeros(0, dtype=torch.float32)
        self.curve: list[dict[str, float]] = []
        self.stopped: Stop | None = None
        self.limit = min(config.short_norm_ratio or config.max_norm_ratio, config.max_norm_ratio)
        self.last = config.max_steps
        """The step it ends at, unless the limit is lifted there."""

    @property
    def scale(self) -> float:
        """‖h‖/√d_model."""
        return float(ordinary_norm(self.before)) / math.sqrt(self.before.numel())

    def delta(self) -> Tensor:
        """(d_model,) limited and differentiable."""
        longest = ordinary_norm(self.before) * self.limit
        return limited(self.source.shift().to(self.before)[None] * self.scale, longest[None])[0]

    def note(self, terms: Mapping[str, float], worst: Mapping[Term, float]) -> None:
        """Take down a step and decide whether it was the last."""
        self.curve.append(dict(terms))
        if (
            worst[Term.REWRITE] <= self.config.stop_nll
            and worst.get(Term.CONSEQUENCE, 0.0) <= self.config.stop_consequence_nll
        ):
            self.stopped = Stop.ANSWER_HOLDS
        elif len(self.curve) > self.last and not (self._is_short and self._wants_more(terms)):
            self.stopped = Stop.STEPS

    @property
    def _is_short(self) -> bool:
        return self.limit < self.config.max_norm_ratio

    def _wants_more(self, terms: Mapping[str, float]) -> bool:
        enough = self.config.short_nll
        return terms[Term.REWRITE.value] > enough or terms.get(Term.CONSEQUENCE.value, 0.0) > 2 * enough

    def step(self, gradient: Tensor) -> None:
        """Take the step that was measured last; one that goes on beyond its last step does so under the full limit.

        `gradient` (d_model,) is the shift's own.
        """
        self._check_gradient(gradient)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if len(self.curve) > self.last:
            self.limit, self.last = self.config.max_norm_ratio, self.last + self.config.max_steps

    def _check_gradient(self, gradient: Tensor) -> None:
        """Raise `SearchError` if the first step has nowhere to go: the shift would stay 0 and nothing would say so.

        The gradient is the shift's, not the source's: one of which only the length is free gets none at its limit.
        """
        if len(self.curve) == 1 and not gradient.any():
            raise SearchError(
                f"No gradient reaches the shift of {self.problem.edit.prompt!r}: some layer of this model passes none, "
                "as packed 4-bit weights on a CPU do. Load the model on a GPU, in 8 bits, or without quantisation."
            )

    def result(self, layer: int) -> TargetShift:
        """The shift that was measured last: exactly what the last entry of the curve describes."""
        assert self.stopped is not None
        with torch.no_grad():
            delta = self.delta().float().cpu()
        length = float(delta.norm())
        unit = delta / length if length else torch.eye(1, delta.numel(), dtype=delta.dtype, device=delta.device)[0]
        return TargetShift(
            edit_id=self.problem.edit.id,
            layer=layer,
            before=self.before.float().cpu(),
            direction=Direction(unit=unit, source=self.source.name, influence=self.source.influence()),
            length=length,
            steps=len(self.curve) - 1,
            stopped=self.stopped,
            curve=tuple(self.curve),
        )


def _run_batch(batch: ProblemRows, searches: Sequence[_Search], config: TargetConfig, progress: Progress) -> None:
    """Step all searches until most are done."""
    while True:
        progress.check()
        with torch.enable_grad():
            deltas = torch.stack([search.delta() for search in searches])
            deltas.retain_grad()
            rows = batch.losses(deltas)
            totals = [
                _total(search, number, batch, rows, deltas[number], progress) for number, search in enumerate(searches)
            ]
            running = [n for n, search in enumerate(searches) if search.stopped is None]
            # Done edits stay in the batch until there are enough of them to be worth encoding the rest again.
            if not running or len(running) <= 0.6 * len(searches):
                for n in running:  # this step was measured but not taken
                    searches[n].curve.pop()
                return
            torch.stack([totals[n] for n in running]).sum().backward()  # type: ignore[no-untyped-call]
        assert deltas.grad is not None
        for n in running:
            searches[n].step(deltas.grad[n])


def _total(search: _Search, number: int, batch: ProblemRows, rows: Tensor, delta: Tensor, progress: Progress) -> Tensor:
    """The loss of one edit; takes the step down unless the search is over."""
    mine = [row for row, owner in enumerate(batch.edit_of_row.tolist()) if owner == number]
    config = search.config
    penalty = length_penalty(delta, search.before)
    total = config.weights.length * penalty
    terms: dict[str, float] = {"length": float(penalty.detach())}
    worst: dict[Term, float] = {}
    for term in Term:
        members = [row for row in mine if batch.terms[row] is term]
        if not members:
            continue
        weights = batch.weights[members]
        value = (rows[members] * weights).sum() / weights.sum()
        total = total + config.weights.of(term) * value
        terms[term.value] = float(value.detach())
        worst[term] = float(rows.detach()[members].max())
    if not math.isfinite(float(total.detach())):
        raise NonFiniteError(
            f"The loss of edit {search.problem.edit.prompt!r} became {float(total.detach())}. "
            "Load the model in float32 or use a smaller target.rate."
        )
    if search.stopped is None:
        terms |= {"total": float(total.detach()), "norm_ratio": math.sqrt(float(penalty.detach()))}
        search.note(terms, worst)
        detail: dict[str, float | str] = {"edit": search.problem.edit.id, **terms}
        progress.report(ProgressEvent(stage="search", done=len(search.curve) - 1, total=search.last, detail=detail))
    return total
