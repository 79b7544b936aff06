"""Zip files with a patch or an adapter: a folder packed for download, an uploaded one unpacked with suspicion."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kgmet.base.errors import BrokenArtifactError, KgmetError
from kgmet.base.files import Limits, unpack_zip
from kgmet.write.patch import PATCH_FILES, is_patch

__all__ = ["is_adapter", "named_as", "unpacked", "zipped"]

_LIMITS = Limits(n_bytes=512 << 20)
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "kgmet_edits.json")


def zipped(folder: Path) -> bytes:
    """Return a folder's files as a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
    return buffer.getvalue()


@contextmanager
def unpacked(data: bytes, *, advice: str) -> Iterator[Path]:
    """Unpack an untrusted zip file with a patch or an adapter into a folder, for the length of the ``with``.

    Args:
        data: the zip file.
        advice: what to do instead if it holds neither, as a sentence.

    Raises:
        BrokenArtifactError: if it is damaged, too large or hostile, or holds neither of the two.
        KgmetError: what is raised in the ``with``, speaking of the archive instead of the folder.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = (*PATCH_FILES, *_ADAPTER_FILES)
        for name, content in unpack_zip(data, names, where="The archive", limits=_LIMITS).items():
            (folder / name).write_bytes(content)
        if not is_adapter(folder) and not is_patch(folder):
            raise BrokenArtifactError(f"The archive holds neither {PATCH_FILES[0]} nor {_ADAPTER_FILES[0]}. {advice}")
        with named_as("The archive", folder):
            yield folder


@contextmanager
def named_as(name: str, folder: Path) -> Iterator[None]:
    """Let errors raised in the ``with`` name a temporary folder as people know what is in it."""
    try:
        yield
    except KgmetError as error:
        error.args = tuple(
            arg.replace(f"{folder}{os.sep}", "").replace(str(folder), name) if isinstance(arg, str) else arg
            for arg in error.args
        )
        raise


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter."""
    return (folder / _ADAPTER_FILES[0]).is_file()
