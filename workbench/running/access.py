"""Access control: a password, and allow-lists of models and endpoints on a shared server."""

from __future__ import annotations

import functools
import hmac
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kgmet.base.errors import ConfigError
from kgmet.base.password import read_password
from kgmet.lm.load.bundled import is_bundled

__all__ = ["Access", "Door", "access", "door"]

PASSWORD_FILE = "KGMET_PASSWORD_FILE"
"""Environment variable with the password file; set by `kgmet app --password-file`."""
SHARED = "KGMET_SHARED"
"""``1`` if others can reach this server; `kgmet app` sets it for every address except loopback."""
MODELS = "KGMET_MODELS"
"""Models and folders that visitors of a shared server may load besides the bundled ones, one per line."""
ENDPOINTS = "KGMET_ENDPOINTS"
"""SPARQL endpoints that visitors of a shared server may query, one per line."""
ACCOUNTS = "KGMET_ACCOUNTS"
"""``1`` if visitors sign in with OpenID Connect; set by `kgmet app --oidc-file`."""
USERS = "KGMET_USERS"
"""E-mail addresses and domains that may enter, one per line."""
_PAUSE = 1.0


@dataclass(frozen=True, kw_only=True)
class Access:
    """Permissions of visitors. On a server that is not shared everything is allowed."""

    password: str | None = field(default=None, repr=False)
    is_shared: bool = False
    models: frozenset[str] = frozenset()
    endpoints: frozenset[str] = frozenset()
    asks_account: bool = False
    """Whether visitors sign in with OpenID Connect."""
    users: frozenset[str] = frozenset()
    """E-mail addresses and domains (``@example.org``) that may enter; empty for every account of the provider."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Access:
        """Read the settings of `kgmet app` from the environment.

        Raises:
            ConfigError: if the password cannot be read, or is too short.
        """
        file = environment.get(PASSWORD_FILE, "").strip()
        return cls(
            password=read_password(Path(file).expanduser()) if file else None,
            is_shared=environment.get(SHARED, "").strip() == "1",
            models=_lines(environment.get(MODELS, "")),
            endpoints=_lines(environment.get(ENDPOINTS, "")),
            asks_account=environment.get(ACCOUNTS, "").strip() == "1",
            users=_lines(environment.get(USERS, "")),
        )

    def check_model(self, source: str) -> None:
        """Refuse a model that is not on the list.

        Raises:
            ConfigError: if it is not; names the allowed models.
        """
        if self.is_shared and not is_bundled(source) and source not in self.models:
            raise ConfigError(
                f"{source!r} may not be loaded on this shared server. Choose a bundled model"
                + (f" or one of: {', '.join(sorted(self.models))}." if self.models else ".")
                + " The operator of the server can allow more with --allow-model."
            )

    def check_folder(self, path: str) -> None:
        """Refuse to read a file or folder on the server that a visitor names.

        Raises:
            ConfigError: if the server is shared; says to upload the file.
        """
        if self.is_shared:
            raise ConfigError(f"{path!r} is on the server. On a shared server files are uploaded, not named.")

    def check_endpoint(self, url: str) -> None:
        """Refuse an endpoint that is not on the list, to prevent requests into the server's network.

        Raises:
            ConfigError: if it is not; names the allowed endpoints.
        """
        if self.is_shared and url not in self.endpoints:
            allowed = f" Allowed here: {', '.join(sorted(self.endpoints))}." if self.endpoints else ""
            raise ConfigError(
                f"{url!r} may not be asked from this shared server.{allowed} The operator of the server can allow it "
                "with --allow-endpoint."
            )


class Door:
    """Sessions that gave the password. Wrong attempts are limited to one per second for all sessions together."""

    def __init__(self, password: str | None) -> None:
        self._password = password
        self._lock = threading.Lock()
        self._inside: set[str] = set()

    def is_open_to(self, session_id: str | None) -> bool:
        """Return whether this session may enter without a password."""
        return self._password is None or (session_id is not None and session_id in self._inside)

    def fits(self, typed: str) -> bool:
        """Return whether this is the password; attempts are checked one at a time, and wrong ones slowly."""
        if self._password is None:
            return True
        with self._lock:
            does_fit = hmac.compare_digest(typed.encode("utf-8", "replace"), self._password.encode("utf-8"))
            if not does_fit:
                time.sleep(_PAUSE)
        return does_fit

    def let_in(self, session_id: str) -> None:
        """Remember that this session gave the password, until the server stops."""
        if self._password is not None:
            self._inside.add(session_id)


@functools.cache
def access() -> Access:
    """Return the permissions of this process's visitors."""
    return Access.from_environment(os.environ)


@functools.cache
def door() -> Door:
    """Return the process-wide `Door`."""
    return Door(access().password)


def _lines(text: str) -> frozenset[str]:
    return frozenset(line.strip() for line in text.splitlines() if line.strip())
