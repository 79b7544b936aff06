"""What of a run of probes is told on: chains as lines and counts by kind, kept for the page that shares a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.drawing.hop_line import HopLine
from workbench.drawing.plain import shown

__all__ = ["RESULT", "RUN", "KindCount", "ProbeStory", "counts_html"]

RUN = "probe"
"""Name of the result with all answers of a run."""
RESULT = "probe_story"
"""Name under which a session keeps it."""


@dataclass(frozen=True, kw_only=True)
class KindCount:
    """Of `n` prompts of one kind: how many are said before, after, and when told, if that was asked.

    Of a kind that must stay, how many are unchanged after and when told; before there is nothing to count.
    """

    kind: str
    n: int
    before: int | None
    after: int
    told: int | None = None


@dataclass(frozen=True, kw_only=True)
class ProbeStory:
    """One run, of one edit."""

    lines: tuple[HopLine, ...]
    counts: tuple[KindCount, ...]


def counts_html(counts: Sequence[KindCount]) -> str:
    """Return the counts as a table."""

    def cell(number: int | None) -> str:
        return f"<td>{'–' if number is None else number}</td>"

    is_told = any(count.told is not None for count in counts)
    names = ("asked", "n", "before", "after", *(("told",) if is_told else ()))
    rows = "".join(
        f"<tr><td>{shown(count.kind)}</td><td>{count.n}</td>{cell(count.before)}{cell(count.after)}"
        + (cell(count.told) if is_told else "")
        + "</tr>"
        for count in counts
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<table class="kg-counts"><tr>{head}</tr>{rows}</table>'
