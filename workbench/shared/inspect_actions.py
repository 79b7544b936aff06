"""Work of the inspection pages, in a separate queue, stored with the fingerprint of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kgmet.base.errors import KgmetError, RequestError
from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.progress import Progress
from kgmet.editing.config import config_to_mapping
from kgmet.editing.context import EditContext
from kgmet.editing.plan import SearchedEdits
from kgmet.fact import FactEdit
from kgmet.inspect.compare_editors import compare_editors
from kgmet.inspect.comparison import Candidate, EditorComparison
from kgmet.inspect.lens import LensReading, read_lens
from kgmet.inspect.overlap import measure_drift, measure_overlap
from kgmet.inspect.settings import settings_of
from kgmet.inspect.shift import ShiftTrace, trace_shifts
from kgmet.inspect.spectrum import inspect_writes
from kgmet.inspect.texts import InspectedText, drift_texts, shift_texts
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import EditPatch
from workbench.drawing.protection import Protection
from workbench.running import jobs
from workbench.running.jobs import Job
from workbench.running.resources import Resident, catalogue, store
from workbench.shared.actions import context_of
from workbench.state.compared import Compared
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft, StackEntry

__all__ = [
    "SHIFT",
    "comparable",
    "comparable_edits",
    "compare",
    "comparison_fingerprint",
    "edit_to_compare",
    "is_new",
    "queue",
    "lens_at",
    "look_job",
    "look_under_way",
    "protection_from",
    "protection_of",
    "seen_from",
    "seen_with",
    "start_look",
    "trace_shift_of",
    "use_cutoff",
]

SHIFT = "shift"
"""Name of the result with the traces of the Shift page."""
MOST_COMPARED = 40
"""Most edits in the edit × edit heatmap."""


def queue(state: WorkbenchState) -> str:
    """Return the name of this session's inspection queue, which never keeps an edit from starting."""
    return f"{state.session_id}/look"


def seen_from(state: WorkbenchState, resident: Resident, entry: StackEntry, *parts: Any) -> str:
    """Return the fingerprint of an inspection's inputs: model, edit, earlier edits, and further values."""
    return seen_with(state, resident.lm, entry, *parts)


def seen_with(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, *parts: Any) -> str:
    """Return the same for a model."""
    under = [item.id for item in state.live(lm, before=entry.id)]
    return fingerprint_value([lm.fingerprint, entry.id, under, *parts])


def look_job(state: WorkbenchState, name: str, made_from: str) -> Job | None:
    """Return the job that computes this result, if it was started."""
    return jobs.latest(queue(state), f"{name} {made_from}")


def look_under_way(state: WorkbenchState) -> Job | None:
    """Return this session's unfinished inspection, which must end before another can start, or ``None``."""
    job = jobs.latest(queue(state))
    return None if job is None or job.is_finished else job


def start_look(
    state: WorkbenchState, name: str, work: Callable[[Progress], Any], *, made_from: str, title: str
) -> str | None:
    """Start a job whose value is stored under `name`; return a message if that is not possible."""

    def kept(progress: Progress) -> None:
        state.keep(name, work(progress), made_from=made_from)

    return jobs.start(f"{name} {made_from}", kept, queue(state), title=title)


def texts_of(entry: StackEntry, edit: FactEdit) -> tuple[InspectedText, ...]:
    """Return the inspection inputs of one edit of a patch."""
    context: EditContext = context_of(entry, settings_of(entry.patch), edit)
    return shift_texts(context, settings_of(entry.patch), patch=entry.patch)


def trace_shift_of(
    state: WorkbenchState, resident: Resident, entry: StackEntry, edit: FactEdit
) -> Callable[[Progress], list[ShiftTrace]]:
    """Compute the Shift page: every text of one edit with its patch off and on, earlier edits on in both."""
    earlier = state.live_patches(resident.lm, before=entry.id)

    def work(progress: Progress) -> list[ShiftTrace]:
        return trace_shifts(resident.lm, entry.patch, texts_of(entry, edit), earlier=earlier, progress=progress)

    return work


