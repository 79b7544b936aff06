"""Replies of an endpoint, kept on disk: one JSON file each, saying what was asked, of whom and when."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kgmet.base.fingerprint import digest

__all__ = ["ReplyCache", "StoredReply"]


@dataclass(frozen=True, kw_only=True)
class StoredReply:
    """`body` is the endpoint's JSON as it came; `fetched` is when (UTC)."""

    body: str
    fetched: datetime


class ReplyCache:
    """A folder of replies that never outgrows `max_bytes`: the longest unused go first."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def get(self, endpoint: str, query: str) -> StoredReply | None:
        """What this endpoint answered to this query; ``None`` if nothing readable is kept."""
        path = self._path(endpoint, query)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            # The key is a hash: the file must say that it holds the answer to this very question.
            if (kept["endpoint"], kept["query"]) != (endpoint, query) or not isinstance(kept["body"], str):
                return None
            fetched = datetime.fromisoformat(kept["fetched"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if fetched.tzinfo is None:
            return None
        with suppress(OSError):
            os.utime(path)
        return StoredReply(body=kept["body"], fetched=fetched)

    def put(self, endpoint: str, query: str, body: str) -> StoredReply:
        """Store a reply. A folder that cannot be written to is no error; nothing is stored then."""
        reply = StoredReply(body=body, fetched=datetime.now(UTC))
        kept = {"endpoint": endpoint, "query": query, "fetched": reply.fetched.isoformat(), "body": body}
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    json.dump(kept, stream, ensure_ascii=False)
                Path(name).replace(self._path(endpoint, query))
            finally:
                Path(name).unlink(missing_ok=True)
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
