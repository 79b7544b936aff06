"""Remedies of an edit that did not take: tried on the side, and used with one click."""

from __future__ import annotations

from dataclasses import replace

from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.progress import Progress
from kgmet.editing.context import EditContext
from kgmet.editing.editors import EDITORS
from kgmet.editing.remedies import Remedies, TriedRemedy, remedies_of, try_remedies
from kgmet.inspect.settings import settings_of
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.edit_verdict import Outcome
from workbench.running import jobs
from workbench.running.resources import Resident, catalogue, store
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["KIND", "can_be_tried", "look_for", "remedies_for", "use"]

KIND = "remedies"
"""Job kind and name of the result."""


def can_be_tried(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> bool:
    """Return whether this is the newest edit, of this model, with a fact that the model does not say."""
    report = entry.report
    return (
        report is not None
        and report.verdict.outcome is not Outcome.TOOK
        and report.editor in EDITORS
        and entry.patch.model_fingerprint == lm.fingerprint
        and len(entry.patch.edits) == 1
        and bool(state.stack)
        and state.stack[-1].id == entry.id
        and _is_on_top(state, lm, entry)
    )


def look_for(state: WorkbenchState, resident: Resident, entry: StackEntry, context: EditContext) -> None:
    """Start the job ``remedies`` on the side. Nothing is attached; any other job stops it."""
    lm, report, config = resident.lm, entry.report, settings_of(entry.patch)
    if report is None:
        return
    editor, earlier, made_from = EDITORS[report.editor], state.live_patches(lm, before=entry.id), _made_from(lm, entry)
    graph, words = store(), catalogue()
    candidates = remedies_of(report, editor=editor, config=config, wordings=context.paraphrases)

    def work(progress: Progress) -> None:
        found = try_remedies(
            lm,
            context,
            entry.patch,
            candidates,
            statistics=resident.statistics,
            graph=graph,
            catalogue=words,
            earlier=earlier,
            exclude=entry.exclude,
            leave=entry.leave,
            progress=progress,
            seen=lambda so_far: state.keep(KIND, so_far, made_from=made_from),
        )
        state.keep(KIND, found, made_from=made_from)

    jobs.start(KIND, work, state.session_id, title=f"Remedies for {entry.name}", is_aside=True)


def remedies_for(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> Remedies | None:
    """Return what was found for this edit so far; ``None`` if nothing was tried."""
    known = state.fresh(KIND, _made_from(lm, entry))
    if known is None:
        return None
    found: Remedies = known.value
    return found


def use(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, tried: TriedRemedy) -> str | None:
    """Put a remedy in the place of the edit that did not take: the very patch that was tried, and its report."""
    if state.is_busy:
        return "A job is running; stop it first."
    made = tried.edited
    new = StackEntry.made(made.plan, made.report, based_on=entry.based_on)
    with state.record.lock:
        if not can_be_tried(state, lm, entry):
            return "Edits were switched or undone since. Apply the edit again."
        draft = state.draft
        fact = entry.edit
        is_typed = fact is not None and (draft.subject, draft.new_object) == (fact.subject, fact.new_object)
        template = draft.template if tried.typed is None else tried.remedy.edit.template
        state.record.change(
            stack=(*state.stack[:-1], new),
            redo=(),
            focus=new.id,
            draft=replace(draft, template=template) if is_typed else draft,
        )
    return None


def _is_on_top(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> bool:
    return entry.is_on and state.is_as_made(entry, lm)


def _made_from(lm: LoadedLM, entry: StackEntry) -> str:
    return fingerprint_value([lm.fingerprint, entry.id, entry.based_on])
