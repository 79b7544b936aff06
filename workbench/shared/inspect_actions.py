"""What the pages that look inside an edit ask for: work in its own queue, kept with what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kgmet.base.errors import KgmetError, RequestError
from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.progress import Progress
from kgmet.editing.config import config_to_mapping
from kgmet.editing.context import EditContext
from kgmet.fact import FactEdit
from kgmet.inspect.compare_editors import compare_editors
from kgmet.inspect.comparison import Candidate, EditorComparison
from kgmet.inspect.lens import LensReading, read_lens
from kgmet.inspect.overlap import Drift, KeyOverlap, measure_drift, measure_overlap
from kgmet.inspect.settings import settings_of
from kgmet.inspect.shift import ShiftTrace, trace_shifts
from kgmet.inspect.spectrum import LayerWrite, inspect_writes
from kgmet.inspect.texts import InspectedText, drift_texts, shift_texts
from kgmet.write.patch import EditPatch
from workbench.running import jobs
from workbench.running.jobs import Job
from workbench.running.resources import Resident, catalogue, store
from workbench.shared.actions import context_of, edit_from_draft
from workbench.state.compared import Compared
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft, StackEntry

__all__ = [
    "Protection",
    "comparable",
    "comparable_edits",
    "compare",
    "comparison_fingerprint",
    "edit_to_compare",
    "is_new",
    "queue",
    "lens_at",
    "look_job",
    "protection_of",
    "seen_from",
    "start_look",
    "trace_shift_of",
    "use_cutoff",
]

MOST_COMPARED = 40
"""Edits in the edit × edit heatmap."""


def queue(state: WorkbenchState) -> str:
    """The queue's name for looks of this session: they wait for the worker, and never keep an edit from starting."""
    return f"{state.session_id}/look"


def seen_from(state: WorkbenchState, resident: Resident, entry: StackEntry, *parts: Any) -> str:
    """Fingerprint of what a look at an edit depends on: the model, the edit, those under it, and what else is given."""
    under = [item.id for item in state.live(resident.lm, before=entry.id)]
    return fingerprint_value([resident.lm.fingerprint, entry.id, under, *parts])


def look_job(state: WorkbenchState, name: str, made_from: str) -> Job | None:
    """The job that makes this very result, if it was started."""
    return jobs.latest(queue(state), f"{name} {made_from}")


def start_look(
    state: WorkbenchState, name: str, work: Callable[[Progress], Any], *, made_from: str, title: str
) -> str | None:
    """Start a job whose value is kept under `name`. A message where that is not possible."""

    def kept(progress: Progress) -> None:
        state.keep(name, work(progress), made_from=made_from)

    return jobs.start(f"{name} {made_from}", kept, queue(state), title=title)


def texts_of(entry: StackEntry, edit: FactEdit) -> tuple[InspectedText, ...]:
    """What one edit of a patch is looked at through."""
    context: EditContext = context_of(entry, settings_of(entry.patch), edit)
    return shift_texts(context, settings_of(entry.patch), patch=entry.patch)


def trace_shift_of(
    state: WorkbenchState, resident: Resident, entry: StackEntry, edit: FactEdit
) -> Callable[[Progress], list[ShiftTrace]]:
    """The work behind the Shift page: every text of one edit with its patch off and on, edits under it on in both."""
    earlier = state.live_patches(resident.lm, before=entry.id)

    def work(progress: Progress) -> list[ShiftTrace]:
        return trace_shifts(resident.lm, entry.patch, texts_of(entry, edit), earlier=earlier, progress=progress)

    return work


def lens_at(
    state: WorkbenchState, resident: Resident, entry: StackEntry, text: InspectedText, position: int
) -> LensReading:
    """The logit lens at one token; remembered until another is asked for."""
    made_from = seen_from(state, resident, entry, text, position)

    def read() -> LensReading:
        earlier = state.live_patches(resident.lm, before=entry.id)
        return read_lens(resident.lm, entry.patch, text, position=position, earlier=earlier)

    return state.remembered("lens", read, made_from=made_from)


@dataclass(frozen=True, eq=False, kw_only=True)
class Protection:
    """What the Orthogonality page draws. `overlap` is ``None`` where there are no two edits to compare."""

    writes: tuple[LayerWrite, ...]
    drift: Drift
    overlap: KeyOverlap | None


def protection_of(
    state: WorkbenchState, resident: Resident, entry: StackEntry, edit: FactEdit
) -> Callable[[Progress], Protection]:
    """The work behind the Orthogonality page: the patch's spectra, drift at one edit's texts, all live edits' keys."""
    lm, statistics, config = resident.lm, resident.statistics, settings_of(entry.patch)
    earlier = state.live_patches(lm, before=entry.id)
    patches = [item.patch for item in comparable(state, resident, entry)]

    def work(progress: Progress) -> Protection:
        moments = statistics.moments([update.layer for update in entry.patch.updates], progress=progress)
        writes = inspect_writes(lm, entry.patch, moments, earlier=earlier, progress=progress)
        texts = drift_texts(context_of(entry, config, edit), config, patch=entry.patch)
        drift = measure_drift(lm, entry.patch, texts, earlier=earlier, progress=progress)
        overlap = None
        shared = [layer for layer in sorted(_common_layers(patches)) if layer in moments]
        if shared and sum(len(patch.edits) for patch in patches) > 1:
            free = statistics.free(shared, config.cutoff, progress=progress)
            overlap = measure_overlap(patches, free)
        return Protection(writes=tuple(writes), drift=drift, overlap=overlap)

    return work


