"""`find_target_shifts`: gradient search for the shift of the hidden state, for many edits at once.

Each edit has its own shift, length limit and stopping rule; finished edits leave the batch. What does not depend on the
shift is encoded once (`kgmet.lm.run.suffixes`). Logits are computed only at positions of an answer or a preserved
distribution.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError, MemoryLimitError, NonFiniteError, SearchError
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage, note
from kgmet.base.shapes import check_shape
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.adam import Adam
from kgmet.search.directions.source import Direction, DirectionSource, StartedSource
from kgmet.search.objective import TermWeights, length_penalty, limited, ordinary_norm
from kgmet.search.priced import ShiftPrice, ShortenedShifts
from kgmet.search.problem import ShiftProblem, Term
from kgmet.search.room import parts_that_fit
from kgmet.search.rows import ProblemRows

__all__ = ["MOST_PILOTS", "MOST_STEPS", "Stop", "TargetConfig", "TargetShift", "find_target_shifts"]

MOST_STEPS = 1_000
"""Most gradient steps that settings may ask for; the published methods take 25."""
MOST_PILOTS = 10_000
"""Most pilot edits that settings may ask for; the published methods make 1,000."""


class Stop(Enum):
    """Reason why a search ended."""

    ANSWER_HOLDS = "the answer holds"
    """Every answer reached its threshold."""
    STEPS = "all steps used"
    """The last step was reached."""


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """Length limit, step count and stopping rule of the search."""

    max_steps: int = 25
    """Most gradient steps; 1 to 1,000."""
    rate: float = 0.12
    """Adam's learning rate, in units of ‖h‖/√d_model per step, with ‖h‖ the `ordinary_norm`."""
    momentum: float = 0.9
    """Adam's β₁, the momentum; from 0, below 1. With few steps, a small value overshoots less and gives a shorter
    shift."""
    memory: float = 0.999
    """Adam's β₂, the decay of squared gradients; from 0, below 1. Large early gradients shorten steps for longer."""
    max_norm_ratio: float = 0.75
    """Longest ‖shift‖ / ‖hidden state‖; above 0."""
    short_norm_ratio: float = 0.0
    """First limit on ‖shift‖ / ‖hidden state‖. If the answers do not hold under it after `max_steps`, the search goes
    on for as many steps under `max_norm_ratio`. 0, or a value not below `max_norm_ratio`, switches this off. Most
    shifts use all the length they may, and a short one disturbs less."""
    short_nll: float = 0.5
    """Threshold under the short limit, in nats, above 0. The answers hold if the rewriting prompts' mean negative
    log-likelihood per token is at most this, and the consequences' at most twice this."""
    stop_nll: float = 0.05
    """The search stops when every rewriting prompt's answer has at most this negative log-likelihood per token …"""
    stop_consequence_nll: float = 0.5
    """… and every consequence at most this; both in nats, above 0."""
    anchor_pilots: int = 0
    """NAS (arXiv:2602.02543): after the search every wanted state is scaled to the mean length of those of this many
    pilot edits of the unedited model; 0 to 10,000, and 0 leaves them. 1,000 in the paper."""
    price: float = 0.0
    """Price on shifts that change answers the model knows; at least 0. A squared forecast change of one nat counts as
    much as this multiple of the state's squared length, in the limit and in the penalty. The facts are those that
    `write.price` would price. 0: none. Not for models that normalise what a layer adds."""
    weights: TermWeights = field(default_factory=TermWeights)
    """Weights of the loss terms."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1 <= self.max_steps <= MOST_STEPS:
            raise ConfigError(f"target.max_steps must be from 1 to {MOST_STEPS}, got {self.max_steps}")
        for name in ("rate", "max_norm_ratio", "stop_nll", "stop_consequence_nll", "short_nll"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"target.{name} must be above 0, got {getattr(self, name)}")
        for name in ("short_norm_ratio", "price"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"target.{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.anchor_pilots <= MOST_PILOTS:
            raise ConfigError(f"target.anchor_pilots must be from 0 to {MOST_PILOTS}, got {self.anchor_pilots}")
        for name in ("momentum", "memory"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"target.{name} must be from 0 to below 1, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False, kw_only=True)
class TargetShift:
    """The shift of one edit's hidden state, with the search that found it.

    `before` (d_model,) is the state at the lookup token after `layer`, in the first prompt in which that is not the
    text's first token. `length` is in its units. `curve` has one entry per step: the value of each term, ``total`` and
    ``norm_ratio``.
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

    def reaching(self, after: Tensor) -> TargetShift:
        """Return the shift that leads to another wanted state, (d_model,)."""
        delta = after - self.before
        length = float(delta.norm())
        unit = delta / length if length else self.direction.unit
        return replace(self, direction=replace(self.direction, unit=unit), length=length)


