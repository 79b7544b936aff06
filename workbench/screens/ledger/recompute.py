"""Recomputing edits after the ledger was reordered or switched, so that each is based on the edits below it now.

Patches add up, so their order does not change the model's answers. But each edit was searched and written with certain
other edits on, and might have been written differently with others.
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
from workbench import wording
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.shared.actions import context_of
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["move", "outdated", "recompute"]


def move(state: WorkbenchState, entry_id: str, *, by: int) -> str | None:
    """Move an edit `by` places later in the ledger (earlier, if negative), but not beyond its ends."""
    if state.is_busy:
        return "A job is running; edits can be moved when it has ended."
    with state.record.lock:
        order = list(state.stack)
        entry = state.entry(entry_id)
        if entry is None:
            return "This edit no longer exists."
        place = order.index(entry)
        order.insert(max(0, place + by), order.pop(place))
        if tuple(order) != state.stack:
            state.record.change(stack=tuple(order))
    return None


def outdated(state: WorkbenchState, lm: LoadedLM) -> tuple[StackEntry, ...]:
    """Return live edits that were searched with other edits than those below them now, or depend on such an edit."""
    found: list[StackEntry] = []
    under: list[str] = []
    for entry in state.live(lm):
        rests_on_one = any(item.id in under for item in found)
        if _can_be_recomputed(entry) and (rests_on_one or tuple(under) != entry.based_on):
            found.append(entry)
        under.append(entry.id)
    return tuple(found)


def recompute(state: WorkbenchState, resident: Resident) -> str | None:
    """Start the job ``recompute``: search and write `outdated` edits again, in order, each with those below it on.

    They replace the old ones together when the last is done; if stopped before, nothing changes.
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

    return jobs.start("recompute", work, state.session_id, title=f"Apply {wording.count(len(old), 'edit')} again")


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
    """Replace the old edits by the new ones, keeping current names and notes."""
    with state.record.lock:
        stack = tuple(
            replace(made[entry.id], name=entry.name, note=entry.note) if entry.id in made else entry
            for entry in state.stack
        )
        focus = state.record.saved.focus
        focus = made[focus].id if focus in made else focus
        state.record.change(stack=stack, focus=focus)
