"""`ask_before_and_now`: what a subject's prompts gave before a change, and what they give with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.graph.phrasing import fill
from kgmet.graph.reading.chains import GraphReader
from kgmet.graph.relations import RelationCatalogue, RelationSpec
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.continue_texts import Continuation, continue_texts
from kgmet.lm.say.score import next_logits

__all__ = ["ChangedAnswer", "ask_before_and_now"]

_MOST_RELATIONS = 12
_AT_ONCE = 64
_READ = 1000
_HOW = Continuation(max_new_tokens=6)


@dataclass(frozen=True, kw_only=True)
class ChangedAnswer:
    """One prompt about a subject: what followed it `before` and what follows `now`, both greedy.

    `divergence` is the Kullback-Leibler divergence of the next token's distribution, in nats: from before to now.
    """

    entity: Entity
    relation: str
    prompt: str
    before: str
    now: str
    divergence: float


def ask_before_and_now(
    base: LoadedLM,
    edited: LoadedLM,
    attach: Callable[[], AbstractContextManager[None]],
    subjects: Sequence[Entity],
    store: TripleStore,
    catalogue: RelationCatalogue,
    *,
    progress: Progress | None = None,
) -> tuple[ChangedAnswer, ...]:
    """Ask both models what the catalogue can ask of each subject; of each subject the largest change comes first.

    Args:
        base: the base model.
        edited: the edited model; the base model itself if `attach` attaches the change.
        attach: opens the edited model's patches.
        subjects: whom to ask about, in order.
        store: says which relations a subject has.
        catalogue: wordings of relations.
        progress: receives every batch and can cancel.
    """
    progress, reader = progress or Silent(), GraphReader(store, limit=_READ)
    asked = [
        (entity, spec, fill(spec.cloze[0], entity))
        for entity in subjects
        for spec in _relations(entity, reader, catalogue)
    ]
    found: list[ChangedAnswer] = []
    for begin in range(0, len(asked), _AT_ONCE):
        progress.report(ProgressEvent(stage=Stage.PROBE, done=begin, total=len(asked)))
        progress.check()
        part = asked[begin : begin + _AT_ONCE]
        prompts = [prompt for _, _, prompt in part]
        first, before = _said(base, prompts)
        with attach():
            second, now = _said(edited, prompts)
        apart = (first.exp() * (first - second)).sum(1).clamp(min=0).tolist()
        found += [
            ChangedAnswer(entity=entity, relation=spec.label, prompt=prompt, before=old, now=new, divergence=value)
            for (entity, spec, prompt), old, new, value in zip(part, before, now, apart, strict=True)
        ]
    order = {entity.id: place for place, entity in enumerate(subjects)}
    return tuple(sorted(found, key=lambda answer: (order[answer.entity.id], -answer.divergence)))


def _relations(entity: Entity, reader: GraphReader, catalogue: RelationCatalogue) -> list[RelationSpec]:
    """Return the relations the graph has of a subject, then those that fit its type."""
    known = [triple.relation.id for triple in reader.facts(entity) if triple.relation.id in catalogue]
    fitting = [spec.id for spec in catalogue if entity.type and entity.type in spec.subject_type.split("|")]
    return [catalogue.spec(relation) for relation in list(dict.fromkeys([*known, *fitting]))[:_MOST_RELATIONS]]


def _said(lm: LoadedLM, prompts: Sequence[str]) -> tuple[Tensor, list[str]]:
    with torch.no_grad():
        logits = next_logits(lm, prompts).float().cpu()
    return logits.log_softmax(-1), [text.split("\n", 1)[0].strip() for text in continue_texts(lm, prompts, how=_HOW)]
