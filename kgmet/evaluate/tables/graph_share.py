"""In how many cases of a run the graph took part, and what to say where it seldom did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kgmet.measure.metrics import MetricValue, share_value

__all__ = ["ENOUGH", "graph_line", "graph_share"]

ENOUGH = 0.9
"""Below this share a run says more about its graph than about its editor."""


def graph_share(rows: Sequence[Mapping[str, Any]]) -> MetricValue | None:
    """Return the share of the cases of which every edit holds or protects something of the graph.

    ``None`` where the editor takes nothing from a graph, none was given, or the run is of an earlier version.
    """
    wanted = [row["graph"] for row in rows if any(part and part["is_wanted"] for part in row.get("graph", []))]
    if not wanted:
        return None
    hits = [all(part is not None and part["took_part"] for part in parts) for parts in wanted]
    return share_value(sum(hits), len(hits))


def graph_line(name: str, share: Mapping[str, Any]) -> str:
    """Say the share in one line; below `ENOUGH` with a warning that says where to look."""
    line = f"{name}: the graph took part in {100 * share['value']:.1f} % of {share['n']} cases"
    if share["value"] < ENOUGH:
        line += (
            ". WARNING: too few to tell what the graph does; see `graph` in cases.jsonl for what was not found, and "
            " give another graph (--graph) or relation ids of Wikidata."
        )
    return line
