"""`solve_layers`: spread shifts over several layers, measuring again after each tentative write."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.base.shapes import check_shape
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.search import TargetShift
from kgmet.write.common import without_common
from kgmet.write.config import WriteConfig, check_layers
from kgmet.write.keys import KeyBatch, KeyRow, StartedRows
from kgmet.write.ledger import EditLedger
from kgmet.write.patch import attached_updates
from kgmet.write.priced import FactPrice
from kgmet.write.replay import replayed_states
from kgmet.write.residual import ResidualSchedule, before_norm
from kgmet.write.running import RunningMoments
from kgmet.write.solve import KeySystem, LayerUpdate
from kgmet.write.spectral import SpectralFilter
from kgmet.write.writer import MetricWriter, Writer, WriteRequest

__all__ = ["Unedited", "WrittenLayers", "balanced_roots", "key_averages", "key_groups", "solve_layers", "write_request"]

_WEIGHTS = (0.1, 20.0)
"""Smallest and largest weight of an edit."""


@dataclass(frozen=True, eq=False, kw_only=True)
class WrittenLayers:
    """Result of `solve_layers`.

    `updates` has one entry per layer, ascending. `keys` holds names and keys (n_key, d_key) by layer, for the ledger.
    `remaining` is the unreached part of each shift at the top layer, by edit id: ‖remaining‖ / ‖shift‖, mean over rows.
    `asked` holds, with error compensation, the wanted outputs of the edits' keys by layer; `features`, for UltraEdit,
    the moments of keys and gradients.
    """

    updates: tuple[LayerUpdate, ...]
    keys: Mapping[int, tuple[tuple[str, ...], Tensor]]
    remaining: Mapping[str, float]
    asked: Mapping[int, Tensor] = field(default_factory=dict)
    features: Mapping[int, RunningMoments] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Unedited:
    """States after the top layer in the model without earlier edits, float32, as `KeyBatch.states`.

    `states` (n_row, d_model) are the edits' rows and `protected` (n_protected, d_model) the protected ones. Only rows
    with `applies` (n_row,) start from these states; a shift searched on top of earlier edits starts from theirs.
    `replayed` holds, with forward replay, the rows' states under the shift by layer.
    """

    states: Tensor
    protected: Tensor
    applies: Tensor
    replayed: Mapping[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shape("applies", self.applies, self.states.shape[0])
        check_shape("protected", self.protected, None, self.states.shape[1])


def solve_layers(
    lm: LoadedLM,
    shifts: Sequence[TargetShift],
    rows: Sequence[KeyRow],
    *,
    writer: Writer,
    config: WriteConfig,
    ledger: EditLedger | None = None,
    protected: Sequence[KeyRow] = (),
    unedited: Unedited | None = None,
    price: FactPrice | None = None,
    spectral: SpectralFilter | None = None,
    common: Mapping[int, Tensor] | None = None,
    progress: Progress | None = None,
) -> WrittenLayers:
    """Write the shifts layer by layer.

    Low layers come first. Each write changes what higher layers read, so keys and residuals are measured again.

    Args:
        lm: the model, with earlier patches attached.
        shifts: one per edit, all after the same layer.
        rows: the texts whose keys represent each edit; `KeyRow.owner` is the edit's id.
        writer: solves one layer at a time.
        config: layers, residual shares and passes.
        ledger: keys that earlier edits have written.
        protected: texts whose keys must stay; `KeyRow.owner` names them.
        unedited: the states that shifts start from; by default the present ones.
        price: price on changing known facts; for writers with a key metric.
        spectral: filter of every solved update.
        common: by layer, directions (rank, d_key) to take out of the edits' keys.
        progress: receives each layer and can cancel.

    Raises:
        ConfigError: if a layer is out of range, or above the one the shifts were searched at, or the writer has no
            metric for a price.
        StaleArtifactError: if the writer's key statistics are of another model.
        Cancelled: if asked to stop; nothing stays attached.
    """
    check_layers(lm, config.layers)
    if price is not None and not isinstance(writer, MetricWriter):
        raise ConfigError(
            f"The writer {writer.name!r} cannot price known facts: it has no key metric to price them in."
        )
    job = _Job(
        lm,
        shifts,
        rows,
        protected=protected,
        config=config,
        ledger=ledger or EditLedger(),
        unedited=unedited,
        common=common or {},
    )
    passes = _Passes(job, writer=writer, price=price, spectral=spectral, progress=progress or Silent())
    if config.even_remaining:
        job.balance_weights(passes.run())
        passes.updates.clear()
    remaining: dict[str, float] = {}
    for _ in range(config.repeats):
        remaining = passes.run()
        if max(remaining.values()) <= config.tolerance:
            break
    if passes.price_all():
        job.rewind()
        remaining = job.remaining(list(passes.updates.values()))
    passes.report_done()
    updates = tuple(passes.updates[layer] for layer in sorted(passes.updates))
    return WrittenLayers(updates=updates, keys=passes.keys, remaining=remaining, asked=passes.asked)


class _Passes:
    """Passes over the layers: the updates so far, and by layer what they were solved from."""

    def __init__(
        self,
        job: _Job,
        *,
        writer: Writer,
        price: FactPrice | None,
        spectral: SpectralFilter | None,
        progress: Progress,
    ) -> None:
        self.job, self.writer, self.price, self.spectral, self.progress = job, writer, price, spectral, progress
        config = job.config
        self.plan = list(config.schedule.shares(config.layers))
        self.done, self.total = 0, len(self.plan) * (config.repeats + (config.even_remaining > 0))
        self.updates: dict[int, LayerUpdate] = {}
        self.keys: dict[int, tuple[tuple[str, ...], Tensor]] = {}
        self.asked: dict[int, Tensor] = {}
        self.systems: dict[int, KeySystem] = {}

    def run(self) -> dict[str, float]:
        """Add one pass to the updates and return the remaining part of each shift."""
        job = self.job
        job.rewind()
        for layer, share in self.plan:
            detail = {"layer": float(layer)}
            self.progress.report(ProgressEvent(stage=Stage.WRITE, done=self.done, total=self.total, detail=detail))
            self.progress.check()
            self.done += 1
            request = job.request(layer, share, list(self.updates.values()))
            self.updates[layer] = _together(self.updates.get(layer), self._filtered(self.writer.solve(request)))
            self.keys[layer] = job.keys_of(request)
            if job.config.compensates:
                self.asked[layer] = job.asked_of(request)
            if self.price is not None and isinstance(self.writer, MetricWriter):
                self.systems[layer] = self.writer.system(request)
                if self.price.config.when == "layer":
                    self._take(self.price.priced(self.systems, list(self.updates.values()), layers=[layer]))
        return job.remaining(list(self.updates.values()))

    def price_all(self) -> bool:
        """Correct the updates of all layers by the price, as it is set; return whether any changed."""
        price, solved = self.price, list(self.updates.values())
        if price is None:
            return False
        if price.config.when == "once":
            self._take(price.priced(self.systems, solved, layers=sorted(self.updates)))
        if price.config.again and price.measure is not None:
            self._take(_priced_again(self.job.lm, price, self.systems, solved, list(self.updates.values())))
        return solved != list(self.updates.values())

    def report_done(self) -> None:
        """Report the last step."""
        self.progress.report(ProgressEvent(stage=Stage.WRITE, done=self.total, total=self.total))

    def _take(self, corrected: Sequence[LayerUpdate]) -> None:
        self.updates |= {update.layer: self._filtered(update) for update in corrected}

    def _filtered(self, update: LayerUpdate) -> LayerUpdate:
        return update if self.spectral is None else self.spectral.filtered(update)


def _priced_again(
    lm: LoadedLM,
    price: FactPrice,
    systems: Mapping[int, KeySystem],
    moved: Sequence[LayerUpdate],
    updates: Sequence[LayerUpdate],
) -> list[LayerUpdate]:
    """Measure the facts that `moved` changes most under `updates`, and take back what they really lost or gained."""
    assert price.measure is not None
    facts, layers = price.most_changed(moved), sorted(systems)
    if not facts:
        return list(updates)
    before = price.measure(facts, ())[0] if price.logprobs is None else price.logprobs[facts]
    with attached_updates(list(updates), lm):
        after, pairs = price.measure(facts, layers)
    return price.cancelled(systems, updates, facts, after.double() - before.double(), pairs)


class _Job:
    """State shared by all layers and passes."""

    def __init__(
        self,
        lm: LoadedLM,
        shifts: Sequence[TargetShift],
        rows: Sequence[KeyRow],
        *,
        protected: Sequence[KeyRow],
        config: WriteConfig,
        ledger: EditLedger,
        unedited: Unedited | None,
        common: Mapping[int, Tensor],
    ) -> None:
        tops = {shift.layer for shift in shifts}
        if len(tops) != 1:
            raise ConfigError(f"All shifts must be after one and the same layer, got {sorted(tops) or 'none'}.")
        self.top, is_replay = tops.pop(), config.schedule is ResidualSchedule.REPLAY
        if is_replay and self.top != min(config.layers):
            raise ConfigError(
                f"With forward replay the shift is searched after the first written layer, {min(config.layers)}; this "
                f"one was searched after layer {self.top}."
            )
        self.top = max(config.layers) if is_replay else self.top
        if max(config.layers) > self.top:
            raise ConfigError(
                f"Layer {max(config.layers)} cannot help a shift that was searched after layer {self.top}. "
                "Search after the highest layer that is written."
            )
        self.lm, self.rows, self.protected, self.config, self.ledger = lm, rows, protected, config, ledger
        self.common = common
        self.groups = key_groups(rows, [shift.edit_id for shift in shifts], config.keys_per_edit)
        self.key_names = [f"{rows[members[0]].owner}/{number}" for number, members in enumerate(self.groups)]
        self.averages = key_averages(self.groups, len(rows))
        self.roots = torch.ones(len(self.groups), 1, dtype=torch.float32, device="cpu")  # √ of each key's weight
        first = min(config.layers)
        self.started = StartedRows(lm, rows, first=first, top=self.top)
        self.protected_names = tuple(row.owner for row in protected)
        self.kept = StartedRows(lm, protected, first=first, top=self.top)
        self.before = self.started.measure(first)
        deltas = {shift.edit_id: shift.delta for shift in shifts}
        self.wanted = torch.stack([deltas[row.owner] for row in rows]).to(self.before.states)
        starts = self.before.states
        if unedited is not None:
            starts = torch.where(unedited.applies[:, None], unedited.states, starts)
        self.targets: dict[int, Tensor] = {}
        if is_replay:
            self.targets = self._replayed(unedited)
            self.wanted = self.targets[self.top].to(starts) - starts
        self.target = starts + self.wanted
        self.restored = unedited.protected if unedited is not None and config.restores and protected else None

    def _replayed(self, unedited: Unedited | None) -> dict[int, Tensor]:
        """Return each layer's own target, from the unedited model where the shift was searched on it."""
        layers = sorted(self.config.layers)
        found = dict(replayed_states(self.lm, self.rows, self.wanted, layers=layers))
        if unedited is not None:
            for layer, states in unedited.replayed.items():
                found[layer] = torch.where(unedited.applies[:, None].to(states.device), states, found[layer])
        return found

    def rewind(self) -> None:
        """Begin another pass over the layers."""
        self.started.rewind()
        self.kept.rewind()

    def request(self, layer: int, share: float, updates: Sequence[LayerUpdate]) -> WriteRequest:
        """Measure keys and residuals of one layer with these updates in place; call with ascending layers."""
        own = self.targets.get(layer)
        with attached_updates(updates, self.lm):
            is_measured = own is None and not updates and layer == self.before.layer
            after = self.top if own is None else layer
            now = self.before if is_measured else self.started.measure(layer, after=after)
            protected = self.kept.keys(layer) if self.restored is None else self.kept.measure(layer)
        target = self.target if own is None else own.to(now.states)
        missing = self._before_norm(layer, now.outputs, (target - now.states) * share)
        weighted = (self.roots * self.averages).to(now.keys)
        keys, residuals = weighted @ now.keys, weighted @ missing
        if layer in self.common:
            keys = without_common(keys, self.common[layer])
        root = math.sqrt(self.config.protected_weight)
        if isinstance(protected, KeyBatch):
            assert self.restored is not None
            back = self._before_norm(layer, protected.outputs, (self.restored - protected.states) * share)
            keys, residuals = torch.cat([keys, root * protected.keys]), torch.cat([residuals, root * back])
            protected = protected.keys[:0]
        names = () if self.restored is not None else self.protected_names
        return write_request(
            self.lm, layer, keys, residuals, names=names, protected=root * protected, ledger=self.ledger
        )

    def keys_of(self, request: WriteRequest) -> tuple[tuple[str, ...], Tensor]:
        """Return the names and keys of a request, the edits' before the protected ones."""
        keys = torch.cat([request.keys, request.protected]).cpu()
        keys[: len(self.groups)] /= self.roots
        keys[len(self.groups) :] /= math.sqrt(self.config.protected_weight)
        return (*self.key_names, *self.protected_names), keys

    def asked_of(self, request: WriteRequest) -> Tensor:
        """Return the wanted outputs (n_key, d_model) of the edits' keys, from the weights without compensated edits."""
        n_key = len(self.groups)
        outputs = request.residuals[:n_key].cpu() / self.roots
        asked = self.ledger.asked.get(request.layer)
        keys = request.keys[:n_key].cpu() / self.roots
        return outputs if asked is None else outputs + keys @ asked.written.T

    def _before_norm(self, layer: int, outputs: Tensor, missing: Tensor) -> Tensor:
        missing = missing.to(outputs)
        norm = self.lm.family.norm_after_write(self.lm.model, layer)
        return missing if norm is None else before_norm(norm, outputs, missing)

    def balance_weights(self, remaining: Mapping[str, float]) -> None:
        """Set the edits' weights from the remaining shifts of a write with equal weights."""
        shares = [remaining[self.rows[members[0]].owner] for members in self.groups]
        self.roots = balanced_roots(shares, self.config.even_remaining)

    def remaining(self, updates: Sequence[LayerUpdate]) -> dict[str, float]:
        """Return ‖remaining‖ / ‖shift‖ of each edit with these updates in place."""
        with attached_updates(updates, self.lm):
            after = self.started.measure(max(update.layer for update in updates))
        shares = (self.target - after.states).norm(dim=1) / self.wanted.norm(dim=1).clamp(min=1e-12)
        by_owner: dict[str, list[float]] = {}
        for row, share in zip(self.rows, shares.tolist(), strict=True):
            by_owner.setdefault(row.owner, []).append(share)
        return {owner: sum(values) / len(values) for owner, values in by_owner.items()}


