"""`rank_subjects`: the subjects whose keys a change of the down-projections moves most.

An edit sends the key of its subject's last token to another output, and disturbs ordinary keys little. So ΔW k is large
at the edited subjects. How large is measured against ordinary text, for which the key moment C = E[kkᵀ] gives
E‖ΔW k‖² = tr(ΔW C ΔWᵀ), and against the key's own length. KSTER (ICML 2026) recovers subjects from ΔW in another way.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.errors import SubjectNotFoundError, TextError
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.forecast.facts import facts_of
from kgmet.graph.phrasing import in_slot
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.contexts import NEUTRAL_PREFIXES
from kgmet.lm.run.spans import Phrase
from kgmet.write.keys import KeyRow, StartedRows, key_rows
from kgmet.write.moments import KeyMoment
from kgmet.write.solve import LayerUpdate

__all__ = [
    "FIRST_OF",
    "NamedKeys",
    "SubjectScan",
    "SubjectScore",
    "measured_names",
    "rank_measured",
    "rank_subjects",
    "subjects_of",
]

FIRST_OF = 20_000
"""Most entities that are ranked, the best known first."""
_TEMPLATE = "{} is"
_PREFIX = NEUTRAL_PREFIXES[2]
"""Text before the name. At a text's first token the key is that of the attention sink, whatever the name."""
_AT_ONCE = 512
_TINY = 1e-30
_MOST_ROWS = 1024
"""Most directions of all layers together among which subjects are chosen: memory is a number for each and name."""
_MOST_OF_WHOLE = 100
"""Most directions of one change that is given whole, as fine-tuning's is: its strongest ones."""


@dataclass(frozen=True, kw_only=True)
class SubjectScore:
    """One entity's response to the change.

    `response` is ‖ΔW k‖ / ‖k‖ over that of ordinary keys, root mean square over the changed layers. `times` is the
    response over the median of all entities. `own` is what is left of the response when it is not counted how far the
    key moves along with the subjects chosen before.
    """

    entity: Entity
    response: float
    times: float
    own: float


@dataclass(frozen=True, eq=False, kw_only=True)
class NamedKeys:
    """Some entities and, by layer, the keys of their names: (n_entity, d_key), float32 on the CPU."""

    entities: tuple[Entity, ...]
    keys: Mapping[int, Tensor]


@dataclass(frozen=True, kw_only=True)
class SubjectScan:
    """Ranked entities.

    First come as many as the change has directions, each the one with the largest response of its own; then all others
    by their response.
    """

    scores: tuple[SubjectScore, ...]


def subjects_of(store: TripleStore, catalogue: RelationCatalogue, *, limit: int = FIRST_OF) -> tuple[Entity, ...]:
    """Return the store's entities that are the subject of a fact with a wording, at most `limit`."""
    found: dict[str, Entity] = {}
    for _, subject, _ in facts_of(store, catalogue):
        if not subject.is_literal and subject.label.strip():
            found.setdefault(subject.id, subject)
            if len(found) >= limit:
                break
    return tuple(found.values())


def rank_subjects(
    lm: LoadedLM,
    updates: Sequence[LayerUpdate],
    moments: Mapping[int, KeyMoment],
    entities: Sequence[Entity],
    *,
    progress: Progress | None = None,
) -> SubjectScan:
    """Rank entities by how much the updates move the keys of their names.

    Args:
        lm: the base model, with nothing attached.
        updates: changes of the down-projections, at most one per layer.
        moments: the key moment of every changed layer.
        entities: whom to rank.
        progress: receives every batch of names and can cancel.

    Raises:
        Cancelled: if asked to stop.
    """
    if not updates:
        return SubjectScan(scores=())
    layers = [update.layer for update in updates]
    return rank_measured(measured_names(lm, entities, layers, progress=progress), updates, moments)


def measured_names(
    lm: LoadedLM, entities: Sequence[Entity], layers: Sequence[int], *, progress: Progress | None = None
) -> Iterator[NamedKeys]:
    """Yield the keys of the entities' names, a few hundred at a time; names without a token are left out."""
    progress = progress or Silent()
    named = [(entity, row) for entity in entities for row in _rows(lm, entity)]
    named.sort(key=lambda pair: len(pair[1].input_ids))
    for begin in range(0, len(named), _AT_ONCE):
        progress.report(ProgressEvent(stage=Stage.RANK_SUBJECTS, done=begin, total=len(named)))
        progress.check()
        part = named[begin : begin + _AT_ONCE]
        rows = StartedRows(lm, [row for _, row in part], first=min(layers), top=max(layers))
        keys = {layer: rows.keys(layer).cpu().float() for layer in sorted(set(layers))}
        yield NamedKeys(entities=tuple(entity for entity, _ in part), keys=keys)
    progress.report(ProgressEvent(stage=Stage.RANK_SUBJECTS, done=len(named), total=len(named)))


