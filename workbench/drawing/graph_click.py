"""Clickable ECharts graph of a `Subgraph`, without Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kgmet.graph.reading.retrieve import Subgraph
from workbench.drawing.graph_view import COLOURS, GROUND, drawing, legend

__all__ = ["echarts_option"]


def echarts_option(subgraph: Subgraph, *, theme: str = "light") -> tuple[dict[str, Any], Sequence[str]]:
    """Return an ECharts ``graph`` series with the same layout, and the entity ids in node order, for selections."""
    made = drawing(subgraph)
    _, text, grey = GROUND[theme]
    colours = {line.relation.id: line.colour for line in legend(made, theme=theme)}
    palette = COLOURS[theme]
    nodes = [
        {
            "id": node.entity.id,
            "name": node.entity.label,
            "x": node.x,
            "y": node.y,
            "symbol": "diamond" if node.role == "subject" else "circle",
            "symbolSize": {"subject": 34, "new": 28}.get(node.role, 20),
            "itemStyle": {"color": {"subject": palette[4], "new": palette[2], "old": grey}.get(node.role, palette[0])},
        }
        for node in made.nodes
    ]
    links = [
        {
            "source": edge.triple.subject.id,
            "target": edge.triple.object.id,
            "lineStyle": {
                "color": grey if edge.state == "old" else colours[edge.triple.relation.id],
                "width": 4 if edge.state == "new" else 1.6,
                "type": "dashed" if edge.state == "old" else "solid",
                "curveness": 0.08,
            },
            "emphasis": {"label": {"show": True, "formatter": edge.triple.relation.label, "color": text}},
        }
        for edge in made.edges
    ]
    series = {
        "type": "graph",
        "layout": "none",
        "roam": True,
        "selectedMode": "single",
        "edgeSymbol": ["none", "arrow"],
        "edgeSymbolSize": 7,
        "label": {"show": True, "position": "bottom", "color": text, "overflow": "truncate", "width": 110},
        "labelLayout": {"hideOverlap": True},
        "emphasis": {"focus": "adjacency"},
        "select": {"itemStyle": {"borderColor": text, "borderWidth": 3}},
        "data": nodes,
        "links": links,
    }
    return {"series": [series], "animation": False}, [node.entity.id for node in made.nodes]
