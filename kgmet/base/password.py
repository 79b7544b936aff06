"""`read_password`: the password of a shared server, from its file."""

from __future__ import annotations

from pathlib import Path

from kgmet.base.errors import ConfigError

__all__ = ["LEAST", "read_password"]

LEAST = 8
"""Fewest characters of a password."""


def read_password(file: Path) -> str:
    """Return the password in a file of one line.

    Raises:
        ConfigError: if the file cannot be read, or the password is too short.
    """
    try:
        text = file.read_text(encoding="utf-8-sig").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The password cannot be read from {file}: {error}. Name a text file with one line."
        ) from error
    if len(text.strip()) < LEAST or len(text.splitlines()) > 1:
        raise ConfigError(f"{file} must hold one line of at least {LEAST} characters: the password.")
    return text
