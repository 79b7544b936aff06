"""`SessionVault`: edits and results of all browser sessions, in memory and on disk, isolated from each other.

Streamlit's session state ends with the connection, so values are stored here under an unguessable id in a cookie. The
stack of edits and the typed fact are also written to disk as they change.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
import time
import weakref
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import streamlit as st

from kgmet.base.cache import cache_dir
from kgmet.base.errors import BrokenArtifactError, UnwritableError
from kgmet.base.fingerprint import digest
from workbench.running import jobs
from workbench.state.disk import SESSION, check_unchanged, held, remove_patches, save_session, set_aside, stamp
from workbench.state.kept import can_keep, codecs, load_result, save_result
from workbench.state.opening import open_session
from workbench.state.published import published_links
from workbench.state.retention import days_to_keep, mark_used, remove_unused
from workbench.state.values import Result, SavedSession, StackEntry

__all__ = ["Lease", "SessionRecord", "SessionVault", "vault"]

LOG = logging.getLogger(__name__)
_ID = re.compile(r"[A-Za-z0-9_-]{32,64}")


class Lease:
    """Lies in a browser tab's session state, and so tells that the tab is still connected."""


@dataclass(eq=False)
class SessionRecord:
    """One session's values. Replace fields under `lock`; the values themselves are immutable."""

    session_id: str
    folder: Path
    saved: SavedSession = field(default_factory=SavedSession)
    """What is also on disk, unless `unsaved` says why not."""
    context: Result | None = None
    results: dict[str, Result] = field(default_factory=dict)
    damage: tuple[str, ...] = ()
    """What could not be read back, for people."""
    unsaved: str = ""
    """Why the last change is not on disk; empty if it is."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    seen: float = field(default_factory=time.monotonic)
    """When a page of it was last opened."""
    leases: weakref.WeakSet[Lease] = field(default_factory=weakref.WeakSet, repr=False)
    """One per connected browser tab; Streamlit drops a tab's values when it has gone."""
    _stamp: str = ""
    _aside: tuple[str, ...] = ()
    _dropped: set[str] = field(default_factory=set)
    _unwritten: set[str] = field(default_factory=set)
    """Names of results that are not on disk yet."""
    _looked_for: set[str] = field(default_factory=set)
    """Names of results that were looked for on disk."""

    @classmethod
    def read_back(cls, session_id: str, folder: Path) -> SessionRecord:
        """Read the intact part of a session, and move damaged parts aside if possible."""
        with ExitStack() as stack:
            with suppress(UnwritableError):  # where nothing can be written, nothing is saved meanwhile
                stack.enter_context(held(folder))
            record = cls._read(session_id, folder)
        if record._aside:
            LOG.warning("session %s is damaged in part: %s", folder.name, record.damage)
            record.save()
        return record

    @classmethod
    def _read(cls, session_id: str, folder: Path) -> SessionRecord:
        known = stamp(folder)
        opened = open_session(folder)
        record = cls(session_id, folder, opened.saved, damage=opened.damage)
        record._stamp, record._aside, record._dropped = known, opened.aside, set(opened.leftovers)
        for name in codecs():
            record._read_result(name)
        return record

    def result(self, name: str) -> Result | None:
        """Return a result, from memory, or from disk if its codec was not known when the session was read back."""
        with self.lock:
            if name in codecs() and name not in self._looked_for:
                self._read_result(name)
                if self._aside:
                    self.save()
            return self.results.get(name)

    def _read_result(self, name: str) -> None:
        self._looked_for.add(name)
        if name in self.results:
            return
        try:
            found = load_result(self.folder, codecs()[name])
        except BrokenArtifactError as error:
            self.damage = (*self.damage, str(error))
            self._aside = (*self._aside, *codecs()[name].files)
        else:
            if found is not None:
                self.results[name] = found

    def lease(self) -> Lease:
        """Return what keeps the session in memory for as long as it is referred to."""
        made = Lease()
        self.leases.add(made)
        self.seen = time.monotonic()
        return made

    @property
    def is_needed(self) -> bool:
        """Whether a tab is connected, a job of it is unfinished, or it holds what is not on disk."""
        return bool(self.leases) or bool(self.unsaved) or jobs.has_unfinished(self.session_id)

    def change(self, **values: Any) -> None:
        """Set fields of `saved` together and write them to disk."""
        with self.lock:
            self._become(replace(self.saved, **values))

    def save(self, *, even_blank: bool = False) -> None:
        """Save to disk. If that fails, everything continues in memory and `unsaved` holds the reason."""
        with self.lock:
            try:
                if not self.saved.is_blank or even_blank or self.folder.is_dir():
                    with held(self.folder):
                        self._write(even_blank=even_blank)
            except OSError as error:
                LOG.warning("session %s is not saved: %s", self.folder.name, error)
                self.unsaved = str(error)
                return
            self.unsaved = ""

    def _write(self, *, even_blank: bool) -> None:
        check_unchanged(self.folder, self._stamp)
        set_aside(self.folder, self._aside)
        self._aside = ()
        save_session(self.folder, self.saved, even_blank=even_blank)
        self._stamp = stamp(self.folder)
        for name in sorted(self._unwritten):
            save_result(self.folder, name, self.results[name])
            self._unwritten.discard(name)
        remove_patches(self.folder, self._dropped - {entry.id for entry in self.saved.entries})
        self._dropped.clear()

    def keep(self, name: str, result: Result) -> None:
        """Store a result under a name; one with a codec is also saved to disk."""
        with self.lock:
            self.results[name] = result
            self._unwritten.discard(name)
            if can_keep(name, result.value):
                self._looked_for.add(name)
                self._unwritten.add(name)
                self.save(even_blank=True)

    def add(self, entry: StackEntry) -> None:
        """Add an edit that comes from elsewhere; see `SavedSession.added`."""
        with self.lock:
            self._become(self.saved.added(entry))

    def push(self, entry: StackEntry) -> None:
        """Add an edit on top and clear the redo list."""
        with self.lock:
            self._become(self.saved.pushed(entry))

    def replace_entry(self, entry_id: str, **values: Any) -> None:
        """Change one entry's name, note or switch."""
        with self.lock:
            self._become(self.saved.changed(entry_id, **values))

    def _become(self, saved: SavedSession) -> None:
        self._dropped |= {entry.id for entry in self.saved.entries}
        self.saved = saved
        self.save()


