"""`WorkbenchState`: typed access to a browser session's state, and the only user of `st.session_state` keys.

The values are in the `SessionVault`; `st.session_state` holds only their id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from kgmet.base.errors import ConfigError
from kgmet.base.fingerprint import fingerprint_value
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.editing.context import EditContext
from kgmet.editing.defaults import DefaultSettings, SettingsSource, default_settings
from kgmet.editing.editors import EDITORS, Editor
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import EditPatch
from workbench.running import jobs
from workbench.running.access import access, door
from workbench.running.resources import model_holder
from workbench.running.users import claims, session_id_of, user_of
from workbench.state.disk import DAMAGED
from workbench.state.values import TEXTS, FactDraft, Result, StackEntry
from workbench.state.vault import SessionRecord, SessionVault, vault

__all__ = ["COOKIE", "SESSION_KEY", "WorkbenchState", "current", "default_of", "known_id"]

T = TypeVar("T")
COOKIE = "kgmet_session"
"""Name of the cookie with the session's id; the port is appended, because cookies are shared between ports."""
SESSION_KEY = "session_id"
"""Key of the session's id in `st.session_state`; besides widget keys only this one and `LEASE_KEY` are ours."""
LEASE_KEY = "session_lease"
"""Key of what tells that this browser tab is connected."""
RELEASED_AFTER = 600.0
"""Seconds after which a session without a connected browser is dropped from memory."""


class WorkbenchState:
    """State of a browser session. Setters also write to disk what must survive a restart."""

    def __init__(self, record: SessionRecord) -> None:
        self.record = record

    @property
    def session_id(self) -> str:
        """The unguessable id; pass it to `jobs.submit`."""
        return self.record.session_id

    # The fact in the form, and what it is edited with

    @property
    def draft(self) -> FactDraft:
        """The typed fact."""
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
        """The editor's settings for the resident model with the user's changes."""
        return config_from_mapping(self.settings, base=default_of(self.editor).config)

    @property
    def settings_words(self) -> str:
        """Where the settings come from, in words."""
        words = default_of(self.editor).words
        return f"{words}; changed by you" if self.settings else words

    def set_editor(self, name: str, settings: Mapping[str, Any] | None = None) -> bool:
        """Choose a method and changes to its settings (nested as in `config_to_mapping`); return whether that is new.

        Raises:
            ConfigError: if a setting is unknown or out of range; nothing changes then.
        """
        settings = dict(settings or {})
        config_from_mapping(settings, base=default_of(EDITORS[name]).config)
        is_new = (name, settings) != (self.record.saved.editor, self.record.saved.settings)
        if is_new:
            self.record.change(editor=name, settings=settings)
        return is_new

    @property
    def context(self) -> EditContext | None:
        """The last prepared graph context of the typed fact; see `actions.prepare`."""
        return None if self.record.context is None else self.record.context.value

    # Edits so far

    @property
    def stack(self) -> tuple[StackEntry, ...]:
        """Applied edits, oldest first, including those switched off."""
        return self.record.saved.stack

    @property
    def redo(self) -> tuple[StackEntry, ...]:
        """Undone edits; the last one is redone first."""
        return self.record.saved.redo

    def entry(self, entry_id: str | None) -> StackEntry | None:
        """Return one entry of the stack by its id."""
        return next((entry for entry in self.stack if entry.id == entry_id), None)

    @property
    def focus(self) -> StackEntry | None:
        """The edit that other pages show: the chosen one, else the newest with a known fact."""
        chosen = self.entry(self.record.saved.focus)
        if chosen is not None and chosen.edit is not None:
            return chosen
        return next((entry for entry in reversed(self.stack) if entry.edit is not None), None)

    def set_focus(self, entry_id: str, edit_id: str | None = None) -> None:
        """Choose the edit that other pages show, and, in a patch of several, which of them."""
        self.record.change(focus=entry_id, focus_edit=edit_id)

    def edit_of(self, entry: StackEntry) -> FactEdit | None:
        """Return the edit of a patch that other pages show: the chosen one, else its first."""
        return next((edit for edit in entry.patch.edits if edit.id == self.record.saved.focus_edit), entry.edit)

    def live(self, lm: LoadedLM | None = None, *, before: str | None = None) -> tuple[StackEntry, ...]:
        """Return the enabled entries (of this model), in order; with `before` only those below that entry."""
        found: list[StackEntry] = []
        for entry in self.stack:
            if entry.id == before:
                break
            if entry.is_on and (lm is None or entry.patch.model_fingerprint == lm.fingerprint):
                found.append(entry)
        return tuple(found)

    def is_as_made(self, entry: StackEntry, lm: LoadedLM) -> bool:
        """Return whether the live edits below an entry are those it was made on."""
        return entry.based_on == tuple(item.id for item in self.live(lm, before=entry.id))

    def live_patches(self, lm: LoadedLM, *, before: str | None = None) -> list[EditPatch]:
        """Return the patches of `live`; attaching them gives this session's edited model."""
        return [entry.patch for entry in self.live(lm, before=before)]

    # Results

    def fingerprint(self, *parts: Any) -> str:
        """Return the fingerprint of a result's inputs; the editor's settings and live edits are always included."""
        live = [entry.id for entry in self.live()]
        return fingerprint_value([self.record.saved.editor, self.record.saved.settings, live, *parts])

    def keep(self, name: str, value: Any, *, made_from: str) -> None:
        """Store a result under a name; jobs may call this from their thread."""
        self.record.keep(name, Result(value=value, made_from=made_from))

    def remembered(self, name: str, make: Callable[[], T], *, made_from: str) -> T:
        """Return the last result of this name, computed if missing or stale."""
        known = self.fresh(name, made_from)
        if known is None:
            known = Result(value=make(), made_from=made_from)
            self.record.keep(name, known)
        value: T = known.value
        return value

    def result(self, name: str) -> Result | None:
        """Return the last result of this name; check `is_stale(fingerprint)` and show stale ones grey."""
        return self.record.result(name)

    def fresh(self, name: str, made_from: str) -> Result | None:
        """Return the last result of this name if it was made from these inputs."""
        known = self.result(name)
        return None if known is None or known.is_stale(made_from) else known

    def measured(self, entry: StackEntry, name: str, made_from: str) -> Result | None:
        """Return what was measured of an edit from these very inputs, here or where it came from by a link."""
        came = entry.figures.get(name)
        return self.fresh(name, made_from) or (None if came is None or came.is_stale(made_from) else came)

    def result_of(self, entry: StackEntry, name: str, made_from: str) -> Result | None:
        """Return what was measured of an edit from these inputs, else what came with it from a link."""
        return self.fresh(name, made_from) or entry.figures.get(name)

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
        """Messages about parts of this session that could not be restored after a restart."""
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
        """Return this session's latest job, of one kind or of any."""
        return jobs.latest(self.session_id, kind)

    @property
    def is_busy(self) -> bool:
        """Whether a job of this session is unfinished."""
        job = self.job()
        return job is not None and not job.is_finished

    # The first visit

    @property
    def is_guide_seen(self) -> bool:
        """Whether the first-visit guide was closed."""
        return self.record.saved.is_guide_seen

    def close_guide(self) -> None:
        """Hide the guide."""
        self.record.change(is_guide_seen=True)

    def open_guide(self) -> None:
        """Show the guide again."""
        self.record.change(is_guide_seen=False)


