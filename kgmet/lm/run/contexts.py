"""Neutral texts put before a prompt, so that a shift or key does not depend on one position or one neighbour."""

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
"""In the order of use: the bare prompt first."""
