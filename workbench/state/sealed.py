"""JSON files with a digest: what a session writes beside its patches, read back as a stranger's.

A file that was changed after it was saved is told from one that was not, down to a single bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kgmet.base.cache import written_whole
from kgmet.base.errors import BrokenArtifactError
from kgmet.base.files import Limits, parse_json, read_bytes
from kgmet.base.fingerprint import digest, plain

__all__ = ["STATE_FILE", "is_sealed", "read_object", "write_sealed"]

STATE_FILE = Limits(n_bytes=64 << 20)
_DIGEST = "digest"


def write_sealed(path: Path, data: Mapping[str, Any]) -> None:
    """Write plain JSON values with their digest, whole or not at all.

    Raises:
        UnwritableError: if the place is read-only, full or gone.
    """
    own = plain(data)
    text = json.dumps({**own, _DIGEST: _digest_of(own)}, ensure_ascii=False, indent=1)
    with written_whole(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "replace"))


def read_object(path: Path, *, within: Path) -> dict[str, Any]:
    """The object a file holds, its digest among it. Infinities and NaN are read: what may not hold them says so.

    Raises:
        BrokenArtifactError: if the file is missing, damaged, hostile, or leads out of `within`.
    """
    data = parse_json(
        read_bytes(path, limits=STATE_FILE, within=within), where=path.name, limits=STATE_FILE, finite=False
    )
    if not isinstance(data, dict):
        raise BrokenArtifactError(f"{path.name} must hold a JSON object.")
    return data


def is_sealed(data: Mapping[str, Any]) -> bool:
    """Whether the object is as it was saved."""
    own = {name: value for name, value in data.items() if name != _DIGEST}
    return data.get(_DIGEST) == _digest_of(own)


def _digest_of(own: Mapping[str, Any]) -> str:
    return digest(json.dumps(own, sort_keys=True))[:32]
