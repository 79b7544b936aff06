"""Results published under a link: copies of edits that every visitor of this server can open who has the link.

The link holds an unguessable token, and the copy lies in a folder whose name does not tell it. A copy is an edit's
folder as a session has it, with one more file that says what it is. It never changes: what its maker does to the edit
afterwards, undoing it among others, leaves it as it is. No session is named in it.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from kgmet.base.cache import cache_dir, folder_written_whole
from kgmet.base.errors import BrokenArtifactError, KgmetError, UnwritableError
from kgmet.base.files import failures_as
from kgmet.base.fingerprint import digest, plain
from kgmet.base.values import value_from
from kgmet.write.patch import load_patch
from workbench.state.codec import EntryRow, made_from_json, row_to_json
from workbench.state.disk import REPORT, save_entry
from workbench.state.kept import codecs, load_result
from workbench.state.retention import days_to_keep, is_own, is_unused_copy, mark_used, remove_folder
from workbench.state.sealed import read_sealed, write_sealed
from workbench.state.values import StackEntry

__all__ = ["FILE", "MOST_BYTES", "LinkError", "PublishedLinks", "PublishedResult", "published_links"]

LOG = logging.getLogger(__name__)
FILE = "link.json"
"""What says, beside patch, report and figures, what a published folder holds."""
MOST_BYTES = 64 << 20
"""Largest copy, in bytes on disk."""
MOST_COPIES = 2_000
"""Most copies on this server."""
MOST_BYTES_OF_ALL = 4 << 30
"""Most bytes of all copies on this server."""
_FORMAT = 1
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_FOLDER = re.compile(r"[0-9a-f]{32}")
_GONE = re.compile(r"\.gone-[0-9a-f]{32}|\.[0-9a-f]{32}-[a-z0-9_]{8}")
"""Folders that are being removed or written; what an interrupted one left goes after a day."""
_DAY = 86_400.0
_NOTHING = (
    "This link leads to no result. It was withdrawn, was not opened for too long, comes from another server, or was "
    "copied only in part. Ask the sender for a new one."
)
_DAMAGED = "The result of this link is damaged and cannot be opened. Ask the sender for a new one."
_Text = Annotated[str, msgspec.Meta(max_length=4_000)]


class LinkError(KgmetError):
    """A link leads to nothing that can be opened, or no more can be published."""


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """What is said of a published edit before it is opened.

    `model` and `dtype` are what loads the model it was made for. `figures` are the names of what was measured of it,
    `n_under` is the number of other edits that were on when it was made.
    """

    sentence: _Text
    editor: _Text
    model: _Text
    dtype: _Text
    model_fingerprint: _Text
    created: _Text
    figures: tuple[_Text, ...]
    n_under: int

    @classmethod
    def of(cls, entry: StackEntry, *, model: str, dtype: str) -> PublishedResult:
        """Return the description of an edit, which must have a fact."""
        edit = entry.edit
        assert edit is not None
        return cls(
            sentence=edit.sentence,
            editor=entry.patch.editor,
            model=model,
            dtype=dtype,
            model_fingerprint=entry.patch.model_fingerprint,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            figures=tuple(sorted(entry.figures.keys() & codecs().keys())),
            n_under=len(entry.based_on),
        )


@dataclass(frozen=True, kw_only=True)
class _Saved:
    format: int
    about: PublishedResult
    row: EntryRow


class PublishedLinks:
    """Token → published result, on disk; servers on one cache folder share them."""

    def __init__(self, folder: Path, *, days: int) -> None:
        self._folder, self._days = folder, days

    def publish(self, entry: StackEntry, *, model: str, dtype: str) -> str:
        """Write a copy of an edit, without its note, and return the token that opens it.

        Raises:
            LinkError: if it is too large, or the server has as many as it takes.
            UnwritableError: if the place is read-only, full or gone; nothing is left of it then.
        """
        self.clean()
        self._check_room()
        token = secrets.token_urlsafe(32)
        about = PublishedResult.of(entry, model=model, dtype=dtype)
        row = replace(row_to_json(entry), note="", is_on=True)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableError(f"{self._folder} cannot be written: {error.strerror or error}.") from error
        with folder_written_whole(self._place(token)) as made:
            save_entry(made, entry)
            write_sealed(made / FILE, plain(_Saved(format=_FORMAT, about=about, row=row)))
            n_byte = _size(made)
            if n_byte > MOST_BYTES:
                raise LinkError(
                    f"This result is {n_byte / 1e6:.0f} MB, and a link takes at most {MOST_BYTES / 1e6:.0f} MB. "
                    "Export the edit on the Ledger page and send the file."
                )
        return token

    def about(self, token: str) -> PublishedResult:
        """Return what a link leads to, without reading the edit itself.

        Raises:
            LinkError: if it leads to nothing, or to something damaged.
        """
        return self._read(self._found(token)).about

    def open(self, token: str) -> StackEntry:
        """Return the published edit with its report and figures, and count that as use.

        Raises:
            LinkError: if there is none, or any part of it is damaged.
        """
        folder = self._found(token)
        saved = self._read(folder)
        with _damage(folder):
            patch = load_patch(folder)
            if patch.id != saved.row.id or not patch.edits:
                raise BrokenArtifactError(f"{folder} holds another patch, {patch.id}.")
            report, curve = made_from_json(read_sealed(folder / REPORT, within=folder))
            figures = {}
            for name in saved.about.figures:
                if name in codecs():
                    found = load_result(folder, codecs()[name])
                    if found is None:
                        raise BrokenArtifactError(f"{folder} lacks {name}.")
                    figures[name] = found
        mark_used(folder / FILE)
        return StackEntry(
            patch=patch,
            name=saved.row.name,
            based_on=saved.row.based_on,
            report=report,
            curve=curve,
            exclude=saved.row.exclude,
            leave=saved.row.leave,
            figures=figures,
        )

    def is_there(self, token: str) -> bool:
        """Return whether the link leads to anything, whole or damaged."""
        try:
            self._found(token)
        except LinkError:
            return False
        return True

    def withdraw(self, token: str) -> None:
        """Remove a copy; nothing happens if there is none.

        Raises:
            UnwritableError: if it cannot be removed.
        """
        try:
            folder = self._found(token, even_old=True)
        except LinkError:
            return
        try:
            remove_folder(folder)
        except FileNotFoundError:
            return  # somebody else was faster
        except OSError as error:
            raise UnwritableError(f"{folder} cannot be removed: {error.strerror or error}.") from error

    def clean(self) -> int:
        """Remove copies that were not opened for the given days, and what interrupted work left; return how many.

        Only real folders of this user are removed that hold nothing but a copy's files; links are neither followed nor
        removed.
        """
        try:
            folders = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        except OSError as error:
            LOG.warning("published results cannot be looked for: %s", error)
            return 0
        n_removed = 0
        for folder in folders:
            try:
                if _GONE.fullmatch(folder.name) and is_own(folder, stat.S_ISDIR):
                    if time.time() - folder.lstat().st_mtime > _DAY:
                        shutil.rmtree(folder, ignore_errors=True)
                elif _FOLDER.fullmatch(folder.name) and self._days > 0 and is_unused_copy(folder, self._oldest):
                    remove_folder(folder)
                    n_removed += 1
            except OSError as error:
                LOG.warning("the published result %s could not be removed: %r", folder.name, error)
        return n_removed

    @property
    def _oldest(self) -> float:
        return time.time() - self._days * _DAY

    def _place(self, token: str) -> Path:
        # The folder's name must not reveal the token to users who can list the folder.
        return self._folder / digest("link", token)[:32]

    def _found(self, token: str, *, even_old: bool = False) -> Path:
        """Return the folder of a token.

        Raises:
            LinkError: if there is none of this user's own, or its time is over.
        """
        if not _TOKEN.fullmatch(token):
            raise LinkError(_NOTHING)
        folder = self._place(token)
        try:
            is_old = self._days > 0 and (folder / FILE).lstat().st_mtime < self._oldest
        except FileNotFoundError:
            is_old = False
        except OSError as error:
            raise LinkError(_NOTHING) from error
        if not is_own(folder, stat.S_ISDIR) or (is_old and not even_old):
            raise LinkError(_NOTHING)
        return folder

    def _read(self, folder: Path) -> _Saved:
        with _damage(folder):
            return value_from(_Saved, read_sealed(folder / FILE, within=folder), f"{FILE} says nothing of a result")

    def _check_room(self) -> None:
        try:
            folders = [path for path in self._folder.iterdir() if _FOLDER.fullmatch(path.name)]
        except OSError:
            return
        if len(folders) >= MOST_COPIES or sum(map(_size, folders)) >= MOST_BYTES_OF_ALL:
            raise LinkError(
                "This server holds as many published results as it takes. Its operator can make room with "
                "“kgmet cache --clear links”. The file on the Share page needs no server."
            )


@contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """Turn whatever is wrong with a copy's files into one sentence without the server's paths, which go to the log."""
    try:
        with failures_as(BrokenArtifactError, f"{folder} holds no published result"):
            yield
    except KgmetError as error:
        LOG.warning("a published result cannot be read: %s", error)
        raise LinkError(_DAMAGED if folder.is_dir() else _NOTHING) from error


def _size(folder: Path) -> int:
    """Return the bytes of the files in a folder; links are not followed."""
    try:
        return sum(path.lstat().st_size for path in folder.iterdir())
    except OSError:
        return 0


def published_links(environment: Mapping[str, str] | None = None) -> PublishedLinks:
    """Return the published results of this cache folder."""
    return PublishedLinks(cache_dir() / "links", days=days_to_keep(os.environ if environment is None else environment))