def find_target_shifts(
    lm: LoadedLM,
    problems: Sequence[ShiftProblem],
    sources: Sequence[DirectionSource],
    *,
    layer: int,
    config: TargetConfig,
    prices: Sequence[ShiftPrice] | None = None,
    progress: Progress | None = None,
) -> list[TargetShift]:
    """Find the shift of each edit, all searched in one batch.

    Args:
        lm: the model, with whatever earlier patches attached.
        problems: the objective of each shift.
        sources: one per problem; they are trained in place.
        layer: the decoder layer whose output is shifted.
        config: see `TargetConfig`.
        prices: one per problem, in place of no price; `config.price` is not read.
        progress: receives every step of every edit; can cancel between steps.

    Raises:
        NonFiniteError: if a loss becomes NaN or infinite; names the edit.
        SearchError: if the model passes no gradient.
        MemoryLimitError: if one edit alone does not fit; several that do not fit are searched in smaller parts.
        Cancelled: if asked to stop.
    """
    progress = progress or Silent()
    own: Sequence[ShiftPrice | None] = [None] * len(problems) if prices is None else prices
    searches = [_Search(*parts, config) for parts in zip(problems, sources, own, strict=True)]
    parameters = [parameter for source in sources for parameter in source.parameters()]
    if not parameters:
        return []
    optimizer = Adam(parameters, rate=config.rate, betas=(config.momentum, config.memory))
    waiting = _parts(lm, searches, layer, progress)
    while waiting:
        together = waiting.pop()
        try:
            _run_batch(lm, together, optimizer, layer, progress)
        except (torch.OutOfMemoryError, MemoryError) as error:
            waiting += _halves(together, progress, error)
            continue
        rest = [search for search in together if search.stopped is None]
        if rest:
            waiting.append(rest)
    return _results(searches, layer)


def _parts(lm: LoadedLM, searches: list[_Search], layer: int, progress: Progress) -> list[list[_Search]]:
    """Split the searches into parts that fit into memory, in stack order (the first part last)."""
    parts = parts_that_fit(lm, [search.problem for search in searches], layer=layer)
    if len(parts) > 1:
        text = f"{len(searches)} edits at once would not fit into memory; they are searched {parts[0]} at a time."
        note(progress, Stage.SEARCH, text)
    ends = list(itertools.accumulate(parts))
    return [searches[end - n : end] for n, end in zip(parts, ends, strict=True)][::-1]


def _halves(searches: list[_Search], progress: Progress, error: BaseException) -> list[list[_Search]]:
    """Split the searches into two parts, in stack order (the first part last).

    Raises:
        MemoryLimitError: if there is only one.
    """
    if len(searches) == 1:
        raise MemoryLimitError(
            f"The search for {searches[0].problem.edit.prompt!r} does not fit into memory. Use fewer contexts and "
            "consequences, a smaller model, or load it in 8 bits."
        ) from error
    for search in searches:
        search.forget_untaken()
    half = (len(searches) + 1) // 2
    note(progress, Stage.SEARCH, f"{len(searches)} edits at once do not fit into memory; going on with {half} at once.")
    return [searches[half:], searches[:half]]


