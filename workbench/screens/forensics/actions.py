"""Actions of the Inspect page: where the edited model comes from, the inspection as a job, the undo patch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from kgmet.base.errors import KgmetError
from kgmet.base.files import expanded
from kgmet.base.progress import Progress
from kgmet.inspect.forensics.inspection import EditInspection, inspect_edit
from kgmet.inspect.forensics.subjects import subjects_of
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import EditPatch, save_patch
from workbench.running import jobs
from workbench.running.access import access
from workbench.running.resources import Resident, catalogue, store
from workbench.shared.archives import named_as, unpacked, zipped
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = [
    *("RESULT", "Source", "from_archive", "from_entry", "from_folder", "inspect", "put_undo", "title_of"),
    "undo_archive",
]

RESULT = "forensics"
"""Job kind and name of the result."""
Source = Callable[[], AbstractContextManager[Path]]
"""Opens the folder to inspect, for the length of a ``with``."""


def from_archive(data: bytes) -> Source:
    """Return a source that unpacks an untrusted zip file with a patch or an adapter."""
    return lambda: unpacked(data, advice="Pack one of them with its tensors.")


def from_folder(path: str) -> Source:
    """Return a source that reads a folder of this machine.

    Raises:
        ConfigError: if the server is shared.
    """
    access().check_folder(path)

    @contextmanager
    def opened() -> Iterator[Path]:
        yield expanded(path)

    return opened


def from_entry(patch: EditPatch) -> Source:
    """Return a source with a patch of the session, without the facts it states."""

    @contextmanager
    def opened() -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as place:
            save_patch(replace(patch, edits=(), keys={}), Path(place))
            with named_as("This edit", Path(place)):
                yield Path(place)

    return opened


def inspect(state: WorkbenchState, resident: Resident, source: Source, *, name: str, limit: int) -> str | None:
    """Start the job ``forensics``: inspect a source; returns why it cannot be started, if that is so."""

    def work(progress: Progress) -> None:
        with source() as folder:
            found = inspect_edit(
                resident.lm,
                folder,
                store=store(),
                catalogue=catalogue(),
                statistics=resident.statistics,
                entities=subjects_of(store(), catalogue(), limit=limit),
                progress=progress,
            )
        found = replace(found, changed=replace(found.changed, source=name))
        state.keep(RESULT, found, made_from=resident.lm.fingerprint)

    return jobs.start(RESULT, work, state.session_id, title=title_of(name))


def title_of(name: str) -> str:
    """Return the display title of the job that inspects the source of this name."""
    return f"Inspect {name}"


def undo_archive(found: EditInspection) -> bytes:
    """Return the undo patch as a zip file; the inspection must have one."""
    assert found.undo is not None
    with tempfile.TemporaryDirectory() as place:
        save_patch(found.undo, Path(place))
        return zipped(Path(place))


def put_undo(state: WorkbenchState, lm: LoadedLM, found: EditInspection) -> str | None:
    """Put the undo patch on top of the session's edits; returns why not, if that is so."""
    patch = found.undo
    if patch is None:
        return found.no_undo
    if state.is_busy:
        return "A job is running; wait for it, or stop it first."
    if patch.model_fingerprint != lm.fingerprint:
        return "This undo is for the inspected checkpoint. Load that model, then import the patch in the Ledger."
    if state.entry(patch.id) is not None:
        return "This undo is in the ledger already."
    based_on = tuple(entry.id for entry in state.live(lm))
    try:
        state.record.push(
            StackEntry(patch=patch, name=f"Undo of {found.changed.source}"[:200], note="undo", based_on=based_on)
        )
    except KgmetError as error:
        return str(error)
    return None
