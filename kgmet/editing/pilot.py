"""`pilot_edits`: edits of the sample graph's facts, made on the unedited model to learn what an edit is usually like.

NAS (arXiv:2602.02543) takes from them how long a wanted state is; UltraEdit the spread of keys and gradients.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from kgmet.base.errors import KgmetError
from kgmet.base.progress import Progress
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.editing.factories import make_source
from kgmet.editing.problem import build_problem
from kgmet.fact import FactEdit
from kgmet.forecast.facts import facts_of
from kgmet.graph.phrasing import in_slot, says
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.graph.triple import Entity
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.search import TargetShift, find_target_shifts

__all__ = ["anchor_length", "anchored", "pilot_contexts", "pilot_edits"]

_DROPPED = 0.05
"""Share of the longest wanted states that do not count."""


def pilot_edits(n: int, *, seed: int = 0) -> tuple[FactEdit, ...]:
    """Return edits of facts of the sample graph, each to another object of the same relation; relations alternate."""
    catalogue = RelationCatalogue.load()
    facts = list(facts_of(sample_store(), catalogue))
    objects: dict[str, list[Entity]] = {}
    for relation, _, found in facts:
        objects.setdefault(relation, []).extend(found)
    draw = random.Random(seed)
    edits: list[FactEdit] = []
    for relation, subject, found in facts:
        if len(edits) == n:
            break
        template = catalogue.spec(relation).cloze[0]
        new = draw.choice(objects[relation])
        if new in found or new == subject or says(subject.label, new.label):
            continue
        try:
            edits.append(FactEdit(subject=in_slot(template, subject), template=template, new_object=new.label))
        except KgmetError:  # a name that no prompt can carry
            continue
    return tuple(edits)


def pilot_contexts(n: int, *, seed: int = 0) -> list[EditContext]:
    """Return the pilot edits without a graph."""
    return [EditContext(edit=edit) for edit in pilot_edits(n, seed=seed)]


def anchor_length(lm: LoadedLM, config: EditConfig, *, progress: Progress | None = None) -> float:
    """Return the mean length of the wanted states of `target.anchor_pilots` edits, without the longest 5 %.

    Args:
        lm: the model, with nothing attached.
        config: the search.
        progress: receives every step; can cancel.
    """
    contexts = pilot_contexts(config.target.anchor_pilots, seed=config.seed)
    shifts = find_target_shifts(
        lm,
        [build_problem(context, config) for context in contexts],
        [make_source(lm, context, config) for context in contexts],
        layer=config.write.shift_layer,
        config=config.target,
        progress=progress,
    )
    lengths = torch.stack([shift.after.norm() for shift in shifts]).double().sort().values
    return float(lengths[: max(1, round((1 - _DROPPED) * len(lengths)))].mean())


def anchored(shifts: Sequence[TargetShift], length: float) -> tuple[TargetShift, ...]:
    """Scale each wanted state to a length: v ← v·a/‖v‖ (NAS)."""
    return tuple(shift.reaching(shift.after * (length / shift.after.norm())) for shift in shifts)
