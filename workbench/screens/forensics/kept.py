"""How the inspection of an edit is kept over a restart of the server.

The weights that changed are not kept, and so the undo patch is not either: the result can be read again, not applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.inspect.forensics.answers import ChangedAnswer
from kgmet.inspect.forensics.changes import ChangedModel, EditedKind, WeightChange
from kgmet.inspect.forensics.inspection import EditInspection
from kgmet.inspect.forensics.signs import Origin
from kgmet.inspect.forensics.subjects import SubjectScan, SubjectScore
from workbench.screens.forensics import view
from workbench.screens.forensics.actions import RESULT
from workbench.state.kept import ResultCodec

__all__ = ["CODECS", "inspection_from_json", "inspection_to_json"]

_NO_UNDO = "The undo patch is not kept when the server is started again. Inspect the edit once more to get it."


@dataclass(frozen=True, kw_only=True)
class _SavedInspection:
    """An `EditInspection` without weights; `claimed` are places in `scores`."""

    base: str
    source: str
    kind: EditedKind
    dtype: str
    stated: tuple[str, ...]
    changes: tuple[WeightChange, ...]
    origin: Origin
    scores: tuple[SubjectScore, ...]
    claimed: tuple[int, ...]
    answers: tuple[ChangedAnswer, ...]
    no_undo: str


def inspection_to_json(found: EditInspection) -> dict[str, Any]:
    """Return an inspection without weights."""
    changed, scores = found.changed, found.scan.scores
    saved = _SavedInspection(
        base=found.base,
        source=changed.source,
        kind=changed.kind,
        dtype=changed.dtype,
        stated=changed.stated,
        changes=changed.changes,
        origin=found.origin,
        scores=scores,
        claimed=tuple(scores.index(score) for score in found.claimed),
        answers=found.answers,
        no_undo=found.no_undo or _NO_UNDO,
    )
    return dict(plain(saved))


def inspection_from_json(data: Any) -> EditInspection:
    """Read what `inspection_to_json` made.

    Raises:
        ValueError: if it is something else, or lacks what the page shows of it.
    """
    saved = value_from(_SavedInspection, data, "This is no inspection of an edit")
    if any(not 0 <= place < len(saved.scores) for place in saved.claimed):
        raise ValueError("a subject stands out that was not ranked")
    changed = ChangedModel(
        source=saved.source,
        kind=saved.kind,
        changes=saved.changes,
        updates=(),
        stated=saved.stated,
        dtype=saved.dtype,
    )
    found = EditInspection(
        base=saved.base,
        changed=changed,
        origin=saved.origin,
        scan=SubjectScan(scores=saved.scores),
        claimed=tuple(saved.scores[place] for place in saved.claimed),
        answers=saved.answers,
        undo=None,
        no_undo=saved.no_undo,
    )
    view.facts(found)
    view.change_table(found)
    view.subject_table(found)
    return found


CODECS = (
    ResultCodec(
        name=RESULT,
        what="The inspection of an edit",
        to_json=inspection_to_json,
        from_json=inspection_from_json,
    ),
)
