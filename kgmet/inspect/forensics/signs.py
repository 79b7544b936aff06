"""`read_signs`: whose work a change looks like, from its structure. Each rule is a `Sign` with its figure.

The rules follow from the published updates. ROME writes one outer product at one layer. MEMIT's rows are C⁻¹k, and
those of AlphaEdit and KGMET are Pk, so the edited key is found in the row space after the right transformation.
Constrained fine-tuning stops entries at a bound. A LoRA has one rank in every module it changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.inspect.forensics.changes import ChangedModel, WeightChange
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.moments import KeyMoment
from kgmet.write.nullspace import Cutoff
from kgmet.write.solve import LayerUpdate
from kgmet.write.spectrum import spectrum_of

__all__ = ["Origin", "Sign", "read_signs"]

_FEW = 1e-3
_LORA_RANK = 256
"""Largest rank of a LoRA; common ones are 4 to 64."""


@dataclass(frozen=True, kw_only=True)
class Sign:
    """One observation: the `figure` that was measured, and what it `means`. `holds` says whether the rule applies."""

    name: str
    figure: str
    means: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the change looks like, in words, and the signs of it. `is_training` means fine-tuning, not an edit."""

    looks_like: str
    is_training: bool
    signs: tuple[Sign, ...]


def read_signs(lm: LoadedLM, changed: ChangedModel, moments: Mapping[int, KeyMoment]) -> Origin:
    """Say whose work a change looks like.

    Args:
        lm: the base model.
        changed: its change.
        moments: key moments of the layers whose down-projection changed.
    """
    if not changed.changes:
        return Origin(looks_like="no change: every weight is that of the base model", is_training=False, signs=())
    down = [change for change in changed.changes if change.layer is not None and change.part == lm.family.write]
    others = [change for change in changed.changes if change not in down]
    signs = [_where(changed, down, others), _ranks(changed.changes)]
    if others:
        return _of_training(changed.changes, signs)
    confined = _confined(changed.updates, moments)
    signs += [
        _bounded(down),
        _full_rank(down),
        _columns(down),
        _sparse(down),
        confined,
        _one_outer_product(down),
        _spread(lm, down),
    ]
    return Origin(looks_like=_words(signs[2:], down), is_training=signs[-1].holds, signs=tuple(signs))


def _of_training(changes: Sequence[WeightChange], signs: list[Sign]) -> Origin:
    ranks = {change.rank for change in changes}
    is_lora = len(ranks) == 1 and None not in ranks and (next(iter(ranks)) or 0) <= _LORA_RANK
    words = "fine-tuning with LoRA" if is_lora else "fine-tuning of whole weights"
    return Origin(looks_like=words, is_training=True, signs=tuple(signs))


def _words(signs: Sequence[Sign], down: Sequence[WeightChange]) -> str:
    bounded, full, columns, sparse, confined, single, spread = signs
    if bounded.holds or (full.holds and not (confined.holds or columns.holds or sparse.holds)):
        return "constrained fine-tuning of one fact or a few (FT)"
    if columns.holds:
        return "NSE, or another editor that writes to chosen neurons only"
    if sparse.holds:
        return "RECT: an edit of which only the largest entries were kept"
    if spread.holds:
        return "fine-tuning with LoRA on the down-projections"
    if confined.holds:
        return "AlphaEdit or KGMET: an edit confined to the free directions"
    if single.holds:
        return "ROME or GLAME: one outer product at one layer"
    if len(down) > 1:
        return "MEMIT or one of its variants: least squares over several layers"
    return "an edit of one layer: several ROME edits, or a least-squares write"


def _where(changed: ChangedModel, down: Sequence[WeightChange], others: Sequence[WeightChange]) -> Sign:
    parts = Counter(change.part for change in changed.changes)
    figure = ", ".join(f"{part} ×{count}" for part, count in parts.most_common(6)) + (" …" if len(parts) > 6 else "")
    means = (
        "Fact editors change the MLP's down-projections only. Other weights change in training."
        if others
        else "Only down-projections changed, as fact editors do."
    )
    return Sign(name="Changed weights", figure=figure, means=means, holds=bool(down) and not others)


