"""`Subgraph` → node-link picture: a pyvis page that needs no network.

No Streamlit here. Labels come from anywhere, so nothing of them reaches the page as markup.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from typing import Any

from pyvis.network import Network

from kgmet.graph.reading.retrieve import Subgraph
from kgmet.graph.triple import Entity, Relation, Triple
from workbench.drawing.graph_layout import FLAT, ring_positions, ring_radii
from workbench.drawing.graph_script import SCRIPT

__all__ = [
    "COLOURS",
    "GROUND",
    "Drawing",
    "DrawnEdge",
    "DrawnNode",
    "LegendLine",
    "drawing",
    "graph_html",
    "legend",
    "legend_html",
]

_OUTSIDE = re.compile(r"<(link|script)\b[^>]*?\b(?:href|src)=\"https?://[^>]*>(?:\s*</script>)?", re.S)
COLOURS = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#b8679a", "#b07800", "#2f8fc4", "#6b7785", "#1b2733"),
    "dark": ("#56b4e9", "#e8772e", "#2bbf93", "#d993bb", "#f0b429", "#9ad5f7", "#9aa7b4", "#ffffff"),
}
"""Okabe and Ito's set, in the order of `.streamlit/config.toml`."""
GROUND = {"light": ("#ffffff", "#1b2733", "#66727e"), "dark": ("#11181f", "#e8eef4", "#8a98a5")}
"""Background, text, grey."""


@dataclass(frozen=True, kw_only=True)
class DrawnNode:
    """One entity in its place. `role`: ``subject``, ``new``, ``old`` or empty."""

    entity: Entity
    hop: int
    x: float
    y: float
    role: str


