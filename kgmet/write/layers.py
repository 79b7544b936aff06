"""`solve_layers`: spread wanted shifts over several layers, measuring anew after each tentative write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.errors import ConfigError
from kgmet.lm.loaded import LoadedLM
from kgmet.progress import Progress, ProgressEvent, Silent
from kgmet.target.search import TargetShift
from kgmet.write.keys import KeyBatch, KeyRow, measure_keys
from kgmet.write.ledger import EditLedger
from kgmet.write.patch import attached_updates
from kgmet.write.residual import ResidualSchedule
from kgmet.write.solve import LayerUpdate
from kgmet.write.writer import Writer, WriteRequest

__all__ = ["WriteConfig", "WrittenLayers", "solve_layers"]


@dataclass(frozen=True, kw_only=True)
class WriteConfig:
    """Where an edit is written and how the work is shared."""

    layers: tuple[int, ...] = (2, 3, 4, 5, 6)
    """Decoder layers, counted from 0; the shift is searched after the last of them."""
    schedule: ResidualSchedule = ResidualSchedule.FRONT
    """How much of the remaining residual each layer takes."""
    ridge: float = 1.0
    """λ of the solve; above 0. Small follows the edit, large disturbs less."""
    keys_per_edit: str = "mean"
    """``mean``: one key an edit, the mean over its contexts; ``each``: every context's key on its own."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or min(self.layers) < 0:
            raise ConfigError(f"write.layers must be ascending layer numbers from 0, got {list(self.layers)}")
        if not self.ridge > 0:
            raise ConfigError(f"write.ridge must be above 0, got {self.ridge}")
        if self.keys_per_edit not in ("mean", "each"):
            raise ConfigError(f"write.keys_per_edit must be 'mean' or 'each', got {self.keys_per_edit!r}")


@dataclass(frozen=True, eq=False, kw_only=True)
class WrittenLayers:
    """The updates, ascending; the names and keys (n_key, d_key) by layer for the ledger; and how much of each shift is
    reached at the top layer: `reached` by edit id, ‖remaining‖ / ‖shift‖."""

    updates: tuple[LayerUpdate, ...]
    keys: Mapping[int, tuple[tuple[str, ...], Tensor]]
    remaining: Mapping[str, float]


def solve_layers(
    lm: LoadedLM,
    shifts: Sequence[TargetShift],
    rows: Sequence[KeyRow],
    *,
    writer: Writer,
    config: WriteConfig,
    ledger: EditLedger | None = None,
    protected: Sequence[KeyRow] = (),
    progress: Progress | None = None,
) -> WrittenLayers:
    """Write the shifts layer by layer.

    Low layers first. Each write changes what the higher layers read, so keys and residuals are measured anew.

    Args:
        lm: the model, with earlier patches attached.
        shifts: one per edit, all after the same layer.
        rows: the texts whose keys stand for each edit; `KeyRow.owner` is the edit's id.
        writer: solves one layer.
        config: which layers, which shares.
        ledger: keys that earlier edits have written.
        protected: texts whose keys are to stay; `KeyRow.owner` names them.
        progress: hears of each layer and can cancel.
    """
    progress, ledger = progress or Silent(), ledger or EditLedger()
    top = shifts[0].layer
    everything = [*rows, *protected]
    groups = _groups(rows, shifts, each=config.keys_per_edit == "each")
    deltas = {shift.edit_id: shift.delta for shift in shifts}
    wanted = torch.stack([deltas[row.owner] for row in rows])
    before = measure_keys(lm, everything, layer=config.layers[0], top=top)
    updates: list[LayerUpdate] = []
    kept: dict[int, tuple[tuple[str, ...], Tensor]] = {}
    for done, (share, layer) in enumerate((share, layer) for layer, share in config.schedule.shares(config.layers)):
        progress.report(
            ProgressEvent(stage="write", done=done, total=len(config.layers), detail={"layer": float(layer)})
        )
        progress.check()
        with attached_updates(updates, lm):
            now = (
                before if not updates and layer == before.layer else measure_keys(lm, everything, layer=layer, top=top)
            )
        missing = wanted - (now.states - before.states)[: len(rows)]
        request = _request(lm, layer, now, missing * share, groups, protected, ledger)
        updates.append(writer.solve(request))
        names = tuple(f"{rows[members[0]].owner}/{number}" for number, members in enumerate(groups))
        kept[layer] = (
            (*names, *request.protected_names),
            torch.cat([request.keys, request.protected]),
        )
    with attached_updates(updates, lm):
        after = measure_keys(lm, rows, layer=config.layers[0], top=top)
    left = wanted - (after.states - before.states[: len(rows)])
    progress.report(ProgressEvent(stage="write", done=len(config.layers), total=len(config.layers)))
    return WrittenLayers(updates=tuple(updates), keys=kept, remaining=_remaining(rows, left, wanted))


def _groups(rows: Sequence[KeyRow], shifts: Sequence[TargetShift], *, each: bool) -> list[list[int]]:
    """Which rows make one key: all of an edit, or each on its own; edits in the order of the shifts."""
    by_owner: dict[str, list[int]] = {shift.edit_id: [] for shift in shifts}
    for number, row in enumerate(rows):
        by_owner[row.owner].append(number)
    if each:
        return [[number] for members in by_owner.values() for number in members]
    return list(by_owner.values())


def _request(
    lm: LoadedLM,
    layer: int,
    now: KeyBatch,
    residuals: Tensor,
    groups: Sequence[Sequence[int]],
    protected: Sequence[KeyRow],
    ledger: EditLedger,
) -> WriteRequest:
    n_row = residuals.shape[0]
    return WriteRequest(
        layer=layer,
        weight_name=lm.family.write_name(layer),
        keys=torch.stack([now.keys[list(members)].mean(0) for members in groups]),
        residuals=torch.stack([residuals[list(members)].mean(0) for members in groups]),
        written=ledger.at(layer, lm.d_key),
        protected_names=tuple(row.owner for row in protected),
        protected=now.keys[n_row:],
        weight=lm.family.weight_out_in(lm.model, layer),
    )


def _remaining(rows: Sequence[KeyRow], left: Tensor, wanted: Tensor) -> dict[str, float]:
    by_owner: dict[str, list[float]] = {}
    for row, missing, shift in zip(rows, left, wanted, strict=True):
        by_owner.setdefault(row.owner, []).append(float(missing.norm() / shift.norm().clamp(min=1e-12)))
    return {owner: sum(values) / len(values) for owner, values in by_owner.items()}