class _Search:
    """State of one edit's search."""

    def __init__(
        self, problem: ShiftProblem, source: DirectionSource, price: ShiftPrice | None, config: TargetConfig
    ) -> None:
        self.problem = problem
        self.source = source
        self.price = price
        self.config = config
        self.before: Tensor | None = None
        """(d_model,) the unshifted state."""
        self.scale = 0.0
        """‖h‖/√d_model."""
        self.curve: list[dict[str, float]] = []
        self.stopped: Stop | None = None
        self.limit = min(config.short_norm_ratio or config.max_norm_ratio, config.max_norm_ratio)
        self.last = config.max_steps
        """The step at which it ends, unless the limit is lifted there."""
        self._taken = 0
        self._shortened: tuple[Tensor, Tensor] | None = None

    def shortened(self) -> tuple[Tensor, Tensor]:
        """Return its price's map (`ShiftPrice.shortened`), made once."""
        if self._shortened is None:
            assert self.price is not None and self.before is not None
            self._shortened = self.price.shortened(self.scale * math.sqrt(self.before.numel()))
        return self._shortened

    def record_step(self, terms: Mapping[str, float], worst: Mapping[Term, float]) -> None:
        """Record a step and decide whether it was the last."""
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

    def stepped(self) -> bool:
        """Mark the last measured step as taken; return whether it lifted the short limit."""
        self._taken = len(self.curve)
        if len(self.curve) <= self.last:
            return False
        self.limit, self.last = self.config.max_norm_ratio, self.last + self.config.max_steps
        return True

    def forget_untaken(self) -> None:
        """Drop a step that was measured but not taken; it is measured again."""
        if self.stopped is None:
            del self.curve[self._taken :]

    def check_gradient(self, largest: float) -> None:
        """Raise `SearchError` if no gradient reaches the shift, which would otherwise stay 0 unnoticed.

        `largest` is the largest entry of the gradient with respect to the shift, not to the source's parameters: a
        source with only a free length gets no gradient at its limit.
        """
        if self._taken == 1 and largest == 0:
            raise SearchError(
                f"No gradient reaches the shift of {self.problem.edit.prompt!r}: some layer of this model passes none, "
                "as packed 4-bit weights on a CPU do. Load the model on a GPU, in 8 bits, or without quantisation."
            )


class _Batch:
    """Searches that step together, with one device synchronisation per step."""

    def __init__(self, lm: LoadedLM, searches: Sequence[_Search], layer: int) -> None:
        self._searches, self._weights = searches, searches[0].config.weights
        self._rows = rows = ProblemRows(lm, [search.problem for search in searches], layer)
        self._device = rows.before.device
        self._before, norms = rows.before, ordinary_norm(rows.before)
        for search, before, norm in zip(searches, rows.before, norms.tolist(), strict=True):
            search.before, search.scale = before, norm / math.sqrt(before.numel())
            if isinstance(search.source, StartedSource):
                search.source.begin(before, search.scale)
        self._norms = norms
        self._scale = self._column([search.scale for search in searches])
        self._shortened = _shortened(searches, rows.before)
        self._limits: Tensor
        self.set_limits()
        # Weight of each row in its edit's loss.
        self._members = rows.members
        shares = [0.0] * len(rows.terms)
        for members in self._members:
            for term, mine in members.items():
                for row in mine:
                    shares[row] = self._weights.of(term) / len(mine)
        self._shares = self._column(shares)[:, 0]
        self._moved = torch.ones(len(searches), dtype=torch.float32, device=self._device)

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=self._device, dtype=torch.float32)[:, None]

    def set_limits(self) -> None:
        """Copy the searches' length limits."""
        self._limits = self._norms * self._column([search.limit for search in self._searches])[:, 0]

    def deltas(self) -> tuple[Tensor, Tensor]:
        """Return what the search changes and the shifts it gives, both (n_edit, d_model), differentiable.

        Without a price they are the same.
        """
        shifts = torch.stack([search.source.shift().to(self._before) for search in self._searches])
        free = limited(shifts * self._scale, self._limits)
        return free, free if self._shortened is None else self._shortened(free)

    def measured(self, free: Tensor, deltas: Tensor, progress: Progress) -> Tensor:
        """Return the sum of all losses for the gradient; each running search records its own."""
        rows, penalties = self._rows.losses(deltas), length_penalty(free, self._before)
        lengths = penalties if self._shortened is None else length_penalty(deltas, self._before)
        seen = torch.cat([rows.detach(), penalties.detach(), lengths.detach(), self._moved]).cpu().tolist()
        n_row, n_edit = len(rows), len(penalties)
        for number, search in enumerate(self._searches):
            search.check_gradient(seen[n_row + 2 * n_edit + number])
            values = {term: [seen[row] for row in mine] for term, mine in self._members[number].items()}
            _note(search, values, seen[n_row + number], seen[n_row + n_edit + number], progress)
        total = (rows * self._shares).sum() + self._weights.length * penalties.sum()
        for search in self._searches:
            if isinstance(search.source, StartedSource):
                total = total + search.source.penalty()
        return total

    def step(self, deltas: Tensor, running: Sequence[_Search], optimizer: Adam) -> None:
        """Take the last measured step in the running searches."""
        assert deltas.grad is not None
        self._moved = deltas.grad.abs().amax(1)
        for search in self._searches:
            if search.stopped is not None:
                for parameter in search.source.parameters():
                    parameter.grad = None
        optimizer.step()
        optimizer.zero_grad()
        lifted = [search.stepped() for search in running]
        if any(lifted):
            self.set_limits()


