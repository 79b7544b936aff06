"""`WorkbenchState`: the typed face of `st.session_state`, and the only place that knows its keys.

The values themselves are in the `SessionVault`; `st.session_state` holds nothing but the id under which they lie there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from kgmet.base.fingerprint import fingerprint_value
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.editing.context import EditContext
from kgmet.editing.editors import EDITORS, Editor
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import EditPatch
from workbench.running import jobs
from workbench.state.disk import DAMAGED
from workbench.state.values import FactDraft, Result, StackEntry
from workbench.state.vault import SessionRecord, vault

__all__ = ["COOKIE", "SESSION_KEY", "WorkbenchState", "current", "known_id"]

T = TypeVar("T")
COOKIE = "kgmet_session"
"""Name of the cookie with the session's id; the port is appended, for cookies do not tell ports apart."""
SESSION_KEY = "session_id"
"""The one key of ours in `st.session_state` besides those of widgets."""


class WorkbenchState:
    """What this browser session holds. Reading is free; every setter also writes what must survive a restart."""

    def __init__(self, record: SessionRecord) -> None:
        self.record = record

    @property
    def session_id(self) -> str:
        """The unguessable id; pass it to `jobs.submit`."""
        return self.record.session_id

    # The fact in the form, and what it is edited with

    @property
    def draft(self) -> FactDraft:
        """The fact as typed so far."""
        return self.record.saved.draft

    def set_draft(self, draft: FactDraft) -> None:
        """Replace the typed fact."""
        if draft != self.record.saved.draft:
            self.record.change(draft=draft)

    @property
    def editor(self) -> Editor:
        """The chosen method."""
        return EDITORS[self.record.saved.editor]

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the person changed of the editor's own settings, nested as in `config_to_mapping`."""
        return self.record.saved.settings

    @property
    def config(self) -> EditConfig:
        """The editor's settings with what the person changed."""
        return config_from_mapping(self.settings, base=self.editor.config)

    def set_editor(self, name: str, settings: Mapping[str, Any] | None = None) -> bool:
        """Choose a method and what differs from its settings (nested as in `config_to_mapping`); whether that is new.

        Raises:
            ConfigError: if a setting is unknown or out of range; nothing changes then.
        """
        settings = dict(settings or {})
        config_from_mapping(settings, base=EDITORS[name].config)
        is_new = (name, settings) != (self.record.saved.editor, self.record.saved.settings)
        if is_new:
            self.record.change(editor=name, settings=settings)
        return is_new

    @property
    def context(self) -> EditContext | None:
        """What the graph says about the typed fact, as prepared last; see `actions.prepare`."""
        return None if self.record.context is None else self.record.context.value

    # Edits so far

    @property
    def stack(self) -> tuple[StackEntry, ...]:
        """Applied edits, oldest first, those switched off included."""
        return self.record.saved.stack

    @property
    def redo(self) -> tuple[StackEntry, ...]:
        """Undone edits; the last one would be redone first."""
        return self.record.saved.redo

    def entry(self, entry_id: str | None) -> StackEntry | None:
        """One entry of the stack by its id."""
        return next((entry for entry in self.stack if entry.id == entry_id), None)

    @property
    def focus(self) -> StackEntry | None:
        """The edit the other pages look at: the chosen one, else the newest of those that say what they edit."""
        chosen = self.entry(self.record.saved.focus)
        if chosen is not None and chosen.edit is not None:
            return chosen
        return next((entry for entry in reversed(self.stack) if entry.edit is not None), None)

    def set_focus(self, entry_id: str, edit_id: str | None = None) -> None:
        """Choose the edit the other pages look at; in a patch of several, which of them."""
        self.record.change(focus=entry_id, focus_edit=edit_id)

    def edit_of(self, entry: StackEntry) -> FactEdit | None:
        """The edit of a patch that the other pages look at: the chosen one, else its first."""
        return next((edit for edit in entry.patch.edits if edit.id == self.record.saved.focus_edit), entry.edit)

    def live(self, lm: LoadedLM | None = None, *, before: str | None = None) -> tuple[StackEntry, ...]:
        """Entries that are on (and fit this model), in order; with `before` only those under that entry."""
        found: list[StackEntry] = []
        for entry in self.stack:
            if entry.id == before:
                break
            if entry.is_on and (lm is None or entry.patch.model_fingerprint == lm.fingerprint):
                found.append(entry)
        return tuple(found)

    def live_patches(self, lm: LoadedLM, *, before: str | None = None) -> list[EditPatch]:
        """The patches of `live`: attach exactly these to see the model as this session edited it."""
        return [entry.patch for entry in self.live(lm, before=before)]

    # Results

    def fingerprint(self, *parts: Any) -> str:
        """Of what a result is made from: plain values; the editor's settings and live edits always count."""
        live = [entry.id for entry in self.live()]
        return fingerprint_value([self.record.saved.editor, self.record.saved.settings, live, *parts])

    def keep(self, name: str, value: Any, *, made_from: str) -> None:
        """Store a result under a name; jobs may call this from their thread."""
        self.record.keep(name, Result(value=value, made_from=made_from))

    def remembered(self, name: str, make: Callable[[], T], *, made_from: str) -> T:
        """The last result of this name, made first if there is none or it is stale."""
        known = self.result(name)
        if known is None or known.is_stale(made_from):
            known = Result(value=make(), made_from=made_from)
            self.record.keep(name, known)
        value: T = known.value
        return value

    def result(self, name: str) -> Result | None:
        """The last result of this name; ask it `is_stale(fingerprint)` and show stale ones grey."""
        return self.record.results.get(name)

    def lost(self, name: str) -> str | None:
        """Why the last result of this name could not be read back after a restart, if that is so."""
        return self.record.lost.get(name)

    # What is not as it should be

    @property
    def unsaved(self) -> str:
        """Why the last change is not on disk; empty if it is."""
        return self.record.unsaved

    def save_again(self) -> None:
        """Try once more to write what could not be written."""
        self.record.save()

    @property
    def damage(self) -> tuple[str, ...]:
        """What of this session could not be read back after a restart, for people."""
        return self.record.damage

    @property
    def damaged_folder(self) -> Path | None:
        """Where the damaged parts were moved; ``None`` if there are none, or they could not be moved."""
        folder = self.record.folder / DAMAGED
        return folder if folder.is_dir() else None

    def close_damage(self) -> None:
        """Do not show it again."""
        self.record.damage = ()

    # Work under way

    def job(self, kind: str | None = None) -> jobs.Job | None:
        """This session's latest job, of one kind or of any."""
        return jobs.latest(self.session_id, kind)

    @property
    def is_busy(self) -> bool:
        """Whether a job of this session is unfinished."""
        job = self.job()
        return job is not None and not job.is_finished

    # The first visit

    @property
    def is_guide_seen(self) -> bool:
        """Whether the guide of the first visit was closed."""
        return self.record.saved.is_guide_seen

    def close_guide(self) -> None:
        """Do not show the guide again."""
        self.record.change(is_guide_seen=True)

    def open_guide(self) -> None:
        """Show the guide again."""
        self.record.change(is_guide_seen=False)


def cookie_name() -> str:
    """The cookie of this server."""
    return f"{COOKIE}_{st.get_option('server.port')}"


def known_id() -> str | None:
    """The id of the session whose script is running, if it already has one; none is made."""
    if SESSION_KEY in st.session_state:
        return str(st.session_state[SESSION_KEY])
    return st.context.cookies.get(cookie_name())


def current() -> WorkbenchState:
    """The state of the session whose script is running; made, or found again by its cookie, on first use."""
    known = vault()
    record = known.find(st.session_state.get(SESSION_KEY))
    if record is None:
        record = known.find(st.context.cookies.get(cookie_name())) or known.new()
        st.session_state[SESSION_KEY] = record.session_id
    return WorkbenchState(record)


def retyped(draft: FactDraft, **values: Any) -> FactDraft:
    """The draft with other texts; choices that belonged to the old texts are forgotten."""
    texts = ("subject", "prompt", "new_object", "old_object")
    if all(getattr(draft, name) == values.get(name, getattr(draft, name)) for name in texts):
        return replace(draft, **values)
    fresh = {name: values.get(name, getattr(draft, name)) for name in texts}
    return FactDraft(**fresh)
