"""The share of a run's cases in which the graph took part, and a warning if it is low."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kgmet.measure.metrics import MetricValue, share_value

__all__ = ["ENOUGH", "graph_line", "graph_share", "wants_graph"]

ENOUGH = 0.9
"""Below this share a run measures its graph rather than its editor."""


def graph_share(rows: Sequence[Mapping[str, Any]], *, is_wanted: bool) -> MetricValue | None:
    """Return the share of cases in which every edit uses a consequence or neighbour of the graph.

    A case for which there was no graph, or whose graph could not be asked, counts as one without.

    Args:
        rows: the lines of ``cases.jsonl``.
        is_wanted: whether the editor uses a graph (see `wants_graph`).

    ``None`` if the editor uses no graph, or the run is of an earlier version.
    """
    known = [row["graph"] for row in rows if "graph" in row]
    if not is_wanted or not known:
        return None
    hits = [bool(parts) and all(part is not None and part["took_part"] for part in parts) for parts in known]
    return share_value(sum(hits), len(hits))


def wants_graph(settings: Mapping[str, Any]) -> bool:
    """Return whether the editor of a run optimises consequences or protects neighbours, by ``settings.json``."""
    hold = settings["config"]["hold"]
    return bool(hold["consequences"] or hold["neighbours"])


def graph_line(name: str, share: Mapping[str, Any]) -> str:
    """Describe the share in one line, with a warning and advice below `ENOUGH`."""
    line = f"{name}: the graph took part in {100 * share['value']:.1f} % of {share['n']} cases"
    if share["value"] < ENOUGH:
        line += (
            ". WARNING: too few to tell what the graph does; see `graph` in cases.jsonl for what was not found, and "
            "give another graph (--graph) or relation ids of Wikidata."
        )
    return line
