"""Where derived artefacts are kept between runs, and how they are put there: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

__all__ = ["cache_dir", "written_whole"]


def cache_dir() -> Path:
    """The user's cache folder for this project; ``KGMET_CACHE`` overrides it."""
    override = os.environ.get("KGMET_CACHE")
    return Path(override) if override else Path(platformdirs.user_cache_dir("kgmet-workbench"))


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it takes `path`'s place at the end, or vanishes if anything goes wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
