"""Neutral prefixes of a prompt, so that a shift or key does not depend on one position or one preceding text."""

from __future__ import annotations

__all__ = ["NEUTRAL_PREFIXES"]

NEUTRAL_PREFIXES: tuple[str, ...] = (
    "",
    "It is well known. ",
    "In the news today: ",
    "She wrote in her notebook: ",
    "Question and answer. ",
    "As the guide said, ",
)
"""Prefixes in the order of use; the first is empty (the bare prompt)."""
