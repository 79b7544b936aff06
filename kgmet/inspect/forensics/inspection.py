"""`inspect_edit`: what a patch, an adapter or a checkpoint changed, whose work that looks like, and about whom."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgmet.base.errors import ConfigError
from kgmet.base.fingerprint import plain
from kgmet.base.progress import Progress, Silent
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity
from kgmet.inspect.forensics.answers import ChangedAnswer, ask_before_and_now
from kgmet.inspect.forensics.changes import ChangedModel, EditedKind, read_changes
from kgmet.inspect.forensics.signs import Origin, read_signs
from kgmet.inspect.forensics.subjects import SubjectScan, SubjectScore, rank_subjects, subjects_of
from kgmet.inspect.forensics.undo import undo_patch
from kgmet.lm.load.loaded import LoadedLM, load_lm
from kgmet.write.adapter import attached_lora
from kgmet.write.patch import EditPatch, attached_updates
from kgmet.write.statistics import KeyStatistics

__all__ = ["EditInspection", "claimed_subjects", "inspect_edit", "most_subjects"]

SHOWN = 100
"""Subjects listed in a report."""
_ASKED = 10
_OUTLIER = 6.0
"""Deviations above the median from which a subject stands out."""
_FAR = 10.0
"""Times the median from which it does too: one rank-one write moves all names a little, and so widens the deviation. Of
LoRA fine-tunes on text the first name reaches 5.5 deviations and 6.5 times (docs/forensics.md)."""

_SHARE = 0.5
"""Smallest response of its own that a claimed subject has, as a share of the largest response."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EditInspection:
    """The result. `claimed` are the subjects that stand out, the first of `scan`; `answers` are about the first ranked.

    `undo` is the patch of −ΔW, for the model with the fingerprint it names; ``None`` for the reason in `no_undo`.
    """

    base: str
    changed: ChangedModel
    origin: Origin
    scan: SubjectScan
    claimed: tuple[SubjectScore, ...]
    answers: tuple[ChangedAnswer, ...]
    undo: EditPatch | None
    no_undo: str = ""

    @property
    def verdict(self) -> str:
        """One sentence: what was found."""
        if not self.changed.changes:
            return "No change found: every weight is that of the base model."
        if not self.claimed:
            return f"No edit of a subject found. The change looks like {self.origin.looks_like}."
        names = ", ".join(score.entity.label for score in self.claimed[:5])
        more = f" and {len(self.claimed) - 5} more" if len(self.claimed) > 5 else ""
        return f"Edited, it seems: {names}{more}. The change looks like {self.origin.looks_like}."

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, with the first `SHOWN` subjects."""
        return {
            "base": self.base,
            "edited": self.changed.source,
            "kind": self.changed.kind.value,
            "verdict": self.verdict,
            "changes": [plain(change) for change in self.changed.changes],
            "origin": plain(self.origin),
            "claimed": [score.entity.id for score in self.claimed],
            "ranked": len(self.scan.scores),
            "subjects": [
                {"id": score.entity.id, "label": score.entity.label, "response": score.response, "times": score.times}
                for score in self.scan.scores[:SHOWN]
            ],
            "answers": [
                {
                    "subject": answer.entity.label,
                    "relation": answer.relation,
                    "prompt": answer.prompt,
                    "before": answer.before,
                    "now": answer.now,
                    "divergence": answer.divergence,
                }
                for answer in self.answers
            ],
            "undo": self.undo is not None,
            "no_undo": self.no_undo,
        }


def most_subjects(changed: ChangedModel) -> int | None:
    """Return the most subjects that a change can have sent elsewhere, each to its own place; ``None`` if unknown.

    A change of rank r moves at most r independent keys independently, so the largest rank of a down-projection is the
    limit. A rank that is only a lower bound sets none.
    """
    weights = {update.weight_name for update in changed.updates}
    written = [change for change in changed.changes if change.name in weights]
    if any(change.rank is None or change.is_rank_bound for change in written):
        return None
    return max((change.rank or 0 for change in written), default=0)


def claimed_subjects(scan: SubjectScan, origin: Origin, *, most: int | None = None) -> tuple[SubjectScore, ...]:
    """Return the subjects that stand out from all others, the strongest first; none if it looks like training.

    The responses of many names are about log-normal, so each is measured in deviations of the logarithm from its
    median; the deviation is the scaled median absolute one, which a few edited subjects do not change.

    Args:
        scan: the ranking.
        origin: what the change looks like.
        most: claim only among as many of the first, see `most_subjects`.
    """
    if origin.is_training or len(scan.scores) < 3:
        return ()
    logs = [math.log(max(score.response, 1e-30)) for score in scan.scores]
    middle = statistics.median(logs)
    spread = 1.4826 * statistics.median(abs(value - middle) for value in logs)
    least = _SHARE * scan.scores[0].response
    far = min(middle + _OUTLIER * max(spread, 1e-6), math.log(_FAR) + middle)
    return tuple(score for score in scan.scores[:most] if score.own >= least and math.log(max(score.own, 1e-30)) > far)


def inspect_edit(
    lm: LoadedLM,
    edited: Path,
    *,
    store: TripleStore,
    catalogue: RelationCatalogue | None = None,
    statistics: KeyStatistics | None = None,
    entities: Sequence[Entity] | None = None,
    with_answers: bool = True,
    progress: Progress | None = None,
) -> EditInspection:
    """Inspect a patch folder, an adapter folder or a model folder.

    Args:
        lm: the base model, with nothing attached.
        edited: the folder.
        store: the graph whose entities are ranked as subjects.
        catalogue: wordings of relations; by default the bundled one.
        statistics: the base model's key statistics; estimated if missing.
        entities: whom to rank; by default the store's subjects.
        with_answers: whether to ask the first subjects before and now. An edited checkpoint is loaded for that, beside
            the base model.
        progress: receives every stage and can cancel.

    Raises:
        BrokenArtifactError: if a file is missing, damaged, or does not fit the base model.
        StaleArtifactError: if a patch or adapter names another base model.
        ModelError: if the edited checkpoint cannot be loaded.
        Cancelled: if asked to stop.
    """
    progress, catalogue = progress or Silent(), catalogue or RelationCatalogue.load()
    keys = statistics or KeyStatistics(lm)
    changed = read_changes(lm, edited, progress=progress)
    layers = [update.layer for update in changed.updates]
    moments = keys.moments(layers, progress=progress) if layers else {}
    origin = read_signs(lm, changed, moments)
    whom = subjects_of(store, catalogue) if entities is None else entities
    scan = rank_subjects(lm, changed.updates, moments, whom, progress=progress)
    claimed = claimed_subjects(scan, origin, most=most_subjects(changed))
    other, attach = _edited(lm, changed, with_answers)
    asked = [score.entity for score in (claimed or scan.scores)[:_ASKED]] if with_answers else []
    answers = ask_before_and_now(lm, other, attach, asked, store, catalogue, progress=progress) if asked else ()
    undo, why = _undo(other, changed, is_loaded=with_answers)
    return EditInspection(
        base=lm.name,
        changed=changed,
        origin=origin,
        scan=scan,
        claimed=claimed,
        answers=answers,
        undo=undo,
        no_undo=why,
    )


def _edited(
    lm: LoadedLM, changed: ChangedModel, may_load: bool
) -> tuple[LoadedLM, Callable[[], AbstractContextManager[None]]]:
    """Return the model that answers for the edited one, and what attaches the change to it."""
    if changed.kind is EditedKind.MODEL and may_load and changed.changes:
        other = load_lm(changed.source, device=lm.device)
        return other, nullcontext

    @contextmanager
    def attach() -> Iterator[None]:
        with attached_updates(changed.updates, lm), attached_lora(changed.others, lm):
            yield

    return lm, attach


def _undo(other: LoadedLM, changed: ChangedModel, *, is_loaded: bool) -> tuple[EditPatch | None, str]:
    if changed.kind is EditedKind.MODEL and changed.changes and not is_loaded:
        return None, "The patch that undoes the change is for the edited checkpoint, which was not loaded."
    try:
        return undo_patch(other, changed), ""
    except ConfigError as error:
        return None, str(error)
