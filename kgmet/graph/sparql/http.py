"""HTTP etiquette for SPARQL endpoints: User-Agent, URL validation, Retry-After."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

import httpx

from kgmet.base.errors import EndpointError

__all__ = ["checked_url", "retry_after", "user_agent"]


def user_agent(contact: str = "") -> str:
    """Return the User-Agent header of this program."""
    try:
        own = version("kgmet-workbench")
    except PackageNotFoundError:
        own = "0"
    about = "model editing with knowledge graphs" + (f"; {contact}" if contact else "")
    return f"KGMET-Workbench/{own} ({about}) python-httpx/{httpx.__version__}"


def checked_url(address: str) -> httpx.URL:
    """Check the address of an endpoint and return it.

    Raises:
        EndpointError: if it is not http or https, or holds a password.
    """
    try:
        urlsplit(address)  # stricter than httpx about brackets
        url = httpx.URL(address.strip())
        url.host.encode("idna")  # as it is when its server is looked up: no part is longer than 63 characters
    except (httpx.InvalidURL, ValueError) as error:
        raise EndpointError(
            f"{address!r} is no address ({error}). Give one like https://query.wikidata.org/sparql."
        ) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise EndpointError(
            f"{address!r} is no http or https address. Give one like https://query.wikidata.org/sparql."
        )
    if url.userinfo:
        raise EndpointError("The endpoint's address holds a user name or password. Give it without.")
    return url


def retry_after(value: str | None, *, default: float) -> float:
    """Return the seconds to wait from a Retry-After header, given in seconds or as a date."""
    if not value:
        return default
    if value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return default
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
