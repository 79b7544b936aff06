"""`LayerWrite`: an update in the coordinates of the layer's key spectrum, and the cost of other cutoffs.

The keys of ordinary text span the directions of large eigenvalues of ``E[kkᵀ]``; an update confined to those of small
ones leaves ordinary text alone. All values are in eigenvector coordinates, in which a cutoff is a column number, so
every cutoff can be evaluated without another decomposition.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.base.shapes import check_shape
from kgmet.editing.editors import EDITORS, WriterKind
from kgmet.inspect.settings import settings_of
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.placement import write_device
from kgmet.write.config import WriteConfig
from kgmet.write.moments import KeyMoment
from kgmet.write.patch import EditPatch
from kgmet.write.solve import LayerUpdate
from kgmet.write.spectrum import spectrum_of

__all__ = ["CutoffCost", "EnergyBin", "LayerWrite", "own_and_protected_rows", "inspect_writes"]


@dataclass(frozen=True, kw_only=True)
class CutoffCost:
    """Effect and cost of writing with `rank` free directions; shares are in [0, 1].

    `eigenvalue` is that of the last free direction. `text_energy` is the share of ordinary keys' energy that lies in
    free directions. `writable` is the writable share of the edit's key. `reached` is the share of the wanted change
    that the edit's own keys reach. `disturbance` is the relative change of the layer's output on ordinary text, root
    mean square ‖ΔW k‖ / ‖W k‖. `kept_moved` is that at the protected keys, ‖ΔW k‖ over the wanted change; ``None``
    without protected keys.
    """

    rank: int
    eigenvalue: float
    text_energy: float
    writable: float
    reached: float
    disturbance: float
    kept_moved: float | None


@dataclass(frozen=True, kw_only=True)
class EnergyBin:
    """Shares of an update's energy along eigenvectors `begin` to `end` (exclusive), in [0, 1]."""

    begin: int
    end: int
    written: float
    unprojected: float


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerWrite:
    """One layer's update in the coordinates of the key spectrum; float64.

    `eigenvalues` (d_key,) ascend. `keys` (n_key, d_key) are the edit's keys and `kept` (n_kept, d_key) the protected
    ones, in eigenvector coordinates. `wanted` (n_key, n_key) holds the inner products of the wanted output changes.
    `update` (d_key,) is the energy ‖ΔW vᵢ‖² of the actual update along each eigenvector. `text_output` is E‖W k‖² over
    ordinary text. `rank` directions were free; `is_projected` says whether the editor is confined to them.
    `ordinary_weight` and `kept_weight` (n_kept,) are the weights of ordinary and protected keys, as in `WriteConfig`.
    """

    layer: int
    eigenvalues: Tensor
    keys: Tensor
    kept: Tensor
    wanted: Tensor
    update: Tensor
    text_output: float
    rank: int
    ridge: float
    is_projected: bool
    ordinary_weight: float
    kept_weight: Tensor

    def __post_init__(self) -> None:
        """Check shapes."""
        d_key, n_key = self.eigenvalues.shape[0], self.keys.shape[0]
        check_shape("keys", self.keys, n_key, d_key)
        check_shape("kept", self.kept, None, d_key)
        check_shape("kept_weight", self.kept_weight, self.kept.shape[0])
        check_shape("wanted", self.wanted, n_key, n_key)
        check_shape("update", self.update, d_key)

    @property
    def protected_share(self) -> float:
        """Share of the actual update's energy in protected directions."""
        return float(self.update[self.rank :].sum() / self.update.sum().clamp(min=_TINY))

    @property
    def unprojected(self) -> Tensor:
        """(d_key,) energy along each eigenvector of the same write without projection."""
        return self._energy(self._factors(self.eigenvalues.shape[0], self._undamped))

    @property
    def protected_share_unprojected(self) -> float:
        """Share of that energy in protected directions without projection."""
        energy = self.unprojected
        return float(energy[self.rank :].sum() / energy.sum().clamp(min=_TINY))

    def cost(self, rank: int) -> CutoffCost:
        """Return the effect and cost of so many free directions, from 1 to d_key.

        Raises:
            ValueError: if `rank` is out of range.
        """
        if not 1 <= rank <= self.eigenvalues.shape[0]:
            raise ValueError(f"rank must be from 1 to {self.eigenvalues.shape[0]}, got {rank}")
        values = self.eigenvalues.clamp(min=0)
        factors = self._factors(rank)
        wanted = self.wanted.diagonal().sum().clamp(min=_TINY)
        arrived = self.keys @ factors.T
        text = (factors * values) @ factors.T
        kept_moved = None
        if len(self.kept):
            moved = self.kept @ factors.T
            mean = torch.einsum("pi,ij,pj->p", moved, self.wanted, moved).clamp(min=0).mean()
            kept_moved = float((mean / (wanted / len(self.keys))).sqrt())
        return CutoffCost(
            rank=rank,
            eigenvalue=float(values[rank - 1]),
            text_energy=float(values[:rank].sum() / values.sum().clamp(min=_TINY)),
            writable=float(self.keys[:, :rank].square().sum() / self.keys.square().sum().clamp(min=_TINY)),
            reached=float((arrived * self.wanted).sum() / wanted),
            disturbance=float(((text * self.wanted).sum().clamp(min=0) / max(self.text_output, _TINY)).sqrt()),
            kept_moved=kept_moved,
        )

    def curve(self, n: int = 48) -> tuple[CutoffCost, ...]:
        """Return the cost of about `n` evenly spread ranks, including the actual one."""
        d_key = self.eigenvalues.shape[0]
        ranks = {max(1, round(d_key * step / n)) for step in range(1, n + 1)} | {self.rank}
        return tuple(self.cost(rank) for rank in sorted(ranks))

    def binned(self, n: int = 48) -> tuple[EnergyBin, ...]:
        """Return the update's energy shares in `n` bins of eigenvectors, as written and without projection."""
        d_key = self.eigenvalues.shape[0]
        free = self.unprojected
        edges = [round(d_key * step / n) for step in range(n + 1)]
        return tuple(
            EnergyBin(
                begin=begin,
                end=end,
                written=float(self.update[begin:end].sum() / self.update.sum().clamp(min=_TINY)),
                unprojected=float(free[begin:end].sum() / free.sum().clamp(min=_TINY)),
            )
            for begin, end in itertools.pairwise(edges)
            if end > begin
        )

    @functools.cached_property
    def costs(self) -> tuple[CutoffCost, ...]:
        """`curve`, computed once; with fewer points if many keys make each expensive."""
        return self.curve(48 if len(self.keys) + len(self.kept) <= 512 else 12)

    @functools.cached_property
    def _damped(self) -> _Solve:
        values = self.eigenvalues.clamp(min=0)
        return self._solve((1 + self.ordinary_weight / self.ridge * values).rsqrt())

    @functools.cached_property
    def _undamped(self) -> _Solve:
        return self._solve(torch.ones_like(self.eigenvalues))

    def _solve(self, damping: Tensor) -> _Solve:
        rows = torch.cat([self.keys, self.kept_weight.sqrt()[:, None] * self.kept]) * damping
        return _Solve(rows=rows, gram=rows.T @ rows, damping=damping)

    def _factors(self, rank: int, solve: _Solve | None = None) -> Tensor:
        """Solve with so many free directions; return input factors (n_key, d_key) in these coordinates."""
        solve = solve or self._damped
        n_key, factors = len(self.keys), torch.zeros_like(self.keys)
        free = solve.rows[:, :rank]
        if len(free) > rank:
            # By push-through: as many equations as free directions, for any number of keys.
            system = solve.gram[:rank, :rank].clone()
            system.diagonal().add_(self.ridge)
            found = torch.linalg.solve(system, free[:n_key].T).T
        else:
            system = free @ free.T
            system.diagonal().add_(self.ridge)
            found = torch.linalg.solve(system, torch.eye(len(free), n_key, dtype=free.dtype)).T @ free
        factors[:, :rank] = found * solve.damping[:rank]
        return factors

    def _energy(self, factors: Tensor) -> Tensor:
        return (factors * (self.wanted @ factors)).sum(0).clamp(min=0)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Solve:
    """Keys of a solve, the edit's before the protected ones: (n, d_key), (d_key, d_key) and (d_key,)."""

    rows: Tensor
    gram: Tensor
    damping: Tensor