def write_request(
    lm: LoadedLM,
    layer: int,
    keys: Tensor,
    residuals: Tensor,
    *,
    names: Sequence[str],
    protected: Tensor,
    ledger: EditLedger,
) -> WriteRequest:
    """Return the request for one layer of a model, with the keys of the ledger's edits; `names` are the protected."""
    return WriteRequest(
        layer=layer,
        weight_name=lm.family.write_name(layer),
        keys=keys,
        residuals=residuals,
        written=ledger.at(layer, lm.d_key),
        protected_names=names,
        protected=protected,
        weight=partial(lm.family.weight_out_in, lm.model, layer),
        model_fingerprint=lm.fingerprint,
    )


def key_groups(rows: Sequence[KeyRow], edits: Sequence[str], keys_per_edit: str) -> list[list[int]]:
    """Group the rows that share a key, in the order of the edits' ids. Attention-sink keys stay separate."""
    by_owner: dict[str, list[int]] = {edit: [] for edit in edits}
    for number, row in enumerate(rows):
        if row.owner not in by_owner:
            raise ConfigError(f"There are keys of {row.owner!r} but no shift of it.")
        by_owner[row.owner].append(number)
    bare = [owner for owner, members in by_owner.items() if not members]
    if bare:
        raise ConfigError(f"There is a shift of {bare[0]!r} but no text to take its key from.")
    if keys_per_edit == "each":
        return [[number] for members in by_owner.values() for number in members]
    parts = []
    for members in by_owner.values():
        parts += [
            [number for number in members if (len(rows[number].input_ids) == 1) is sink] for sink in (True, False)
        ]
    return [part for part in parts if part]


