"""Actions of the Ledger page: switch, rename, remove, measure again, export, import."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from kgmet.base.cache import cache_dir
from kgmet.base.errors import ConfigError, KgmetError, StaleArtifactError
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress, ProgressEvent, Stage
from kgmet.editing.report import own_question
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.answer import Answer
from kgmet.measure.ask import ask
from kgmet.write.patch import EditPatch, attached, load_patch, save_patch
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.shared.archives import is_adapter, unpacked, zipped
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["EXPORTS", "Export", "Standing", "change_entries", "export", "import_file", "measure", "remove"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Present answer of one edit with all live edits, beside the answer right after the edit."""

    entry_id: str
    now: Answer


@dataclass(frozen=True, kw_only=True)
class Export:
    """A file for download or, if `data` is ``None``, a folder on this machine."""

    name: str
    data: bytes | None
    folder: str = ""
    note: str = ""


def change_entries(state: WorkbenchState, changed: Sequence[StackEntry]) -> str | None:
    """Replace entries by changed ones with the same id (switched, renamed, annotated)."""
    if state.is_busy and any(entry.is_on != getattr(state.entry(entry.id), "is_on", None) for entry in changed):
        return "A job is running; edits can be switched when it has ended."
    by_id = {entry.id: entry for entry in changed}
    with state.record.lock:
        state.record.change(stack=tuple(by_id.get(entry.id, entry) for entry in state.stack))
    return None


def remove(state: WorkbenchState, entry_id: str) -> str | None:
    """Remove one edit from any position of the stack; a redo puts it on top."""
    if state.is_busy:
        return "A job is running; stop it first."
    with state.record.lock:
        entry = state.entry(entry_id)
        if entry is None:
            return "This edit no longer exists."
        rest = tuple(item for item in state.stack if item.id != entry_id)
        state.record.change(stack=rest, redo=(*state.redo, entry))
    return None


def measure(state: WorkbenchState, resident: Resident) -> str | None:
    """Start the job ``standing``: ask every edit's own prompt with all live edits."""
    lm = resident.lm
    entries = [entry for entry in state.stack if entry.edit is not None]
    patches, made_from = state.live_patches(lm), state.fingerprint(lm.fingerprint, [entry.id for entry in entries])

    def work(progress: Progress) -> None:
        progress.report(ProgressEvent(stage=Stage.MEASURE, done=0, total=1))
        edits = [entry.edit for entry in entries if entry.edit is not None]
        with attached(patches, lm):
            now = ask(lm, [own_question(edit) for edit in edits])
        pairs = zip(entries, now, strict=True)
        found = {entry.id: Standing(entry_id=entry.id, now=answer) for entry, answer in pairs}
        state.keep("standing", found, made_from=made_from)

    return jobs.start("standing", work, state.session_id, title="Measure all edits")


def export(state: WorkbenchState, resident: Resident, entries: Sequence[StackEntry], way: str) -> str | None:
    """Start the job ``export``; its value is an `Export`. `way` is a key of `EXPORTS`."""
    make = EXPORTS[way][1]

    def work(progress: Progress) -> Export:
        progress.report(ProgressEvent(stage=Stage.EXPORT, done=0, total=1))
        return make(entries, resident.lm, progress)

    return jobs.start("export", work, state.session_id, title=f"Export as {EXPORTS[way][0]}")


def import_file(state: WorkbenchState, lm: LoadedLM, data: bytes, *, name: str) -> str | None:
    """Validate the patch in an untrusted zip file and put it on top of the stack.

    Only the files of a patch or an adapter are extracted, by their bare names.
    """
    try:
        patch = _read_patch(data, lm)
        if patch.model_fingerprint != lm.fingerprint:
            raise StaleArtifactError(
                f"{name!r} was made for model {patch.model_fingerprint}; loaded is {lm.name} ({lm.fingerprint}). "
                "Load that model first, on the Models page."
            )
        with attached(patch, lm):
            pass
    except KgmetError as error:
        return str(error)
    if state.entry(patch.id) is not None:
        return "This patch is already in the ledger."
    label = StackEntry.name_of(patch, PurePosixPath(name).stem)
    based_on = tuple(entry.id for entry in state.live(lm))
    state.record.push(StackEntry(patch=patch, name=label, note="imported", based_on=based_on))
    return None