_TINY = torch.finfo(torch.float64).tiny


def inspect_writes(
    lm: LoadedLM,
    patch: EditPatch,
    moments: Mapping[int, KeyMoment],
    *,
    earlier: Sequence[EditPatch] = (),
    progress: Progress | None = None,
) -> list[LayerWrite]:
    """Express each layer's update and keys in the coordinates of its key spectrum.

    Args:
        lm: the model, for its unedited weights.
        patch: the patch to inspect.
        moments: the moment of every layer of the patch.
        earlier: patches whose keys were protected.
        progress: receives every layer (one eigendecomposition each); can cancel.

    Raises:
        KeyError: if a layer has no moment.
        Cancelled: if asked to stop.
    """
    progress = progress or Silent()
    found = []
    for number, update in enumerate(patch.updates):
        progress.report(
            ProgressEvent(
                stage=Stage.SPECTRUM, done=number, total=len(patch.updates), detail={"layer": float(update.layer)}
            )
        )
        progress.check()
        found.append(_inspect_layer(lm, patch, update, moments[update.layer], earlier))
    progress.report(ProgressEvent(stage=Stage.SPECTRUM, done=len(patch.updates), total=len(patch.updates)))
    return found


def own_and_protected_rows(patch: EditPatch, layer: int) -> tuple[list[int], list[int]]:
    """Return the rows of the patch's keys at a layer that belong to its edits, and the protected rows."""
    names = patch.keys[layer][0] if layer in patch.keys else ()
    ids = {edit.id for edit in patch.edits}
    own = [row for row, name in enumerate(names) if name.rpartition("/")[0] in ids]
    return own, [row for row in range(len(names)) if row not in set(own)]


