"""`EndpointClient`: one SPARQL 1.1 endpoint over HTTP, with rate limits and checked replies.

Etiquette: an honest User-Agent, few retries, Retry-After obeyed, replies cached on disk. Safety: a reply is read in
pieces and cut off at a limit of bytes, rows and time; redirects stay on the same host and port; a malformed result is
an `EndpointError`, never a fact.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyoxigraph as ox

from kgmet.base.errors import ConfigError, EndpointError
from kgmet.base.ranges import check_numbers
from kgmet.graph.sparql.http import checked_url, retry_after, user_agent
from kgmet.graph.sparql.replies import ReplyCache, StoredReply
from kgmet.graph.stores.terms import Term, literal_text

__all__ = ["EndpointClient", "EndpointReply", "EndpointSettings", "EndpointStatus"]

_BUSY = frozenset({429, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_MAX_MOVES = 3
_PAUSE_S = 30.0
_MAX_WAIT_S = 10.0
"""Longest Retry-After that is waited for; a longer one is an error, because the user is waiting too."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """Limits on time, retries and size of requests to an endpoint.

    Raises:
        ConfigError: if a number is out of range.
    """

    timeout_s: float = 20.0
    """Longest wait for the server's next bytes, in seconds."""
    deadline_s: float = 60.0
    """Longest time for one reply from first to last byte, in seconds."""
    retries: int = 2
    """Number of retries of a busy or unreachable server."""
    max_bytes: int = 8 * 2**20
    """Longest reply, in bytes after decompression."""
    max_rows: int = 20_000
    """Most rows of a reply."""
    cache_days: float = 30.0
    """Age in days up to which a cached reply is used; older ones are used if the endpoint fails."""
    max_cache_bytes: int = 200 * 2**20
    """Largest size of the reply cache, in bytes."""
    offline: bool = False
    """Send no requests: answer from the cache alone."""
    contact: str = ""
    """Contact address in the User-Agent, which some operators require."""

    def __post_init__(self) -> None:
        """Check every number."""
        check_numbers(self, "endpoint", "timeout_s", "deadline_s", "max_bytes", "max_rows", "max_cache_bytes", above=0)
        check_numbers(self, "endpoint", "retries", "cache_days", least=0)
        if not self.contact.isprintable():
            raise ConfigError(f"endpoint.contact must be one line of text, got {self.contact!r}")


@dataclass(frozen=True, kw_only=True)
class EndpointReply:
    """Rows of one SELECT, variable → term; `fetched` is the time of the reply (UTC)."""

    rows: tuple[Mapping[str, Term], ...]
    fetched: datetime


@dataclass(frozen=True, kw_only=True)
class EndpointStatus:
    """Origin of the replies so far, and the last error."""

    asked: int
    """Queries answered by the endpoint."""
    from_cache: int
    """Queries answered from the cache."""
    oldest: datetime | None
    """Date of the oldest cached reply used."""
    problem: str | None
    """Why the endpoint did not answer the last query; ``None`` if it did."""