@dataclass(frozen=True, kw_only=True)
class DrawnEdge:
    """One triple. `state`: ``new`` (the edited edge), ``old`` (what it replaces) or empty."""

    triple: Triple
    state: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Everything a picture shows, with fixed places: both pictures and the legend are made from it."""

    nodes: tuple[DrawnNode, ...]
    edges: tuple[DrawnEdge, ...]
    relations: tuple[Relation, ...]
    n_left_out: int


def drawing(subgraph: Subgraph) -> Drawing:
    """Place a subgraph; replaced edges are drawn too, struck, with the nodes only they reach."""
    edited = subgraph.edited
    keys = {triple.key for triple in subgraph.triples}
    old = [triple for triple in subgraph.replaced if triple.key not in keys]
    triples = [*subgraph.triples, *old]
    entities = dict(zip(subgraph.entities, subgraph.hop, strict=True))
    for triple in old:
        for entity, other in ((triple.object, triple.subject), (triple.subject, triple.object)):
            entities.setdefault(entity, entities.get(other, 0) + 1)
    places = ring_positions({entity.id: hop for entity, hop in entities.items()}, triples)
    anchor = subgraph.entities[subgraph.anchor]
    roles = {triple.object.id: "old" for triple in old if triple.subject == anchor}
    if edited is not None:
        roles |= {edited.object.id: "new"}
    roles[anchor.id] = "subject"
    relations = {triple.relation.id: triple.relation for triple in triples}
    return Drawing(
        nodes=tuple(
            DrawnNode(entity=e, hop=hop, x=places[e.id][0], y=places[e.id][1], role=roles.get(e.id, ""))
            for e, hop in sorted(entities.items(), key=lambda item: item[0].id)
        ),
        edges=tuple(
            DrawnEdge(
                triple=t, state="new" if edited is not None and t.key == edited.key else "old" if t in old else ""
            )
            for t in triples
        ),
        relations=tuple(relations[key] for key in sorted(relations)),
        n_left_out=subgraph.n_left_out,
    )


@dataclass(frozen=True, kw_only=True)
class LegendLine:
    """How one relation is drawn: `stroke` counts from 0 (solid) and rises when the eight colours are used up."""

    relation: Relation
    colour: str
    stroke: int
    n_edge: int


def legend(made: Drawing, *, theme: str) -> list[LegendLine]:
    """Return one line per relation, most frequent first."""
    counts = {r.id: sum(e.triple.relation.id == r.id for e in made.edges) for r in made.relations}
    ranked = sorted(made.relations, key=lambda r: (-counts[r.id], r.id))
    colours = COLOURS[theme]
    n = len(colours)
    return [
        LegendLine(relation=r, colour=colours[place % n], stroke=place // n % 3, n_edge=counts[r.id])
        for place, r in enumerate(ranked)
    ]


def legend_html(made: Drawing, *, theme: str, star: str = "★") -> str:
    """Return spans that explain nodes, rings and relations; `star` is the sign the subject has."""
    colours, grey = COLOURS[theme], GROUND[theme][2]
    roles = {node.role for node in made.nodes}
    signs = (
        ("subject", star, colours[4], "subject"),
        ("new", "●", colours[2], "new object"),
        ("old", "●", grey, "true before the edit only"),
    )
    chips = [
        f'<span><b style="color:{colour}">{sign}</b> {name}</span>'
        for role, sign, colour, name in signs
        if role in roles
    ]
    chips.append("<span>rings: hops from the subject</span>")
    chips += [
        f'<span><i class="s{line.stroke}" style="border-color:{line.colour}"></i>'
        f"{html.escape(line.relation.label)} ({line.n_edge})</span>"
        for line in legend(made, theme=theme)
    ]
    if any(edge.state == "old" for edge in made.edges):
        chips.append(f'<span><i class="gone" style="border-color:{grey}"></i>✕ no longer true</span>')
    if made.n_left_out:
        chips.append(f"<span>{made.n_left_out} more triple(s) not drawn</span>")
    return "".join(chips)


def graph_html(subgraph: Subgraph, *, theme: str = "light", height: int = 560) -> str:
    """Return a whole HTML page with the graph, its legend and buttons to fit it and to save it as PNG.

    It asks for nothing outside itself. `theme` is ``light`` or ``dark``; `height` in pixels, legend included.
    """
    made = drawing(subgraph)
    ground = GROUND[theme][0]
    lines = {line.relation.id: line for line in legend(made, theme=theme)}
    # Not with its `font_color`: that puts a font of nothing but a colour in place of every node's own.
    net = Network(height="100%", width="100%", directed=True, cdn_resources="in_line", bgcolor=ground)
    for node in made.nodes:
        net.add_node(node.entity.id, **_node(node, theme=theme))
    for number, edge in enumerate(made.edges):
        triple = edge.triple
        net.add_edge(triple.subject.id, triple.object.id, id=number, **_edge(edge, lines[triple.relation.id], theme))
    net.set_options(json.dumps(_OPTIONS))
    page = _OUTSIDE.sub("", net.generate_html())
    page = re.sub(r"<center>\s*<h1></h1>\s*</center>", "", page)
    return page.replace("<head>", _head(theme, height), 1).replace("</body>", _foot(made, theme) + "</body>", 1)


_OPTIONS = {
    "physics": {"enabled": False},
    "interaction": {"hover": True, "tooltipDelay": 120, "keyboard": {"enabled": True, "bindToWindow": False}},
    "edges": {
        "arrows": {"to": {"enabled": True, "scaleFactor": 0.55}},
        "smooth": {"type": "curvedCW", "roundness": 0.12},
    },
    "nodes": {"borderWidth": 1.5},
}


def _node(node: DrawnNode, *, theme: str) -> dict[str, Any]:
    colours = COLOURS[theme]
    ground, text, grey = GROUND[theme]
    fill = {"subject": colours[4], "new": colours[2], "old": grey}.get(node.role, colours[0])
    size = {"subject": 24, "new": 18, "old": 12}.get(node.role, 12 if node.hop < 2 else 9)
    label, font = _wrapped(node.entity.label), 21 if node.role else 17
    return {
        "label": label,
        "title": _quiet(_about(node)),
        "x": node.x,
        "y": node.y,
        "physics": False,
        "shape": {"subject": "star", "new": "dot", "old": "dot"}.get(node.role, "dot"),
        "size": size,
        "color": {"background": fill, "border": text if node.role else fill, "highlight": fill, "hover": fill},
        "font": {
            "size": font,
            "color": text if node.role != "old" else grey,
            "strokeWidth": 4,
            "strokeColor": ground,
            "multi": False,
            "vadjust": _above(label, size=size, font=font) if node.y < 0 else 0,
        },
    }


def _above(label: str, *, size: int, font: int) -> int:
    """By how much a label moves up from below its node to above it: edges come from the middle of the picture."""
    return -(2 * size + 8 + round(1.15 * font * (label.count("\n") + 1)))


def _edge(edge: DrawnEdge, line: LegendLine, theme: str) -> dict[str, Any]:
    triple = edge.triple
    grey = GROUND[theme][2]
    source = triple.source or "nobody said"
    about = f"{triple}\n{triple.subject.id} {triple.relation.id} {triple.object.id}\nsource: {source}"
    drawn: dict[str, Any] = {"title": _quiet(about), "color": line.colour, "width": 1.6}
    if line.stroke:
        drawn["dashes"] = [2, 5] if line.stroke == 1 else [12, 4]
    if edge.state == "new":
        drawn |= {"width": 4.5, "label": "new", "font": _tag(GROUND[theme][1], theme, 17)}
        drawn["title"] = _quiet("the edited fact\n" + about)
    if edge.state == "old":
        drawn |= {"dashes": [5, 6], "color": grey, "label": "✕", "font": _tag(grey, theme, 18)}
        drawn["title"] = _quiet("no longer true after the edit\n" + about)
    return drawn


def _tag(colour: str, theme: str, size: int) -> dict[str, Any]:
    return {"size": size, "color": colour, "strokeWidth": 4, "strokeColor": GROUND[theme][0]}


def _about(node: DrawnNode) -> str:
    role = {"subject": "the edit's subject", "new": "the new object", "old": "the old object"}.get(node.role, "")
    parts = [node.entity.label, node.entity.id, node.entity.description, role, f"{node.hop} hop(s) from the subject"]
    return "\n".join(part for part in parts if part)


def _quiet(text: str) -> str:
    # pyvis switches to a tooltip that renders HTML as soon as any title holds these four letters.
    return text.replace("href", "hre\u200bf")


def _wrapped(label: str, width: int = 18) -> str:
    lines = [""]
    for word in label.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    shown = [line if len(line) <= 26 else line[:25] + "…" for line in lines]
    return "\n".join(shown[:3]) + ("…" if len(shown) > 3 else "")


def _head(theme: str, height: int) -> str:
    ground, text, grey = GROUND[theme]
    return f"""<head><title>Knowledge graph around the edit</title><style>