def _read_patch(data: bytes, lm: LoadedLM) -> EditPatch:
    with unpacked(data, advice="Choose one that Export made.") as folder:
        if is_adapter(folder):
            from kgmet.write.adapter import import_lora

            return import_lora(folder, lm)
        return load_patch(folder)


def _as_patch(entries: Sequence[StackEntry], lm: LoadedLM, progress: Progress) -> Export:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "patch"
        for number, entry in enumerate(entries, start=1):
            save_patch(entry.patch, folder if len(entries) == 1 else folder / f"{number:02d}-{entry.id}")
        return Export(name="kgmet-patch.zip", data=zipped(folder))


def _as_adapter(entries: Sequence[StackEntry], lm: LoadedLM, progress: Progress) -> Export:
    from kgmet.write.export import export_lora

    with tempfile.TemporaryDirectory() as place:
        folder = export_lora([entry.patch for entry in entries], lm, Path(place) / "adapter")
        return Export(name="kgmet-lora-adapter.zip", data=zipped(folder), note="Load it with peft's PeftModel.")


def _as_merged(entries: Sequence[StackEntry], lm: LoadedLM, progress: Progress) -> Export:
    from kgmet.write.export import export_merged

    # The name stands for all of them, the model and its numbers: what is there already is then the very same.
    name = digest(lm.fingerprint, str(lm.dtype), *(entry.id for entry in entries))[:16]
    folder = cache_dir() / "exports" / f"merged-{name}"
    if folder.is_dir() and any(folder.iterdir()):
        return Export(name="merged", data=None, folder=str(folder), note="It was there already.")
    report = export_merged([entry.patch for entry in entries], lm, folder, progress=progress)
    note = f"Largest rounding error of any weight: {report.largest:.2g} ({report.dtype})."
    return Export(name="merged", data=None, folder=str(folder), note=note)


def _as_script(entries: Sequence[StackEntry], lm: LoadedLM, progress: Progress) -> Export:
    from workbench.screens.ledger.scripting import edit_script

    if not any(entry.patch.edits for entry in entries):
        raise ConfigError("None of these names its fact, so a script cannot repeat it. Export the patch.")
    data = edit_script(entries, lm.name, dtype=lm.dtype_name).encode()
    return Export(name="repeat_edits.py", data=data, note=_script_note(entries))


def _script_note(entries: Sequence[StackEntry]) -> str:
    """Describe how to run the script, and what it cannot repeat."""
    said = ["Save it in the workbench's folder and run it there with the same Python."]
    untold = [entry.name for entry in entries if not entry.patch.edits]
    if untold:
        said.append(f"Left out, because their facts are unknown: {', '.join(untold)}.")
    ids = [entry.id for entry in entries if entry.patch.edits]
    if any(list(entry.based_on) != ids[: ids.index(entry.id)] for entry in entries if entry.patch.edits):
        said.append("Some were searched with other edits on than in the script; their figures may differ.")
    return " ".join(said)


EXPORTS: dict[str, tuple[str, Callable[[Sequence[StackEntry], LoadedLM, Progress], Export]]] = {
    "patch": ("patch", _as_patch),
    "adapter": ("PEFT LoRA adapter", _as_adapter),
    "merged": ("merged checkpoint", _as_merged),
    "script": ("Python script", _as_script),
}
"""Export kind → (display name, function)."""


def renamed(entry: StackEntry, *, name: str, note: str, is_on: bool) -> StackEntry:
    """Return the entry with the typed name and note; a blank name keeps the old one."""
    return replace(entry, name=name.strip()[:200] or entry.name, note=note.strip()[:2000], is_on=is_on)