def comparable(state: WorkbenchState, resident: Resident, entry: StackEntry) -> list[StackEntry]:
    """The newest live edits whose keys can be compared with this one's: all of them have a layer in common."""
    shared = _common_layers([entry.patch])
    chosen = [entry] if shared else []
    for item in reversed(state.live(resident.lm)):
        both = shared & _common_layers([item.patch])
        if item.id != entry.id and both and len(chosen) < MOST_COMPARED:
            shared = both
            chosen.append(item)
    return sorted(chosen, key=state.stack.index)


def _common_layers(patches: Sequence[EditPatch]) -> set[int]:
    """Layers that every one of these patches writes and keeps keys of."""
    each = [set(patch.keys) & {update.layer for update in patch.updates} for patch in patches]
    return set.intersection(*each) if each else set()


def use_cutoff(state: WorkbenchState, value: float) -> str | None:
    """Write the next edits with this absolute cutoff."""
    settings = {**state.settings, "cutoff": {"kind": "absolute", "value": value}}
    try:
        state.set_editor(state.editor.name, settings)
    except KgmetError as error:
        return str(error)
    return None


def compare(
    state: WorkbenchState,
    resident: Resident,
    edit: FactEdit,
    candidates: Sequence[Candidate],
    *,
    chosen: str = "",
    rows: Sequence[Mapping[str, Any]] = (),
) -> str | None:
    """Start the job ``compare``: the edit with every candidate; what is known so far is kept under ``compare``.

    `chosen` is the choice the page offered (see `comparable_edits`); an applied edit is made again in place, a typed
    one after all live edits. `rows` are the candidates as they were typed.
    """
    lm, under = resident.lm, chosen.partition("/")[0] or None
    earlier = state.live_patches(lm, before=under)
    made_from = comparison_fingerprint(state, resident, edit, candidates, under=under)

    def keep(comparison: EditorComparison) -> None:
        compared = Compared(comparison=comparison, chosen=chosen, rows=tuple(rows))
        state.keep("compare", compared, made_from=made_from)

    def work(progress: Progress) -> None:
        compare_editors(
            lm,
            edit,
            candidates,
            store=store(),
            catalogue=catalogue(),
            statistics=resident.statistics,
            earlier=earlier,
            on_result=keep,
            progress=progress,
        )

    return jobs.start("compare", work, state.session_id, title=f"Compare {len(candidates)} ways of {edit.prompt}")


def comparable_edits(state: WorkbenchState) -> dict[str, str]:
    """What can be compared: choice → what it is called. The empty choice is the typed fact, if it is not applied yet.

    An edit of an applied patch is its entry's id, and, where the patch has several, a stroke and the edit's id.
    """
    found: dict[str, str] = {}
    if is_new(state, state.draft):
        found[""] = f"Typed: {state.draft.subject} → {state.draft.new_object}"
    for entry in state.stack:
        edits = entry.patch.edits
        for edit in edits:
            about = "" if len(edits) == 1 else f" · {edit.subject} → {edit.new_object}"
            found[entry.id if len(edits) == 1 else f"{entry.id}/{edit.id}"] = f"Applied: {entry.name}{about}"
    return found


def edit_to_compare(state: WorkbenchState, chosen: str) -> FactEdit:
    """The edit of a choice.

    Raises:
        RequestError: if the typed fact is none, or the choice names an edit that is gone.
    """
    if not chosen:
        return edit_from_draft(state.draft)
    entry_id, _, edit_id = chosen.partition("/")
    entry = state.entry(entry_id)
    for edit in () if entry is None else entry.patch.edits:
        if edit_id in ("", edit.id):
            return edit
    raise RequestError("This edit is not in the ledger any more. Choose another one.")


def comparison_fingerprint(
    state: WorkbenchState, resident: Resident, edit: FactEdit, candidates: Sequence[Candidate], *, under: str | None
) -> str:
    """Of everything a comparison depends on."""
    live = [item.id for item in state.live(resident.lm, before=under)]
    columns = [
        (candidate.label, candidate.editor.name, config_to_mapping(candidate.config)) for candidate in candidates
    ]
    return fingerprint_value([resident.lm.fingerprint, edit.to_json(), columns, live])


def is_new(state: WorkbenchState, draft: FactDraft) -> bool:
    """Whether something was typed that is not applied already; texts that are no edit yet count as new."""
    if draft.is_blank:
        return False
    try:
        typed = edit_from_draft(draft)
    except KgmetError:
        return True
    return all(edit.id != typed.id for entry in state.stack for edit in entry.patch.edits)
