"""JSON files with a digest, as a session writes them beside its patches; they are read without trusting them.

The digest detects any change after saving, down to a single bit.
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

__all__ = ["SOMETHING_ELSE", "STATE_FILE", "is_sealed", "read_object", "read_sealed", "write_sealed"]

SOMETHING_ELSE = "it holds something else"
"""What is said of a part that is no such value."""
STATE_FILE = Limits(n_bytes=64 << 20)
_DIGEST = "digest"


def write_sealed(path: Path, data: Mapping[str, Any]) -> None:
    """Write plain JSON values with their digest, atomically.

    Raises:
        UnwritableError: if the place is read-only, full or gone.
    """
    own = plain(data)
    text = json.dumps({**own, _DIGEST: _digest_of(own)}, ensure_ascii=False, indent=1)
    with written_whole(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "replace"))


def read_object(path: Path, *, within: Path) -> dict[str, Any]:
    """Read the object in a file, including its digest. Infinities and NaN are allowed; callers check for them.

    Raises:
        BrokenArtifactError: if the file is missing, damaged, hostile, or leads out of `within`.
    """
    data = parse_json(
        read_bytes(path, limits=STATE_FILE, within=within), where=path.name, limits=STATE_FILE, finite=False
    )
    if not isinstance(data, dict):
        raise BrokenArtifactError(f"{path.name} must hold a JSON object.")
    return data


def read_sealed(path: Path, *, within: Path) -> dict[str, Any]:
    """Read the object in a file of format 1 that `write_sealed` wrote.

    Raises:
        BrokenArtifactError: as by `read_object`, if it is of another format, or was changed after it was saved.
    """
    data, file = read_object(path, within=within), path.relative_to(within)
    if data.get("format") != 1:
        raise BrokenArtifactError(f"{file} is of another version.")
    if not is_sealed(data):
        raise BrokenArtifactError(f"{file} was changed after it was saved.")
    return data


def is_sealed(data: Mapping[str, Any]) -> bool:
    """Return whether the object is unchanged since it was saved."""
    own = {name: value for name, value in data.items() if name != _DIGEST}
    return data.get(_DIGEST) == _digest_of(own)


def _digest_of(own: Mapping[str, Any]) -> str:
    return digest(json.dumps(own, sort_keys=True))[:32]