def rank_measured(
    names: Iterable[NamedKeys], updates: Sequence[LayerUpdate], moments: Mapping[int, KeyMoment]
) -> SubjectScan:
    """Rank names whose keys are measured at every changed layer; see `rank_subjects`."""
    ordinary = {update.layer: _ordinary(update, moments[update.layer]) for update in updates}
    found: list[tuple[Entity, float]] = []
    moved: list[Tensor] = []
    n_ways = [min(_MOST_OF_WHOLE, *update.input_factor.shape) if update.is_whole else update.input_factor.shape[0]
              for update in updates]  # fmt: skip
    can_choose = sum(n_ways) <= _MOST_ROWS
    ways = [_ways(update) / ordinary[update.layer] for update in updates] if can_choose else []
    for part in names:
        each = [_response(update, part.keys[update.layer]) / ordinary[update.layer] for update in updates]
        rows = torch.stack(each).T.tolist()
        means = [(sum(value**2 for value in row) / len(row)) ** 0.5 for row in rows]
        found += zip(part.entities, means, strict=True)
        if can_choose:
            keys = [part.keys[update.layer] for update in updates]
            each = [(key / _lengths(key)) @ way for key, way in zip(keys, ways, strict=True)]
            moved.append(torch.cat(each, dim=1) / math.sqrt(len(updates)))
    chosen = _chosen(torch.cat(moved), max(n_ways, default=0)) if moved else None
    return SubjectScan(scores=_scored(found, chosen))


def _rows(lm: LoadedLM, entity: Entity) -> tuple[KeyRow, ...]:
    try:
        phrase = Phrase(template=_TEMPLATE, subject=in_slot(_TEMPLATE, entity), prefix=_PREFIX)
        return key_rows(lm, entity.id, [phrase])
    except (SubjectNotFoundError, TextError):  # a name without a token of its own, or longer than the context
        return ()


def _ordinary(update: LayerUpdate, moment: KeyMoment) -> float:
    """Return ‖ΔW k‖ over ‖k‖ of ordinary keys, both root mean square."""
    rows = update.input_factor.double()
    seen = rows @ moment.second_moment @ rows.T
    energy = float(seen.trace() if update.is_whole else ((update.output_factor @ update.output_factor.T) * seen).sum())
    share: float = max(energy, 0.0) / float(moment.second_moment.trace())
    return max(math.sqrt(share), _TINY)


def _response(update: LayerUpdate, keys: Tensor) -> Tensor:
    moved = keys @ update.input_factor.T
    moved = moved if update.is_whole else moved @ update.output_factor
    shares: Tensor = torch.linalg.vector_norm(moved, dim=1) / _lengths(keys)[:, 0]
    return shares


def _lengths(keys: Tensor) -> Tensor:
    """Return ‖k‖ of each key, (n_entity, 1)."""
    lengths: Tensor = torch.linalg.vector_norm(keys, dim=1, keepdim=True).clamp(min=_TINY)
    return lengths


def _ways(update: LayerUpdate) -> Tensor:
    """Return W (d_key, rank): k W is ΔW k in coordinates of the update's own directions, and as long.

    Of a change that is given whole, these are the strongest directions, and the rest of ΔW k is left out.
    """
    if update.is_whole:
        whole = update.input_factor.double()
        strongest: Tensor = torch.linalg.eigh(whole @ whole.T).eigenvectors[:, -_MOST_OF_WHOLE:]
        moved: Tensor = whole.T @ strongest
        return moved.float()
    values, vectors = torch.linalg.eigh((update.output_factor @ update.output_factor.T).double())
    ways: Tensor = update.input_factor.T @ (vectors * values.clamp(min=0.0).sqrt()).float()
    return ways


def _chosen(moved: Tensor, count: int) -> tuple[list[int], list[float]]:
    """Choose the entities that are moved furthest, each time leaving out the directions of those before.

    Names that resemble an edited one move in its direction, and say nothing of a further edit.

    Returns:
        The chosen ones in order, and for every entity what was left of its response: for a chosen one when it was
        chosen, for the others in the end.
    """
    left, order = moved.clone(), list[int]()
    own = torch.linalg.vector_norm(left, dim=1)
    lengths = own.clone()
    for _ in range(min(count, len(moved))):
        best = int(lengths.argmax())
        if not float(lengths[best]) > _TINY:
            break
        order.append(best)
        own[best] = lengths[best]
        way = left[best] / lengths[best]
        left -= torch.outer(left @ way, way)
        lengths = torch.linalg.vector_norm(left, dim=1)
        lengths[order] = 0.0
    rest = torch.ones(len(moved), dtype=torch.bool)
    rest[order] = False
    own[rest] = lengths[rest]
    return order, own.tolist()


def _scored(
    found: Sequence[tuple[Entity, float]], chosen: tuple[list[int], list[float]] | None
) -> tuple[SubjectScore, ...]:
    means = [mean for _, mean in found]
    middle = max(statistics.median(means), _TINY) if means else 1.0
    order, own = chosen or ([], means)
    scores = [
        SubjectScore(entity=entity, response=mean, times=mean / middle, own=left)
        for (entity, mean), left in zip(found, own, strict=True)
    ]
    first = set(order)
    rest = [score for place, score in enumerate(scores) if place not in first]
    return (
        *(scores[place] for place in order),
        *sorted(rest, key=lambda score: (-score.response, score.entity.id)),
    )
