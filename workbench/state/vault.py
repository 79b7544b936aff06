"""`SessionVault`: every browser session's edits and results, in the process and on disk, apart from each other.

Streamlit's session state dies with the connection, so values live here under an unguessable id the browser keeps in a
cookie. What a person would miss (the stack of edits, the typed fact) is also written to disk as it changes.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import streamlit as st

from kgmet.base.cache import cache_dir
from kgmet.base.errors import BrokenArtifactError
from kgmet.base.fingerprint import digest
from kgmet.editing.editors import DEFAULT_EDITOR
from workbench.state.compared import load_compared, save_compared
from workbench.state.retention import days_to_keep, mark_used, remove_unused
from workbench.state.stack import load_record, save_record
from workbench.state.values import FactDraft, Result, StackEntry

__all__ = ["SessionRecord", "SessionVault", "vault"]

LOG = logging.getLogger(__name__)
_ID = re.compile(r"[A-Za-z0-9_-]{32,64}")


@dataclass(eq=False)
class SessionRecord:
    """One session's values. Change it under `lock`; the values themselves never change."""

    session_id: str
    folder: Path
    draft: FactDraft = field(default_factory=FactDraft)
    editor: str = DEFAULT_EDITOR
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs from the editor's own settings, nested as in `config_to_mapping`."""
    stack: tuple[StackEntry, ...] = ()
    redo: tuple[StackEntry, ...] = ()
    focus: str | None = None
    """Id of the entry that the other pages look at; the newest if ``None``."""
    focus_edit: str | None = None
    """Id of the edit of a patch with several that is looked at; the first if the patch has no such edit."""
    context: Result | None = None
    results: dict[str, Result] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    """Name of a result → why what was kept of it could not be read back, for people."""
    is_guide_seen: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def change(self, **values: Any) -> None:
        """Set fields together and write to disk what is kept there."""
        with self.lock:
            for name, value in values.items():
                setattr(self, name, value)
            save_record(self)

    def keep(self, name: str, result: Result) -> None:
        """Store a result under a name; a comparison also goes to disk, for it takes minutes to make."""
        with self.lock:
            self.results[name] = result
            self.lost.pop(name, None)
            if name == "compare":
                save_record(self)
                if self.folder.is_dir():
                    save_compared(self.folder, result)

    def push(self, entry: StackEntry) -> None:
        """Add an edit on top; what could be redone is gone."""
        with self.lock:
            others = tuple(item for item in self.stack if item.id != entry.id)
            self.change(stack=(*others, entry), redo=(), focus=entry.id)

    def replace_entry(self, entry_id: str, **values: Any) -> None:
        """Change one entry's name, note, switch or report."""
        with self.lock:
            self.change(stack=tuple(replace(e, **values) if e.id == entry_id else e for e in self.stack))


class SessionVault:
    """Session id → record. An id nobody was given finds nothing."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_dir() / "sessions"
        self._records: dict[str, SessionRecord] = {}
        self._lock = threading.Lock()

    def new(self) -> SessionRecord:
        """A fresh session with an id of 256 random bits."""
        session_id = secrets.token_urlsafe(32)
        with self._lock:
            made = SessionRecord(session_id=session_id, folder=self._place(session_id))
            self._records[session_id] = made
        return made

    def find(self, session_id: str | None) -> SessionRecord | None:
        """The record of this id, from memory or disk; ``None`` if there never was one."""
        if not session_id or not _ID.fullmatch(session_id):
            return None
        with self._lock:
            known = self._records.get(session_id)
            if known is None and self._place(session_id).is_dir():
                known = self._records[session_id] = _read_back(session_id, self._place(session_id))
            if known is not None:
                mark_used(known.folder)
            return known

    def clean(self, *, days: int, runs: Path) -> list[str]:
        """Remove from disk what nobody used for so many days, and is not held here; see `remove_unused`."""
        with self._lock:
            in_use = {record.folder.name for record in self._records.values()}
            return remove_unused(self._folder, days=days, runs=runs, in_use=in_use)

    def _place(self, session_id: str) -> Path:
        # The folder's name does not give the id away to whoever can list the folder.
        return self._folder / digest("session", session_id)[:32]


def _read_back(session_id: str, place: Path) -> SessionRecord:
    record = SessionRecord(session_id, place, **load_record(place))
    try:
        compared = load_compared(place)
    except BrokenArtifactError as error:
        LOG.warning("the comparison of session %s is left out: %s", place.name, error)
        record.lost["compare"] = str(error)
    else:
        if compared is not None:
            record.results["compare"] = compared
    return record


@st.cache_resource(show_spinner=False)
def vault() -> SessionVault:
    """The process's one vault; what nobody came back to is removed before anybody is let in."""
    made = SessionVault()
    made.clean(days=days_to_keep(os.environ), runs=cache_dir() / "runs")
    return made