def balanced_roots(shares: Sequence[float], wanted: float) -> Tensor:
    """Return √ of the weight with which each key leaves the wanted share of its shift, (n_key, 1).

    A single key of weight w leaves r = 1/(1 + w·s) of its shift, with s its reach; so w = (1/wanted - 1)/s. `shares`
    are those left with equal weights.
    """
    left = torch.tensor(shares, dtype=torch.float32, device="cpu").clamp(0.01, 0.99)
    return ((1 / wanted - 1) / (1 / left - 1)).clamp(*_WEIGHTS).sqrt()[:, None]


def key_averages(groups: Sequence[Sequence[int]], n_row: int) -> Tensor:
    """Return the matrix (n_group, n_row) that averages row values over groups."""
    found = torch.zeros(len(groups), n_row, dtype=torch.float32, device="cpu")
    for number, members in enumerate(groups):
        found[number, list(members)] = 1 / len(members)
    return found


def _together(earlier: LayerUpdate | None, update: LayerUpdate) -> LayerUpdate:
    """Combine the updates of two passes over the same layer."""
    if earlier is None:
        return update
    return LayerUpdate(
        layer=update.layer,
        weight_name=update.weight_name,
        output_factor=torch.cat([earlier.output_factor, update.output_factor]),
        input_factor=torch.cat([earlier.input_factor, update.input_factor]),
    ).compacted()