def cookie_name() -> str:
    """Return the cookie name of this server."""
    return f"{COOKIE}_{st.get_option('server.port')}"


def known_id() -> str | None:
    """Return the id of the running script's session, if it has one."""
    if SESSION_KEY in st.session_state:
        return str(st.session_state[SESSION_KEY])
    return st.context.cookies.get(cookie_name())


def current() -> WorkbenchState:
    """Return the state of the running script's session, found by its cookie or created on first use."""
    known = vault()
    account = _account_session()
    if account is not None and st.session_state.get(SESSION_KEY) != account:
        st.session_state.clear()  # what another account typed into this tab must not stay
        st.session_state[SESSION_KEY] = account
    record = known.find(st.session_state.get(SESSION_KEY))
    if record is None:
        record = _arrived(known) if account is None else known.new(account)
        st.session_state[SESSION_KEY] = record.session_id
    lease = st.session_state.get(LEASE_KEY)
    if lease is None or lease not in record.leases:
        st.session_state[LEASE_KEY] = record.lease()
        known.release(after=RELEASED_AFTER)
    record.seen = time.monotonic()
    return WorkbenchState(record)


def _account_session() -> str | None:
    """Return the session id of the account that is signed in; ``None`` on a server without accounts."""
    if not access().asks_account:
        return None
    user = user_of(claims())
    if user is None or not user.is_among(access().users):
        raise ConfigError("Sign in first.")
    return session_id_of(user, str(st.secrets["auth"]["cookie_secret"]))


def _arrived(known: SessionVault) -> SessionRecord:
    """Return the session of a browser that has just connected, by its cookie, or a new one."""
    by_cookie = st.context.cookies.get(cookie_name())
    found = known.find(by_cookie)
    if found is None:
        found = known.new()
        if by_cookie and door().is_open_to(by_cookie):  # it held nothing, so nothing of it was kept
            door().let_in(found.session_id)
    return found


def default_of(editor: Editor) -> DefaultSettings:
    """Return the settings an editor has for the resident model; its own while none is loaded."""
    resident = model_holder().resident
    if resident is None:
        return DefaultSettings(config=editor.config, source=SettingsSource.OWN, sentence="the editor's own")
    return default_settings(editor, resident.lm)


def retyped(draft: FactDraft, **values: Any) -> FactDraft:
    """Return the draft with other texts; choices for the old texts are dropped."""
    texts = {name: values.get(name, getattr(draft, name)) for name in TEXTS}
    if all(getattr(draft, name) == text for name, text in texts.items()):
        return replace(draft, **values)
    return FactDraft(**texts)
