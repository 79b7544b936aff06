"""Texts as pictures show them: plain characters, the room they take, and where their lines break. No Streamlit."""

from __future__ import annotations

import unicodedata

__all__ = ["plain", "text_width", "wrapped"]

_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows them, outside their own label too."""
_NARROW, _WIDE = frozenset(" .,:;'|!`()[]{}/\\-ijlIftr\""), frozenset("mwMW@%—")


def plain(text: str) -> str:
    """Return a label in one line, without invisible commands: control characters, half pairs, turned directions."""
    kept = (" " if unicodedata.category(char) == "Cc" else char for char in text if _is_shown(char))
    return " ".join("".join(kept).split())


def _is_shown(char: str) -> bool:
    # XML has no place for the last two code points of the first plane, nor for half pairs.
    return char not in _TURNING and unicodedata.category(char) != "Cs" and char not in "\ufffe\uffff"


def text_width(text: str, size: float) -> float:
    """Return the width of a line in pixels, by font size, in a wide sans-serif face; real faces take at most this."""
    return size * sum(map(_share, text))


def _share(char: str) -> float:
    """Return the width of a character, by the font size."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.05
    if char in _NARROW:
        return 0.42
    if char in _WIDE:
        return 1.0
    return 0.72 if char.isupper() else 0.64


def wrapped(text: str, *, width: float, size: float, lines: int | None = None) -> tuple[str, ...]:
    """Break a text between words, or inside a word that is too long, into lines of at most `width` pixels.

    Args:
        text: the text; line breaks in it count as blanks.
        width: room of a line, in pixels.
        size: font size, in pixels.
        lines: most lines; an ellipsis ends the last where some of the text is left out.
    """
    found = [""]
    for word in plain(text).split():
        joined = f"{found[-1]} {word}".strip()
        if text_width(joined, size) <= width:
            found[-1] = joined
            continue
        if found[-1]:
            found.append("")
        for char in word:
            if found[-1] and text_width(found[-1] + char, size) > width:
                found.append("")
            found[-1] += char
    if lines is None or len(found) <= lines:
        return tuple(found)
    last = found[lines - 1]
    while last and text_width(f"{last}…", size) > width:
        last = last[:-1].rstrip()
    return (*found[: lines - 1], f"{last}…")