def _ranks(changes: Sequence[WeightChange]) -> Sign:
    ranks = sorted({change.rank for change in changes if change.rank is not None})
    figure = "vectors only" if not ranks else str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    return Sign(
        name="Rank of ΔW",
        figure=figure,
        means="An edit adds at most one direction per key it writes; a LoRA has one rank everywhere.",
        holds=len(ranks) == 1,
    )


def _bounded(down: Sequence[WeightChange]) -> Sign:
    share = max((change.clipped for change in down), default=0.0)
    return Sign(
        name="Entries at one bound",
        figure=f"{100 * share:.2g} % of a weight's entries have the same largest size",
        means="Constrained fine-tuning stops every entry at a bound, so many entries reach exactly that value.",
        holds=share > 0.005,
    )


def _full_rank(down: Sequence[WeightChange]) -> Sign:
    share = min(((change.rank or 0) / min(change.shape) for change in down), default=0.0)
    return Sign(
        name="Full rank",
        figure=f"rank {100 * share:.0f} % of the smaller dimension",
        means="Steps of an optimiser change every direction a little. An editor's rank is the number of its keys, so "
        "only hundreds of edits fill a weight.",
        holds=share > 0.9,
    )


def _columns(down: Sequence[WeightChange]) -> Sign:
    share = min((change.untouched_columns for change in down), default=0.0)
    return Sign(
        name="Neurons left alone",
        figure=f"{100 * share:.2g} % of the input columns are exactly 0",
        means="NSE writes to the neurons that carry a key, and leaves all others as they were.",
        holds=share > 0.2,
    )


def _sparse(down: Sequence[WeightChange]) -> Sign:
    share = min((change.untouched for change in down), default=0.0)
    columns = max((change.untouched_columns for change in down), default=0.0)
    return Sign(
        name="Entries left alone",
        figure=f"{100 * share:.2g} % of the entries are exactly 0",
        means="RECT keeps the relatively largest entries of an update and drops the rest, all over the matrix.",
        holds=share > 0.2 and columns < 0.2,
    )


def _confined(updates: Sequence[LayerUpdate], moments: Mapping[int, KeyMoment]) -> Sign:
    share = max((_protected_share(update, moments[update.layer]) for update in updates), default=0.0)
    return Sign(
        name="Residual outside the free directions",
        figure=f"{share:.2g} of ‖ΔW‖² lies along the directions of ordinary keys",
        means="AlphaEdit and KGMET project onto the directions that ordinary keys use least, so next to nothing is "
        "left in the others.",
        holds=bool(updates) and share < _FEW,
    )


def _protected_share(update: LayerUpdate, moment: KeyMoment) -> float:
    spectrum = spectrum_of(moment)
    inside = update.input_factor.double() @ spectrum.vectors
    energy = inside.square().sum(0) if update.is_whole else (inside * (_gram(update) @ inside)).sum(0)
    return float(energy[Cutoff().rank(spectrum.values) :].sum() / energy.sum().clamp(min=1e-300))


def _gram(update: LayerUpdate) -> Tensor:
    return (update.output_factor @ update.output_factor.T).to(torch.float64)


def _one_outer_product(down: Sequence[WeightChange]) -> Sign:
    layers, ranks = {change.layer for change in down}, {change.rank for change in down}
    largest = max((rank or 0 for rank in ranks), default=0)
    return Sign(
        name="One outer product",
        figure=f"{len(layers)} layer{'' if len(layers) == 1 else 's'}, rank {largest}",
        means="ROME and GLAME write rank one to one layer.",
        holds=len(layers) == 1 and ranks == {1},
    )


def _spread(lm: LoadedLM, down: Sequence[WeightChange]) -> Sign:
    ranks, share = {change.rank for change in down}, len(down) / lm.n_layer
    return Sign(
        name="Spread over the layers",
        figure=f"{len(down)} of {lm.n_layer} layers",
        means="A LoRA is put on all layers, with one rank above 1. Editors choose a few layers.",
        holds=share > 0.6 and len(ranks) == 1 and (next(iter(ranks)) or 0) > 1,
    )