html,body{{margin:0;background:{ground};color:{text};font:13px system-ui,sans-serif;color-scheme:{theme}}}
html,body{{overflow:hidden}}
body{{height:{height}px;display:flex;flex-direction:column}}
.card{{flex:1;min-height:0;border:0!important;width:100%!important}}
#mynetwork{{border:0!important;float:none!important;height:100%!important}}
.bar{{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:center;padding:6px 4px;
max-height:{max(92, height // 5)}px;overflow:auto}}
.bar i{{display:inline-block;width:22px;height:0;border-top:3px solid;margin-right:5px;vertical-align:middle}}
.bar i.gone{{border-top-style:dashed}}
.bar button{{font:inherit;color:inherit;background:transparent;border:1px solid {grey};border-radius:6px;
padding:2px 10px;cursor:pointer}}
.bar button:focus-visible{{outline:2px solid {COLOURS[theme][0]}}}
div.vis-tooltip{{background:{ground}!important;color:{text}!important;border:1px solid {grey}!important;
font:13px system-ui,sans-serif!important;border-radius:6px!important;white-space:pre-line!important;
max-width:320px;box-shadow:none!important}}
.bar i.s1{{border-top-style:dotted}}
.bar i.s2{{border-top-style:double}}
</style>"""


def _foot(made: Drawing, theme: str) -> str:
    ground, _, grey = GROUND[theme]
    rings = json.dumps(ring_radii((node.hop, node.x, node.y) for node in made.nodes))
    buttons = '<button id="fit" type="button">Fit</button><button id="png" type="button">Save PNG</button>'
    script = SCRIPT
    for name, value in (("GROUND", ground), ("GREY", grey), ("RINGS", rings), ("FLAT", f"{FLAT}")):
        script = script.replace(name, value)
    return f'<div class="bar">{buttons}{legend_html(made, theme=theme)}</div>{script}'
