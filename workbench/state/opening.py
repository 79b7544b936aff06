"""`open_session`: read a session as far as possible, and describe the damage. Nothing read is executed.

Opening writes nothing: damaged parts are listed, and `set_aside` moves them away before the next save.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from kgmet.base.errors import BrokenArtifactError, FileError, KgmetError
from kgmet.base.files import failures_as
from kgmet.base.values import value_from
from kgmet.editing.editors import DEFAULT_EDITOR
from kgmet.write.patch import EditPatch, load_patch
from workbench.state.codec import (
    FORMATS,
    EntryRow,
    Made,
    draft_from_json,
    editor_from_json,
    made_from_json,
    row_from_json,
)
from workbench.state.disk import REPORT, SESSION, patch_folders
from workbench.state.kept import codecs, file_of, load_result
from workbench.state.sealed import SOMETHING_ELSE, is_sealed, read_object, read_sealed
from workbench.state.values import FactDraft, Result, SavedSession, StackEntry

__all__ = ["OpenedSession", "open_session"]

T = TypeVar("T")
_RECOVERED = "Recovered: its name, note and place in the order were lost."


@dataclass(frozen=True, kw_only=True)
class OpenedSession:
    """The readable part of a session.

    `damage` describes the unreadable parts in sentences. `aside` are their names, to be moved before the next save.
    `leftovers` are patches of an interrupted save.
    """

    saved: SavedSession
    damage: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()


def open_session(folder: Path) -> OpenedSession:
    """Read a session as far as possible. Never fails and writes nothing."""
    return _Opening(folder).opened()


class _Opening:
    """State of reading one session, with the damage found so far."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._damage: list[str] = []
        self._aside: list[str] = []
        self._is_list_damaged = False

    def opened(self) -> OpenedSession:
        data = self._data()
        saved = SavedSession() if data is None else self._saved(data)
        named = {*self._aside, *(entry.id for entry in saved.entries)}
        unnamed = [name for name in patch_folders(self._folder) if name not in named]
        leftovers = () if self._is_list_damaged else tuple(unnamed)
        if self._is_list_damaged and unnamed:
            saved = replace(saved, stack=(*saved.stack, *self._recovered(unnamed)))
        return OpenedSession(
            saved=saved, damage=tuple(self._damage), aside=tuple(dict.fromkeys(self._aside)), leftovers=leftovers
        )

    def _data(self) -> dict[str, Any] | None:
        """Return the contents of `session.json`; ``None`` if unusable."""
        try:
            data = read_object(self._folder / SESSION, within=self._folder)
            if data.get("format") not in FORMATS:
                said = str(data.get("format"))[:20]
                raise BrokenArtifactError(f"{SESSION} is of format {said}; this version reads 1 and 2.")
        except FileError as error:
            self._is_list_damaged = True
            if patch_folders(self._folder) or os.path.lexists(self._folder / SESSION):
                self._found(f"The list of edits and the typed fact cannot be read. {error}", SESSION)
            return None
        if data["format"] != 1 and not is_sealed(data):
            self._found("The session was changed outside the workbench. Check which edits are on.", SESSION)
        return data

    def _saved(self, data: Mapping[str, Any]) -> SavedSession:
        own: dict[str, Any] = {}
        editor, settings = self._part(
            "The editor and its settings",
            lambda: editor_from_json(data["editor"], data["settings"]),
            (DEFAULT_EDITOR, own),
        )
        stack = self._entries(data, "stack", "Edit", known=set())
        return SavedSession(
            draft=self._part("The typed fact", lambda: draft_from_json(data["draft"]), FactDraft()),
            editor=editor,
            settings=settings,
            stack=stack,
            redo=self._entries(data, "redo", "Undone edit", known={entry.id for entry in stack}),
            focus=self._id("Which edit is looked at", data, "focus"),
            focus_edit=self._id("Which fact of the edit is looked at", data, "focus_edit"),
            is_guide_seen=self._part(
                "Whether the guide was seen", lambda: value_from(bool, data["is_guide_seen"], SOMETHING_ELSE), True
            ),
        )

    def _id(self, what: str, data: Mapping[str, Any], key: str) -> str | None:
        nothing: str | None = None
        return self._part(
            what, lambda: None if data.get(key) is None else value_from(str, data[key], SOMETHING_ELSE), nothing
        )

    def _entries(self, data: Mapping[str, Any], key: str, what: str, *, known: set[str]) -> tuple[StackEntry, ...]:
        none: list[Any] | None = None
        rows = self._part(f"The list “{key}”", partial(_rows_of, data, key), none)
        self._is_list_damaged |= rows is None
        found = []
        for number, raw in enumerate(rows or (), start=1):
            no_row: EntryRow | None = None
            row = self._part(f"{what} {number}", partial(row_from_json, raw, known), no_row)
            if row is None:
                self._is_list_damaged = True
                continue
            known.add(row.id)
            patch = self._patch(row.id, f"{what} {number}, “{row.name[:80]}”,")
            if patch is not None:
                found.append(self._entry(patch, row, raw if data["format"] == 1 else None))
        return tuple(found)

    def _entry(self, patch: EditPatch, row: EntryRow, inline: Mapping[str, Any] | None) -> StackEntry:
        report, curve = self._made(patch.id, row.name, inline)
        return StackEntry(
            patch=patch,
            name=row.name,
            note=row.note,
            is_on=row.is_on,
            based_on=row.based_on,
            report=report,
            curve=curve,
            exclude=row.exclude,
            leave=row.leave,
            figures=self._figures(patch.id, row.name),
        )

    def _patch(self, name: str, who: str) -> EditPatch | None:
        """Read the patch in a folder; ``None`` and a note if it is unreadable."""
        folder = self._folder / name
        try:
            with failures_as(BrokenArtifactError, f"{name} holds no usable patch"):
                if folder.is_symlink():
                    raise BrokenArtifactError(f"{name} is a link that leads elsewhere.")
                patch = load_patch(folder)
                if patch.id != name:
                    raise BrokenArtifactError(f"{name} holds another patch, {patch.id}.")
            return patch
        except KgmetError as error:
            self._found(f"{who} cannot be read. {error}", name)
            return None

    def _made(self, name: str, label: str, inline: Mapping[str, Any] | None) -> Made:
        """Read an edit's report and search curve; empty and a note if they are unreadable."""
        file = f"{name}/{REPORT}"
        nothing: Made = (None, ())
        if inline is not None and not os.path.lexists(self._folder / file):
            return self._part(f"The report of “{label[:80]}”", lambda: made_from_json(inline), nothing)
        try:
            with failures_as(BrokenArtifactError, f"{file} holds no report of an edit"):
                return made_from_json(read_sealed(self._folder / file, within=self._folder))
        except KgmetError as error:
            self._found(f"What was measured when “{label[:80]}” was made cannot be read. {error}", file)
            return nothing

    def _figures(self, name: str, label: str) -> dict[str, Result]:
        """Read what came with an edit that was opened from a link; a note for what is unreadable."""
        found = {}
        for codec in codecs().values():
            try:
                figure = load_result(self._folder / name, codec)
            except BrokenArtifactError as error:
                self._found(f"Of “{label[:80]}”: {error}", f"{name}/{file_of(codec.name)}")
            else:
                if figure is not None:
                    found[codec.name] = figure
        return found

    def _recovered(self, names: Collection[str]) -> list[StackEntry]:
        """Return unlisted edits in order of creation, switched off."""
        patches = [patch for name in names if (patch := self._patch(name, f"The patch {name}")) is not None]
        found = []
        for patch in sorted(patches, key=lambda patch: (patch.created, patch.id)):
            name = StackEntry.name_of(patch)
            report, curve = self._made(patch.id, name, None)
            figures = self._figures(patch.id, name)
            found.append(
                StackEntry(
                    patch=patch,
                    name=name,
                    note=_RECOVERED,
                    is_on=False,
                    report=report,
                    curve=curve,
                    figures=figures,
                )
            )
        if found:
            self._found(f"Recovered from their patches, and switched off: {len(found)}.")
        return found

    def _part(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        """Read one part of `session.json`; `otherwise` and a note if it is unreadable."""
        try:
            with failures_as(BrokenArtifactError, SOMETHING_ELSE):
                return read()
        except KgmetError as error:
            self._found(f"{what} cannot be read: {error}", SESSION)
            return otherwise

    def _found(self, sentence: str, *aside: str) -> None:
        self._damage.append(sentence)
        self._aside += aside


def _rows_of(data: Mapping[str, Any], key: str) -> list[Any]:
    """Return a list whose rows are checked one by one, so that a bad one costs no other."""
    rows = data[key]
    if not isinstance(rows, list):
        raise ValueError(f"expected a list, got {type(rows).__name__}")
    return rows
