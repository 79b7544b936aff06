"""`shift_spread`, `shift_costs`: what a write makes of a shift that is not known yet, to first order.

A write that spreads a shift δ over layers adds ΔW_l = δ a_lᵀ to each of them, where a_l depends on the keys alone: a
lower layer takes its share of δ, and what its keys leave goes on to the layers above. So the forecast change of a known
fact, Σ_l Σ_t gᵀ ΔW_l k, is c_bᵀδ with c_b = Σ_l Σ_t (a_lᵀk) g.

It is exact for one written layer and a linear writer. With several layers, two things are left out: keys that lower
layers' updates change, and that a change of one layer's output reaches the top through the layers between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.common import without_common
from kgmet.write.config import WriteConfig
from kgmet.write.keys import KeyRow, StartedRows
from kgmet.write.layers import balanced_roots, key_averages, key_groups, write_request
from kgmet.write.ledger import EditLedger
from kgmet.write.priced import FactPairs
from kgmet.write.writer import Writer, WriteRequest

__all__ = ["SpreadEdit", "shift_costs", "shift_spread"]


@dataclass(frozen=True, kw_only=True)
class SpreadEdit:
    """One edit by its id, with the texts whose keys represent it and those whose keys are protected."""

    id: str
    rows: Sequence[KeyRow]
    protected: Sequence[KeyRow] = ()


def shift_spread(
    lm: LoadedLM,
    edits: Sequence[SpreadEdit],
    *,
    writer: Writer,
    config: WriteConfig,
    ledger: EditLedger | None = None,
    common: Mapping[int, Tensor] | None = None,
) -> list[Mapping[int, Tensor]]:
    """Return a_l of each edit by layer, (d_key,), float32 on the CPU: its write alone adds ΔW_l = δ a_lᵀ.

    A writer that treats its update, such as RECT, is not linear; a_l is then how far ΔW_l goes along one fixed shift.

    Args:
        lm: the model, with earlier patches attached.
        edits: each is written as if it were alone.
        writer: solves one layer at a time.
        config: layers, residual shares and passes.
        ledger: keys that earlier edits have written.
        common: by layer, directions (rank, d_key) to take out of the edits' keys.

    Raises:
        ConfigError: if the model normalises what a layer adds to the residual stream: no write is linear there.
    """
    if any(lm.family.norm_after_write(lm.model, layer) is not None for layer in config.layers):
        raise ConfigError(
            f"target.price needs a write that is linear in the shift; {lm.name} normalises what a layer adds. Set it "
            "to 0, and use write.price."
        )
    keys = _all_keys(lm, [edit.rows for edit in edits], config)
    kept = _all_keys(lm, [edit.protected for edit in edits], config)
    ledger = ledger or EditLedger()
    return [
        _Rehearsal(lm, edit, config, [by[n] for by in (keys, kept)], writer, ledger, common or {}).spread()
        for n, edit in enumerate(edits)
    ]


def shift_costs(pairs: Mapping[int, FactPairs], spreads: Sequence[Mapping[int, Tensor]], n_fact: int) -> list[Tensor]:
    """Return c_b of every fact for each edit, (n_fact, d_model): float64 for float64 pairs, else float32.

    Layers without pairs are left out.
    """
    found: list[Tensor] = []
    for layer, own in pairs.items():
        dtype = torch.float64 if own.keys.dtype is torch.float64 else torch.float32
        slopes, fact = own.slopes.to(dtype), own.fact.long()
        if not found:
            found = [slopes.new_zeros(n_fact, slopes.shape[1]) for _ in spreads]
        inputs = torch.stack(
            [spread.get(layer, own.keys.new_zeros(own.keys.shape[1])).to(own.keys) for spread in spreads]
        )
        for total, reached in zip(found, (own.keys @ inputs.T).to(dtype).T, strict=True):
            total.index_add_(0, fact, slopes * reached[:, None])
    return found


def _all_keys(lm: LoadedLM, texts: Sequence[Sequence[KeyRow]], config: WriteConfig) -> list[dict[int, Tensor]]:
    """Return the keys (n_row, d_key) of each group of texts by layer, measured together."""
    layers = sorted(config.layers)
    started = StartedRows(lm, [row for rows in texts for row in rows], first=layers[0], top=layers[-1])
    sizes = [len(rows) for rows in texts]
    by_layer = {layer: torch.split(started.keys(layer), sizes) for layer in layers}
    return [{layer: by_layer[layer][n] for layer in layers} for n in range(len(texts))]


class _Rehearsal:
    """One edit's write of a shift of unknown direction; `left` (n_row,) is the part that each row still misses."""

    def __init__(
        self,
        lm: LoadedLM,
        edit: SpreadEdit,
        config: WriteConfig,
        keys: Sequence[Mapping[int, Tensor]],
        writer: Writer,
        ledger: EditLedger,
        common: Mapping[int, Tensor],
    ) -> None:
        self.lm, self.edit, self.config = lm, edit, config
        self.writer, self.ledger, self.common = writer, ledger, common
        self.keys, self.protected = keys
        self.groups = key_groups(edit.rows, [edit.id], config.keys_per_edit)
        self.averages = key_averages(self.groups, len(edit.rows))
        self.roots = torch.ones(len(self.groups), 1, dtype=torch.float32, device="cpu")
        self.unit = torch.full((lm.d_model,), lm.d_model**-0.5, dtype=torch.float32, device="cpu")

    def spread(self) -> Mapping[int, Tensor]:
        """Return a_l by layer after all passes."""
        if self.config.even_remaining:
            left = self._pass({}, self._nothing_done())
            share = float(left.abs().mean())
            self.roots = balanced_roots([share] * len(self.groups), self.config.even_remaining)
        found: dict[int, Tensor] = {}
        left = self._nothing_done()
        for _ in range(self.config.repeats):
            left = self._pass(found, left)
            if float(left.abs().mean()) <= self.config.tolerance:
                break
        return found

    def _nothing_done(self) -> Tensor:
        return torch.ones(len(self.edit.rows), dtype=torch.float32, device="cpu")

    def _pass(self, found: dict[int, Tensor], left: Tensor) -> Tensor:
        """Add one pass to `found`; return what is left after it."""
        for layer, share in self.config.schedule.shares(self.config.layers):
            update = self.writer.solve(self._request(layer, share * left))
            along = update.input_factor.T @ (update.output_factor @ self.unit.to(update.output_factor))
            along = along.float().cpu()
            found[layer] = found[layer] + along if layer in found else along
            left = left - self.keys[layer].float().cpu() @ along
        return left

    def _request(self, layer: int, missing: Tensor) -> WriteRequest:
        """Return the request of a layer whose rows miss these multiples (n_row,) of the unit shift."""
        weighted = self.roots * self.averages
        own, kept = self.keys[layer], self.protected[layer]
        keys = weighted.to(own) @ own
        if layer in self.common:
            keys = without_common(keys, self.common[layer])
        residuals = ((weighted @ missing)[:, None] * self.unit).to(own)
        kept = math.sqrt(self.config.protected_weight) * kept
        names = tuple(row.owner for row in self.edit.protected)
        if self.config.restores:  # as in the write: protected keys are asked to move, by nothing here
            residuals = torch.cat([residuals, residuals.new_zeros(len(kept), self.lm.d_model)])
            keys, kept, names = torch.cat([keys, kept]), kept[:0], ()
        return write_request(self.lm, layer, keys, residuals, names=names, protected=kept, ledger=self.ledger)