def _inspect_layer(
    lm: LoadedLM, patch: EditPatch, update: LayerUpdate, moment: KeyMoment, earlier: Sequence[EditPatch]
) -> LayerWrite:
    config = settings_of(patch)
    found = spectrum_of(moment, device=write_device(lm, update.layer)).to(torch.device("cpu"))
    values, vectors = found.values, found.vectors
    own, others = own_and_protected_rows(patch, update.layer)
    stored = (
        patch.keys[update.layer][1].double()
        if update.layer in patch.keys
        else torch.zeros(0, lm.d_key, dtype=torch.float64, device="cpu")
    )
    written = [
        item.keys[update.layer][1][own_and_protected_rows(item, update.layer)[0]].double()
        for item in earlier
        if update.layer in item.keys
    ]
    keys, n_written = stored[own] @ vectors, sum(len(rows) for rows in written)
    weights = [config.write.earlier_weight] * n_written + [config.write.protected_weight] * len(others)
    return LayerWrite(
        layer=update.layer,
        eigenvalues=values,
        keys=keys,
        kept=torch.cat([*written, stored[others]]) @ vectors,
        wanted=_wanted(patch, update, stored[own], n_stored=len(stored), write=config.write),
        update=_along(update, vectors),
        text_output=_text_output(lm, update.layer, moment),
        rank=config.cutoff.rank(values),
        ridge=config.write.ridge,
        is_projected=_is_projected(patch),
        ordinary_weight=config.write.ordinary_weight if _is_projected(patch) else 0.0,
        kept_weight=torch.tensor(weights, dtype=torch.float64),
    )


def _is_projected(patch: EditPatch) -> bool:
    return patch.editor in EDITORS and EDITORS[patch.editor].writer is WriterKind.NULL_SPACE


def _wanted(patch: EditPatch, update: LayerUpdate, keys: Tensor, *, n_stored: int, write: WriteConfig) -> Tensor:
    """Return inner products of the requested residuals or, if those are not stored, of the reached changes."""
    is_plain = _is_projected(patch) and write.repeats == 1 and not write.even_remaining
    if is_plain and len(update.output_factor) in (len(keys), n_stored):
        residuals = update.output_factor[: len(keys)].double()  # rows of restored protected keys come after
    else:
        residuals = (keys @ update.input_factor.double().T) @ update.output_factor.double()
    return residuals @ residuals.T


def _along(update: LayerUpdate, vectors: Tensor) -> Tensor:
    """Return ‖ΔW vᵢ‖² for each eigenvector, from the factors."""
    inside = update.input_factor.double() @ vectors
    gram = update.output_factor.double() @ update.output_factor.double().T
    return (inside * (gram @ inside)).sum(0).clamp(min=0)


def _text_output(lm: LoadedLM, layer: int, moment: KeyMoment) -> float:
    """Return E‖W k‖² over the keys of the moment, without the bias."""
    weight = lm.family.weight_out_in(lm.model, layer).to(device="cpu", dtype=torch.float64)
    return float(((weight @ moment.second_moment) * weight).sum())
