"""Labels as a picture shows them: one line of plain characters, wrapped, and the room they take. No Streamlit."""

from __future__ import annotations

import unicodedata

__all__ = ["plain", "text_width", "wrapped"]

_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows them, outside their own label too."""
_NARROW, _WIDE = frozenset(" .,:;'|!`()[]{}/\\-ijlIftr\""), frozenset("mwMW@%—")


def plain(text: str) -> str:
    """A label in one line, without characters that are invisible commands: controls, half pairs, turned directions."""
    kept = (" " if unicodedata.category(char) == "Cc" else char for char in text if _is_shown(char))
    return " ".join("".join(kept).split())


def _is_shown(char: str) -> bool:
    # XML has no place for the last two code points of the first plane, nor for half pairs.
    return char not in _TURNING and unicodedata.category(char) != "Cs" and char not in "\ufffe\uffff"


def text_width(text: str, size: float) -> float:
    """Room of one line in pixels at a font size, for a wide sans-serif face; real faces take this much or less."""
    return size * sum(map(_share, text))


def _share(char: str) -> float:
    """Width of a character, by the font size."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.05
    if char in _NARROW:
        return 0.42
    if char in _WIDE:
        return 1.0
    return 0.72 if char.isupper() else 0.64


def wrapped(text: str, *, width: int = 18, lines: int = 2) -> tuple[str, ...]:
    """A label in at most so many lines of about `width` characters; an ellipsis where some of it is left out."""
    found = [""]
    for word in plain(text).split():
        if found[-1] and len(found[-1]) + 1 + len(word) > width:
            found.append("")
        found[-1] = f"{found[-1]} {word}".strip()
    shown = [line if len(line) <= width + 6 else line[: width + 5] + "…" for line in found]
    if len(shown) > lines:
        shown = [*shown[: lines - 1], shown[lines - 1].rstrip("…") + "…"]
    return tuple(shown)
