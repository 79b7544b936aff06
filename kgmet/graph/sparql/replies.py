"""Disk cache of endpoint replies: one JSON file each, with query, endpoint and time."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kgmet.base.cache import written_whole
from kgmet.base.errors import FileError
from kgmet.base.files import Limits, read_json_object
from kgmet.base.fingerprint import digest

__all__ = ["ReplyCache", "StoredReply"]


_REPLY = Limits(n_bytes=512 << 20)


@dataclass(frozen=True, kw_only=True)
class StoredReply:
    """One reply: `body` is the endpoint's JSON unchanged; `fetched` its time (UTC)."""

    body: str
    fetched: datetime


class ReplyCache:
    """A folder of replies limited to `max_bytes`; the least recently used are deleted first."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def get(self, endpoint: str, query: str) -> StoredReply | None:
        """Return this endpoint's cached reply to this query; ``None`` if none is readable."""
        path = self._path(endpoint, query)
        try:
            kept = read_json_object(path, limits=_REPLY)
            # The key is a hash, so the file must name its own endpoint and query.
            if (kept["endpoint"], kept["query"]) != (endpoint, query) or not isinstance(kept["body"], str):
                return None
            fetched = datetime.fromisoformat(kept["fetched"])
        except (FileError, OSError, ValueError, KeyError, TypeError):
            return None
        if fetched.tzinfo is None:
            return None
        with suppress(OSError):
            os.utime(path)
        return StoredReply(body=kept["body"], fetched=fetched)

    def put(self, endpoint: str, query: str, body: str) -> StoredReply:
        """Store a reply; if the folder cannot be written, do nothing."""
        reply = StoredReply(body=body, fetched=datetime.now(UTC))
        kept = {"endpoint": endpoint, "query": query, "fetched": reply.fetched.isoformat(), "body": body}
        with suppress(OSError):
            with written_whole(self._path(endpoint, query)) as temporary:
                temporary.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
            self._make_room()
        return reply

    def _path(self, endpoint: str, query: str) -> Path:
        return self._folder / f"{digest('sparql', endpoint, query)[:32]}.json"

    def _make_room(self) -> None:
        used = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._folder.glob("*.json"))
        total = sum(size for _, size, _ in used)
        for _, size, path in used[:-1]:
            if total <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size
