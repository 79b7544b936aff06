"""`caseless`: texts that differ in case and blanks only, made equal."""

from __future__ import annotations

__all__ = ["caseless"]


def caseless(text: str) -> str:
    """Return the text in lower case, with one blank between words and none around them."""
    return " ".join(text.casefold().split())
