"""Foreign text made fit for markup: nothing in it is a tag, a control character, or turns what stands beside it."""

from __future__ import annotations

import html
import unicodedata

__all__ = ["bdi", "readable", "shown"]

_KEPT = frozenset("\n\t")


def readable(text: str) -> str:
    """The text with what no document may hold shown as ``�``: control characters, half surrogates, non-characters."""
    return "".join(character if _is_fit(character) else "\ufffd" for character in text)


def _is_fit(character: str) -> bool:
    if character in _KEPT:
        return True
    code = ord(character)
    return (
        unicodedata.category(character) not in ("Cc", "Cs") and code & 0xFFFE != 0xFFFE and not 0xFDD0 <= code <= 0xFDEF
    )


def shown(text: str) -> str:
    """The text inside an element or an attribute in quotation marks."""
    return html.escape(readable(text))


def bdi(text: str) -> str:
    """The text in an element of its own whose reading direction ends with it: overrides in a name stay in the name."""
    return f"<bdi>{shown(text)}</bdi>"