def lens_at(
    state: WorkbenchState, resident: Resident, entry: StackEntry, text: InspectedText, position: int
) -> LensReading:
    """Return the logit lens at one token, cached until another is requested."""
    made_from = seen_from(state, resident, entry, text, position)

    def read() -> LensReading:
        earlier = state.live_patches(resident.lm, before=entry.id)
        return read_lens(resident.lm, entry.patch, text, position=position, earlier=earlier)

    return state.remembered("lens", read, made_from=made_from)


def protection_from(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, edit: FactEdit) -> str:
    """Return the fingerprint of what the Orthogonality page is measured from, with the compared edits."""
    return seen_with(state, lm, entry, edit.id, [item.id for item in comparable(state, lm, entry)])


def protection_of(
    state: WorkbenchState, resident: Resident, entry: StackEntry, edit: FactEdit
) -> Callable[[Progress], Protection]:
    """Compute the Orthogonality page: the patch's spectra, drift on one edit's texts, all live edits' keys."""
    lm, statistics, config = resident.lm, resident.statistics, settings_of(entry.patch)
    earlier = state.live_patches(lm, before=entry.id)
    patches = [item.patch for item in comparable(state, lm, entry)]

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


def comparable(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> list[StackEntry]:
    """Return the newest live edits that share a layer with this one, so that keys can be compared."""
    shared = _common_layers([entry.patch])
    chosen = [entry] if shared else []
    for item in reversed(state.live(lm)):
        both = shared & _common_layers([item.patch])
        if item.id != entry.id and both and len(chosen) < MOST_COMPARED:
            shared = both
            chosen.append(item)
    return sorted(chosen, key=state.stack.index)


def _common_layers(patches: Sequence[EditPatch]) -> set[int]:
    """Return the layers at which all these patches have updates and keys."""
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
    """Start the job ``compare``: make the edit with every candidate; partial results are stored under ``compare``.

    `chosen` is one of `comparable_edits`; an applied edit is made again in place, a typed one after all live edits.
    `rows` are the candidates as typed.
    """
    lm, under = resident.lm, chosen.partition("/")[0] or None
    earlier = state.live_patches(lm, before=under)
    made_from = comparison_fingerprint(state, resident, edit, candidates, under=under)
    searched = _searched(state, lm, under)

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
            searched=searched,
            on_result=keep,
            progress=progress,
        )

    return jobs.start("compare", work, state.session_id, title=f"Compare {len(candidates)} ways of {edit.prompt}")


def _searched(state: WorkbenchState, lm: LoadedLM, under: str | None) -> dict[str, SearchedEdits]:
    """Return, by editor, the search of an applied edit, if it was made on the live edits before it."""
    entry = None if under is None else state.entry(under)
    if entry is None or entry.searched is None or entry.patch.model_fingerprint != lm.fingerprint:
        return {}
    return {entry.patch.editor: entry.searched} if state.is_as_made(entry, lm) else {}


def comparable_edits(state: WorkbenchState) -> dict[str, str]:
    """Return the choices for a comparison with labels; the empty choice is the typed fact, if not applied yet.

    An edit of an applied patch is identified by its entry's id, plus a slash and the edit's id if there are several.
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
    """Return the edit of a choice.

    Raises:
        RequestError: if the typed fact is invalid, or the chosen edit no longer exists.
    """
    if not chosen:
        return state.draft.edit
    entry_id, _, edit_id = chosen.partition("/")
    entry = state.entry(entry_id)
    for edit in () if entry is None else entry.patch.edits:
        if edit_id in ("", edit.id):
            return edit
    raise RequestError("This edit is no longer in the ledger. Choose another one.")


def comparison_fingerprint(
    state: WorkbenchState, resident: Resident, edit: FactEdit, candidates: Sequence[Candidate], *, under: str | None
) -> str:
    """Return the fingerprint of everything a comparison depends on."""
    live = [item.id for item in state.live(resident.lm, before=under)]
    columns = [
        (candidate.label, candidate.editor.name, config_to_mapping(candidate.config)) for candidate in candidates
    ]
    return fingerprint_value([resident.lm.fingerprint, edit.to_json(), columns, live])


def is_new(state: WorkbenchState, draft: FactDraft) -> bool:
    """Return whether the typed fact is not applied yet; incomplete texts count as new."""
    if draft.is_blank:
        return False
    try:
        typed = draft.edit
    except KgmetError:
        return True
    return all(edit.id != typed.id for entry in state.stack for edit in entry.patch.edits)
