"""Contents of the cache folder by kind: size on disk, and removal of what can be computed again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kgmet.base.cache import cache_dir
from kgmet.base.errors import ConfigError, UnwritableError

__all__ = ["KINDS", "KeptKind", "clear_kept", "kept"]


@dataclass(frozen=True, kw_only=True)
class KeptKind:
    """One folder of the cache.

    Kinds that are `is_derived` can be cleared, alone or all together, and a kind of copies (`is_copy`) by its name;
    the others hold a user's work.
    """

    name: str
    what: str
    is_derived: bool
    is_copy: bool = False
    n_file: int = 0
    n_byte: int = 0

    @property
    def is_clearable(self) -> bool:
        """Whether the kind can be cleared by its name."""
        return self.is_derived or self.is_copy

    @property
    def folder(self) -> Path:
        """Folder of its files."""
        return cache_dir() / self.name


KINDS = (
    KeptKind(name="models", what="bundled models, converted from their packages", is_derived=True),
    KeptKind(name="moments", what="key statistics and their spectra, per model and text", is_derived=True),
    KeptKind(name="forecast", what="indices of known facts, per model", is_derived=True),
    KeptKind(name="sparql", what="replies of SPARQL endpoints", is_derived=True),
    KeptKind(name="calibrate", what="answers, traces and edits measured for calibration, per model", is_derived=True),
    KeptKind(name="examples", what="which example facts a model knows", is_derived=True),
    KeptKind(name="cards", what="answers and edits of report cards, per model", is_derived=True),
    KeptKind(name="profiles", what="calibrated settings, per model", is_derived=False),
    KeptKind(name="links", what="copies of results that links open", is_derived=False, is_copy=True),
    KeptKind(name="sessions", what="edits made in the workbench", is_derived=False),
    KeptKind(name="runs", what="benchmark runs of the workbench", is_derived=False),
    KeptKind(name="exports", what="models merged with edits in the workbench", is_derived=False),
)


def kept() -> list[KeptKind]:
    """List every kind with its number of files and bytes on disk; links are counted, not followed."""
    found = []
    for kind in KINDS:
        sizes = [path.lstat().st_size for path in _files(kind.folder)]
        found.append(replace(kind, n_file=len(sizes), n_byte=sum(sizes)))
    return found


def clear_kept(name: str) -> int:
    """Remove everything of one kind that is derived or a copy, and return the number of freed bytes.

    Raises:
        ConfigError: if there is no such kind, or it holds a user's work.
        UnwritableError: if the folder is a link, whose target may hold anything, or if something cannot be removed; the
            rest is removed.
    """
    clearable = [kind.name for kind in KINDS if kind.is_clearable]
    if name not in clearable:
        reason = "holds work that cannot be computed again" if name in {k.name for k in KINDS} else "is not kept"
        raise ConfigError(f"{name!r} {reason}. Choose one of: {', '.join(clearable)}.")
    folder = cache_dir() / name
    if folder.is_symlink():
        raise UnwritableError(
            f"{folder} is a link to {folder.resolve()}, and links are not followed. Clear it by hand."
        )
    before = sum(path.lstat().st_size for path in _files(folder))
    failed: list[str] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
    if failed:
        raise UnwritableError(f"{len(failed)} could not be removed, the first is {failed[0]}. Remove it by hand.")
    return before


def _files(folder: Path) -> Iterator[Path]:
    """Yield every file and link below a folder, without following links."""
    for here, folders, files in os.walk(folder, followlinks=False):
        yield from (Path(here) / name for name in files)
        yield from (path for path in (Path(here) / name for name in folders) if path.is_symlink())