def _run_batch(lm: LoadedLM, searches: Sequence[_Search], optimizer: Adam, layer: int, progress: Progress) -> None:
    """Run all searches until most are done."""
    batch = _Batch(lm, searches, layer)
    while True:
        progress.check()
        with torch.enable_grad():
            free, deltas = batch.deltas()
            deltas.retain_grad()
            total = batch.measured(free, deltas, progress)
            running = [search for search in searches if search.stopped is None]
            # Finished edits stay in the batch until there are enough of them to justify encoding the rest again.
            if not running or len(running) <= 0.6 * len(searches):
                for search in running:
                    search.forget_untaken()
                return
            total.backward()  # type: ignore[no-untyped-call]
        batch.step(deltas, running, optimizer)


def _note(
    search: _Search, values: Mapping[Term, Sequence[float]], penalty: float, length: float, progress: Progress
) -> None:
    """Record one step of one edit from its rows' losses, unless its search is over.

    `penalty` is the squared length in which the search runs, `length` that of the shift itself, both relative to the
    state's.
    """
    weights = search.config.weights
    means = {term: sum(losses) / len(losses) for term, losses in values.items()}
    total = weights.length * penalty + sum(weights.of(term) * mean for term, mean in means.items())
    if not math.isfinite(total):
        raise NonFiniteError(
            f"The loss of edit {search.problem.edit.prompt!r} became {total}. "
            "Load the model in float32 or use a smaller target.rate."
        )
    if search.stopped is not None:
        return
    terms = {"length": penalty, **{term.value: mean for term, mean in means.items()}}
    terms |= {"total": total, "norm_ratio": math.sqrt(length)}
    if search.price is not None:
        terms["price"] = penalty - length
    search.record_step(terms, {term: max(losses) for term, losses in values.items()})
    detail: dict[str, float | str] = {"edit": search.problem.edit.id, **terms}
    progress.report(ProgressEvent(stage=Stage.SEARCH, done=len(search.curve) - 1, total=search.last, detail=detail))


def _results(searches: Sequence[_Search], layer: int) -> list[TargetShift]:
    """Return the last measured shifts, which are those of the last entries of the curves."""
    befores = torch.stack([search.before for search in searches if search.before is not None])
    with torch.no_grad():
        scales = torch.tensor([search.scale for search in searches], device=befores.device, dtype=torch.float32)
        limits = torch.tensor([search.limit for search in searches], device=befores.device, dtype=torch.float32)
        shifts = torch.stack([search.source.shift().to(befores) for search in searches]) * scales[:, None]
        deltas, shortened = limited(shifts, ordinary_norm(befores) * limits), _shortened(searches, befores)
        deltas = (deltas if shortened is None else shortened(deltas)).float().cpu()
    return [
        _result(search, layer, before, delta)
        for search, before, delta in zip(searches, befores.float().cpu(), deltas, strict=True)
    ]


def _shortened(searches: Sequence[_Search], like: Tensor) -> ShortenedShifts | None:
    """Return the map of these searches' prices; all of one call have a price, or none has."""
    if any(search.price is None for search in searches):
        return None
    return ShortenedShifts([search.shortened() for search in searches], like)


def _result(search: _Search, layer: int, before: Tensor, delta: Tensor) -> TargetShift:
    assert search.stopped is not None
    length = float(delta.norm())
    unit = delta / length if length else torch.eye(1, delta.numel(), dtype=delta.dtype, device=delta.device)[0]
    return TargetShift(
        edit_id=search.problem.edit.id,
        layer=layer,
        before=before,
        direction=Direction(unit=unit, source=search.source.name, influence=search.source.influence()),
        length=length,
        steps=len(search.curve) - 1,
        stopped=search.stopped,
        curve=tuple(search.curve),
    )
