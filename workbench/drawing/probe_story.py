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
    """Of `n` prompts of one kind: how many are said (or unchanged) before, after, and when told, if that was asked."""

    kind: str
    n: int
    before: int
    after: int
    told: int | None = None


@dataclass(frozen=True, kw_only=True)
class ProbeStory:
    """One run, of one edit."""

    lines: tuple[HopLine, ...]
    counts: tuple[KindCount, ...]


def counts_html(counts: Sequence[KindCount]) -> str:
    """Return the counts as a table."""
    is_told = any(count.told is not None for count in counts)
    names = ("asked", "n", "before", "after", *(("told",) if is_told else ()))
    rows = "".join(
        f"<tr><td>{shown(count.kind)}</td><td>{count.n}</td><td>{count.before}</td><td>{count.after}</td>"
        + (f"<td>{'–' if count.told is None else count.told}</td>" if is_told else "")
        + "</tr>"
        for count in counts
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<table class="kg-counts"><tr>{head}</tr>{rows}</table>'
