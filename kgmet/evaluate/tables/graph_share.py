"""The share of a run's cases in which the graph took part, and a warning if it is low."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kgmet.measure.metrics import MetricValue, share_value

__all__ = ["ENOUGH", "graph_line", "graph_share"]

ENOUGH = 0.9
"""Below this share a run measures its graph rather than its editor."""


def graph_share(rows: Sequence[Mapping[str, Any]]) -> MetricValue | None:
    """Return the share of cases in which every edit uses a consequence or neighbour of the graph.

    ``None`` if the editor uses no graph, none was given, or the run is of an earlier version.
    """
    wanted = [row["graph"] for row in rows if any(part and part["is_wanted"] for part in row.get("graph", []))]
    if not wanted:
        return None
    hits = [all(part is not None and part["took_part"] for part in parts) for parts in wanted]
    return share_value(sum(hits), len(hits))


def graph_line(name: str, share: Mapping[str, Any]) -> str:
    """Describe the share in one line, with a warning and advice below `ENOUGH`."""
    line = f"{name}: the graph took part in {100 * share['value']:.1f} % of {share['n']} cases"
    if share["value"] < ENOUGH:
        line += (
            ". WARNING: too few to tell what the graph does; see `graph` in cases.jsonl for what was not found, and "
            " give another graph (--graph) or relation ids of Wikidata."
        )
    return line
