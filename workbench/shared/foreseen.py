"""The forecast of an edit, made on the Foresee page, for other pages: which known facts move most, and how far."""

from __future__ import annotations

from kgmet.editing.foresee import Foreseen, KeptForecast
from kgmet.fact import FactEdit
from kgmet.forecast.check import CheckedForecast
from kgmet.graph.relations import RelationCatalogue
from workbench.drawing.graph_story import Move
from workbench.running.resources import Resident
from workbench.state.session import WorkbenchState

__all__ = ["CHECKED", "FORESEEN", "moves_of"]

FORESEEN, CHECKED = "foresee", "foresee-checked"
"""Names of the results: the forecast, and the same facts measured."""


def moves_of(
    state: WorkbenchState, resident: Resident | None, edit: FactEdit, catalogue: RelationCatalogue, *, most: int = 8
) -> tuple[Move, ...]:
    """Return the facts that move most with an edit, measured where they were measured, else forecast.

    Empty if this edit was not forecast with this model.
    """
    known = state.result(FORESEEN)
    if known is None or resident is None:
        return ()
    foreseen: Foreseen | KeptForecast = known.value
    if foreseen.model_fingerprint != resident.lm.fingerprint:
        return ()
    if edit.id not in {item.id for item in foreseen.edits}:
        return ()
    measured: dict[str, tuple[float, float]] = {}
    asked = state.result(CHECKED)
    if asked is not None and asked.made_from == known.made_from:
        checked: CheckedForecast = asked.value
        sides = zip(checked.forecasts, checked.before.exp().tolist(), checked.after.exp().tolist(), strict=True)
        measured = {item.fact.prompt.id: (before, after) for item, before, after in sides}
    moves = []
    for item in foreseen.strongest_first:
        prompt = item.fact.prompt
        before, after = measured.get(prompt.id, (item.before, item.after))
        moves.append(
            Move(
                subject_id=prompt.subject_id,
                subject=prompt.subject,
                relation=catalogue.spec(prompt.relation).label if prompt.relation in catalogue else "",
                answer=item.fact.answer,
                before=before,
                after=after,
                is_measured=prompt.id in measured,
            )
        )
    return tuple(sorted(moves, key=lambda move: -abs(move.after - move.before))[:most])
