"""The forecast of an edit, made on the Foresee page, for other pages: which known facts move most, and how far."""

from __future__ import annotations

from kgmet.editing.foresee import Foreseen, KeptForecast
from kgmet.fact import FactEdit
from kgmet.forecast.check import CheckedForecast
from kgmet.graph.relations import RelationCatalogue
from kgmet.lm.load.loaded import LoadedLM
from workbench.drawing.graph_story import Move
from workbench.running.resources import Resident, store
from workbench.shared.inspect_actions import seen_with
from workbench.state.session import WorkbenchState
from workbench.state.values import Result, StackEntry

__all__ = ["CHECKED", "FORESEEN", "SIZES", "forecast_of", "foreseen_from", "moves_of"]

FORESEEN, CHECKED = "foresee", "foresee-checked"
"""Names of the results: the forecast, and the same facts measured."""
SIZES = (60, 120, 300, 600)
"""Selectable numbers of known facts."""


def foreseen_from(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, n_fact: int) -> str:
    """Return the fingerprint of what the forecast of an applied edit is made from."""
    return seen_with(state, lm, entry, "foresee", n_fact, store().fingerprint)


def forecast_of(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> tuple[Result, Result | None] | None:
    """Return the forecast of an applied edit, of any number of facts, and what was measured of it.

    One that was made here and still holds comes before one that came with the edit from a link.
    """
    whence = [foreseen_from(state, lm, entry, n_fact) for n_fact in SIZES]
    found = next((known for made_from in whence if (known := state.fresh(FORESEEN, made_from)) is not None), None)
    if found is not None:
        return found, state.fresh(CHECKED, found.made_from)
    came, asked = entry.figures.get(FORESEEN), entry.figures.get(CHECKED)
    if came is None or came.value.model_fingerprint != lm.fingerprint:
        return None
    return came, None if asked is None or asked.made_from != came.made_from else asked


def moves_of(
    state: WorkbenchState, resident: Resident | None, edit: FactEdit, catalogue: RelationCatalogue, *, most: int = 8
) -> tuple[Move, ...]:
    """Return the facts that move most with an edit, measured where they were measured, else forecast.

    Empty if this edit was not forecast with this model.
    """
    if resident is None:
        return ()
    known, asked = state.result(FORESEEN), state.result(CHECKED)
    if known is None or not _is_of(known.value, resident.lm, edit):
        entry = next((item for item in reversed(state.stack) if edit.id in {own.id for own in item.patch.edits}), None)
        came = None if entry is None else forecast_of(state, resident.lm, entry)
        if came is None:
            return ()
        known, asked = came
    foreseen: Foreseen | KeptForecast = known.value
    measured: dict[str, tuple[float, float]] = {}
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


def _is_of(foreseen: Foreseen | KeptForecast, lm: LoadedLM, edit: FactEdit) -> bool:
    return foreseen.model_fingerprint == lm.fingerprint and edit.id in {item.id for item in foreseen.edits}
