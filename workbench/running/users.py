"""Users of a server that asks for accounts: who is signed in with OpenID Connect, and which session is theirs.

Streamlit talks to the provider and checks its answer (`st.login`). This module reads the claims about the person, and
decides who may enter.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from kgmet.base.errors import ConfigError
from kgmet.base.fingerprint import fingerprint_value

__all__ = ["User", "claims", "session_id_of", "sign_out", "user_of"]

_LEAST_SECRET = 16


@dataclass(frozen=True, kw_only=True)
class User:
    """A person who is signed in. `issuer` and `subject` identify the account, `name` is for display."""

    issuer: str
    subject: str
    name: str
    email: str = ""

    def is_among(self, allowed: Collection[str]) -> bool:
        """Return whether the list is empty, or holds this e-mail address or its domain, as ``@example.org``."""
        if not allowed:
            return True
        email = self.email.casefold()
        names = {name.casefold() for name in allowed}
        return bool(email) and (email in names or f"@{email.rpartition('@')[2]}" in names)


def claims() -> Mapping[str, Any] | None:
    """Return what the provider said about the running script's visitor; ``None`` before they sign in, and after."""
    said = st.user.to_dict()
    return said if said.get("is_logged_in") and fingerprint_value(said) not in _ended() else None


def sign_out() -> None:
    """End this sign-in, in every tab of the browser, and go to the provider's page that ends it there.

    Streamlit takes the cookie away, which another tab that is open does not notice. Each sign-in has a random value
    among its claims (``nonce``), so ending it leaves the account's other browsers signed in.
    """
    _ended().add(fingerprint_value(st.user.to_dict()))
    st.logout()


@functools.cache
def _ended() -> set[str]:
    return set()


def user_of(said: Mapping[str, Any] | None) -> User | None:
    """Return the account that claims describe; ``None`` without claims.

    Raises:
        ConfigError: if the claims name no account. An e-mail address that the provider has not verified is left out.
    """
    if said is None:
        return None
    subject, issuer = said.get("sub"), said.get("iss")
    if not isinstance(subject, str) or not subject or not isinstance(issuer, str) or not issuer:
        raise ConfigError(
            "The provider named no account: its answer has no 'sub' or 'iss'. Ask for the scope openid in the file."
        )
    email = said.get("email")
    is_verified = said.get("email_verified") in (True, "true")
    shown = said.get("name") or (email if isinstance(email, str) else "") or subject
    return User(
        issuer=issuer,
        subject=subject,
        name=str(shown)[:80],
        email=email if isinstance(email, str) and is_verified else "",
    )


def session_id_of(user: User, secret: str) -> str:
    """Return the session id of an account: the same on every device and after a restart, and not to be guessed.

    Raises:
        ConfigError: if the secret is too short.
    """
    if len(secret) < _LEAST_SECRET:
        raise ConfigError(f"auth.cookie_secret must have at least {_LEAST_SECRET} characters. Write a longer one.")
    account = f"{len(user.issuer)}:{user.issuer}{user.subject}"
    digest = hmac.new(secret.encode(), f"kgmet session {account}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
