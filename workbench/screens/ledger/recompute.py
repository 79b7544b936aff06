"""Making edits again where the ledger was reordered or switched, so that each is made on what lies under it now.

Patches add up, so their order does not change what the model answers. But an edit was searched, and its neighbours'
and predecessors' keys were kept, with certain others on; with other ones on it might have been written differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kgmet.base.progress import Progress, ProgressEvent, Stage
from kgmet.editing.editors import EDITORS, editor_named
from kgmet.editing.plan import plan_edits
from kgmet.editing.report import report_edit
from kgmet.inspect.settings import settings_of
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.so_far import EditsSoFar
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.shared.actions import context_of
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["move", "outdated", "recompute"]


def move(state: WorkbenchState, entry_id: str, *, by: int) -> str | None:
    """Put an edit so many places later in the ledger (earlier, if `by` is negative); at an end it stays."""
    if state.is_busy:
        return "Work is under way; edits can be moved when it has ended."
    with state.record.lock:
        order = list(state.stack)
        entry = state.entry(entry_id)
        if entry is None:
            return "This edit is not there any more."
        place = order.index(entry)
        order.insert(max(0, place + by), order.pop(place))
        if tuple(order) != state.stack:
            state.record.change(stack=tuple(order))
    return None


def outdated(state: WorkbenchState, lm: LoadedLM) -> tuple[StackEntry, ...]:
    """Live edits that were searched with other edits on than lie under them now, or rest on one that was."""
    found: list[StackEntry] = []
    under: list[str] = []
    for entry in state.live(lm):
        rests_on_one = any(item.id in under for item in found)
        if _can_be_recomputed(entry) and (rests_on_one or tuple(under) != entry.based_on):
            found.append(entry)
        under.append(entry.id)
    return tuple(found)


def recompute(state: WorkbenchState, resident: Resident) -> str | None:
    """Start the job ``recompute``: search and write `outdated` edits again, in order, each with those under it on.

    They take their places all at once when the last one is done; stopped before, everything stays as it was.
    """
    lm, live = resident.lm, state.live(resident.lm)
    old = {entry.id for entry in outdated(state, lm)}
    if not old:
        return "All edits are up to date."

    def work(progress: Progress) -> int:
        made: dict[str, StackEntry] = {}
        under: list[StackEntry] = []
        for entry in live:
            if entry.id in old:
                progress.report(ProgressEvent(stage=Stage.RECOMPUTE, done=len(made), total=len(old)))
                progress.check()
                made[entry.id] = _made_anew(resident, entry, under, progress)
            under.append(made.get(entry.id, entry))
        progress.check()
        _put(state, made)
        return len(made)

    return jobs.start("recompute", work, state.session_id, title=f"Apply {len(old)} edits again")


def _can_be_recomputed(entry: StackEntry) -> bool:
    return bool(entry.patch.edits) and entry.patch.editor in EDITORS


def _made_anew(resident: Resident, entry: StackEntry, under: Sequence[StackEntry], progress: Progress) -> StackEntry:
    config = settings_of(entry.patch)
    earlier = [item.patch for item in under]
    plan = plan_edits(
        resident.lm,
        [context_of(entry, config, edit) for edit in entry.patch.edits],
        editor=editor_named(entry.patch.editor),
        statistics=resident.statistics,
        config=config,
        earlier=EditsSoFar.of(earlier),
        progress=progress,
    )
    report = report_edit(resident.lm, plan, earlier=earlier)
    return StackEntry.made(plan, report, based_on=tuple(item.id for item in under))


def _put(state: WorkbenchState, made: dict[str, StackEntry]) -> None:
    """Put the new ones in the old ones' places; names and notes are those of this moment."""
    with state.record.lock:
        stack = tuple(
            replace(made[entry.id], name=entry.name, note=entry.note) if entry.id in made else entry
            for entry in state.stack
        )
        focus = state.record.saved.focus
        focus = made[focus].id if focus in made else focus
        state.record.change(stack=stack, focus=focus)
