"""Untrusted text made safe for markup: no tags, no control characters, no effect on the direction of other text."""

from __future__ import annotations

import html
import unicodedata

__all__ = ["bdi", "readable", "shown"]

_KEPT = frozenset("\n\t")


def readable(text: str) -> str:
    """Replace control characters, lone surrogates and non-characters by ``�``."""
    return "".join(character if _is_fit(character) else "\ufffd" for character in text)


def _is_fit(character: str) -> bool:
    if character in _KEPT:
        return True
    code = ord(character)
    return (
        unicodedata.category(character) not in ("Cc", "Cs") and code & 0xFFFE != 0xFFFE and not 0xFDD0 <= code <= 0xFDEF
    )


def shown(text: str) -> str:
    """Return the text escaped for an element or a quoted attribute."""
    return html.escape(readable(text))


def bdi(text: str) -> str:
    """Return the text in a separate element that isolates its reading direction."""
    return f"<bdi>{shown(text)}</bdi>"