class SessionVault:
    """Session id → record; unknown ids find nothing."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_dir() / "sessions"
        self._records: dict[str, SessionRecord] = {}
        self._lock = threading.Lock()

    def new(self, session_id: str | None = None) -> SessionRecord:
        """Make a new session, by default with an id of 256 random bits."""
        session_id = session_id or secrets.token_urlsafe(32)
        with self._lock:
            made = SessionRecord(session_id=session_id, folder=self._place(session_id))
            return self._records.setdefault(session_id, made)

    def find(self, session_id: str | None) -> SessionRecord | None:
        """Return the record of this id, from memory or disk; ``None`` if there is none."""
        if not session_id or not _ID.fullmatch(session_id):
            return None
        with self._lock:
            known = self._records.get(session_id)
            if known is None and _is_folder(self._place(session_id)):
                known = self._records[session_id] = SessionRecord.read_back(session_id, self._place(session_id))
            if known is not None:
                mark_used(known.folder / SESSION)
            return known

    def release(self, *, after: float) -> int:
        """Drop from memory the sessions without a connected browser for `after` seconds; return how many.

        Their edits and the results with a codec are on disk and are read back when their browser returns.
        Other results are lost.
        """
        with self._lock:
            now = time.monotonic()
            gone = [one for one in self._records.values() if now - one.seen > after and not one.is_needed]
            for record in gone:
                del self._records[record.session_id]
        for record in gone:
            jobs.forget(record.session_id)
        return len(gone)

    def clean(self, *, days: int, runs: Path) -> list[str]:
        """Remove sessions from disk that are unused for the given days and not in memory; see `remove_unused`."""
        with self._lock:
            in_use = {record.folder.name for record in self._records.values()}
            try:
                return remove_unused(self._folder, days=days, runs=runs, in_use=in_use)
            except OSError as error:
                LOG.warning("unused sessions cannot be looked for: %s", error)
                return []

    def _place(self, session_id: str) -> Path:
        # The folder's name must not reveal the id to users who can list the folder.
        return self._folder / digest("session", session_id)[:32]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


@st.cache_resource(show_spinner=False)
def vault() -> SessionVault:
    """Return the process-wide vault; unused sessions and published results are removed first."""
    made = SessionVault()
    made.clean(days=days_to_keep(os.environ), runs=cache_dir() / "runs")
    published_links().clean()
    return made
