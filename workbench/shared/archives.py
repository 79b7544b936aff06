"""Zip files with a patch or an adapter: a folder packed for download, an uploaded one unpacked with suspicion."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kgmet.base.errors import BrokenArtifactError
from kgmet.base.files import Limits, unpack_zip
from kgmet.write.patch import PATCH_FILES, is_patch

__all__ = ["is_adapter", "unpacked", "zipped"]

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
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = (*PATCH_FILES, *_ADAPTER_FILES)
        for name, content in unpack_zip(data, names, where="The archive", limits=_LIMITS).items():
            (folder / name).write_bytes(content)
        if not is_adapter(folder) and not is_patch(folder):
            raise BrokenArtifactError(f"The archive holds neither {PATCH_FILES[0]} nor {_ADAPTER_FILES[0]}. {advice}")
        yield folder


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter."""
    return (folder / _ADAPTER_FILES[0]).is_file()