class EndpointClient:
    """Thread-safe client of one endpoint."""

    def __init__(
        self,
        url: str,
        *,
        settings: EndpointSettings,
        cache_dir: Path,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare to ask `url`; nothing is sent yet. `transport` and `sleep` are for tests and unusual networks.

        Raises:
            EndpointError: if `url` is not an http(s) address without a password.
        """
        self._url = checked_url(url)
        self._settings = settings
        self._cache = ReplyCache(cache_dir, max_bytes=settings.max_cache_bytes)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._asked = self._from_cache = 0
        self._oldest: datetime | None = None
        self._problem: str | None = None
        self._closed_until = 0.0
        self._http = httpx.Client(
            transport=transport,
            timeout=settings.timeout_s,
            follow_redirects=False,
            # Proxies from the environment do not apply to a server on this machine.
            trust_env=self._url.host not in _LOOPBACK,
            headers={"User-Agent": user_agent(settings.contact), "Accept": "application/sparql-results+json"},
        )

    @property
    def status(self) -> EndpointStatus:
        """Origin of the replies so far."""
        return EndpointStatus(
            asked=self._asked, from_cache=self._from_cache, oldest=self._oldest, problem=self._problem
        )

    def select(self, query: str) -> EndpointReply:
        """Answer a SELECT query from a recent cached reply, else from the endpoint, else from any cached reply.

        Raises:
            EndpointError: if the endpoint fails, sends invalid data or is not allowed, and the cache has no reply.
        """
        kept = self._cache.get(str(self._url), query)
        young = kept is not None and datetime.now(UTC) - kept.fetched <= timedelta(days=self._settings.cache_days)
        if kept is not None and (young or self._settings.offline):
            return self._answer(kept)
        try:
            body = self._fetch(query)
            rows = self._rows(body)
        except EndpointError as error:
            self._problem = str(error)
            if kept is None:
                raise
            return self._answer(kept)
        self._problem = None
        fetched = self._cache.put(str(self._url), query, body).fetched
        self._note(fetched, from_cache=False)
        return EndpointReply(rows=rows, fetched=fetched)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _answer(self, kept: StoredReply) -> EndpointReply:
        self._note(kept.fetched, from_cache=True)
        return EndpointReply(rows=self._rows(kept.body), fetched=kept.fetched)

    def _note(self, fetched: datetime, *, from_cache: bool) -> None:
        with self._lock:
            self._from_cache += from_cache
            self._asked += not from_cache
            self._oldest = fetched if self._oldest is None else min(self._oldest, fetched)

    def _rows(self, body: str) -> tuple[Mapping[str, Term], ...]:
        """Return the rows of a reply in the SPARQL 1.1 JSON format, each term checked."""
        rows: list[Mapping[str, Term]] = []
        try:
            answer = ox.parse_query_results(body, ox.QueryResultsFormat.JSON)
            if not isinstance(answer, ox.QuerySolutions):
                raise EndpointError(f"{self._url} answered yes or no where rows were asked for.")
            names = [variable.value for variable in answer.variables]
            for solution in answer:
                if len(rows) >= self._settings.max_rows:
                    raise EndpointError(f"{self._url} sent more than {self._settings.max_rows} rows. Ask for less.")
                values = ((name, solution[name]) for name in names)
                rows.append({name: v for name, v in values if isinstance(v, (ox.NamedNode, ox.BlankNode, ox.Literal))})
        except (SyntaxError, ValueError, OSError) as error:
            raise EndpointError(
                f"{self._url} sent what is no SPARQL result ({literal_text(str(error), longest=200)}). "
                "Is it the address of the query service itself?"
            ) from error
        return tuple(rows)

    def _fetch(self, query: str) -> str:
        """Return the body of the reply, with retries where they help."""
        if self._settings.offline:
            raise EndpointError(f"{self._url} is not asked in offline mode, and no reply to this query is cached.")
        if (left := self._closed_until - time.monotonic()) > 0:
            raise EndpointError(f"{self._url} did not answer; it is asked again in {left:.0f} s. Last: {self._problem}")
        problem = ""
        for attempt in range(self._settings.retries + 1):
            wait = float(2**attempt)
            try:
                status, headers, body = self._once(query)
            except (httpx.RequestError, UnicodeError) as error:  # a redirect to a name that no server can have
                problem = f"{self._url} cannot be reached ({type(error).__name__}: {error})."
            else:
                if status == 200:
                    return body
                problem = f"{self._url} answered {status}: {literal_text(body, longest=200)!r}."
                if status not in _BUSY:
                    raise EndpointError(problem + " Check the address and the query.")
                wait = retry_after(headers.get("Retry-After"), default=wait)
            if wait > _MAX_WAIT_S:
                self._closed_until = time.monotonic() + wait
                raise EndpointError(f"{problem} It asks for a pause of {wait:.0f} s; try again after that.")
            if attempt < self._settings.retries:
                self._sleep(wait)
        self._closed_until = time.monotonic() + _PAUSE_S
        raise EndpointError(f"{problem} Asked {self._settings.retries + 1} times. Try later, or use a file.")

    def _once(self, query: str) -> tuple[int, httpx.Headers, str]:
        url, started = self._url, time.monotonic()
        for _ in range(_MAX_MOVES + 1):
            with self._http.stream("POST", url, data={"query": query}) as response:
                if response.status_code not in _MOVED:
                    return response.status_code, response.headers, self._read(response, started)
                url = self._moved(response)
        raise EndpointError(f"{self._url} redirects in a circle.")

    def _read(self, response: httpx.Response, started: float) -> str:
        pieces = bytearray()
        for piece in response.iter_bytes(65_536):
            pieces += piece
            if len(pieces) > self._settings.max_bytes:
                raise EndpointError(
                    f"{self._url} sent more than {self._settings.max_bytes} bytes; the reply was cut off. Ask for less."
                )
            if time.monotonic() - started > self._settings.deadline_s:
                raise EndpointError(f"{self._url} did not finish its reply in {self._settings.deadline_s:.0f} s.")
        try:
            return pieces.decode("utf-8")
        except UnicodeDecodeError as error:
            raise EndpointError(f"{self._url} sent what is not UTF-8 (byte {error.start}).") from error

    def _moved(self, response: httpx.Response) -> httpx.URL:
        """Return where a redirect leads: only to the same host and port, or from http to https on the usual ports."""
        place = literal_text(response.headers.get("Location", ""), longest=200)
        try:
            target = self._url.join(place)
        except httpx.InvalidURL:
            target = httpx.URL()
        same = (target.scheme, target.host, target.port) == (self._url.scheme, self._url.host, self._url.port)
        safer = (self._url.scheme, target.scheme) == ("http", "https") and (target.port, self._url.port) == (None, None)
        if not same and not (safer and target.host == self._url.host):
            raise EndpointError(
                f"{self._url} redirects to {place!r}, another server. It is not followed; if you trust it, give its "
                "address as the endpoint."
            )
        return target
