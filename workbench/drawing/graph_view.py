"""`Picture` → the page that is shared: a pyvis network in the same places, which needs no network connection.

No Streamlit here. Labels come from anywhere, so nothing of them reaches the page as markup.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

from pyvis.network import Network

from workbench.drawing.graph_layout import NAME_SIZE, NOTE_SIZE, REST_SIZE, Picture, PlacedLink, PlacedSpot
from workbench.drawing.graph_script import SCRIPT
from workbench.drawing.graph_svg import (
    INKS,
    World,
    about_link,
    about_spot,
    colours_of,
    link_seen,
    signs_of,
    spot_seen,
    stroke,
)
from workbench.drawing.text_room import plain

__all__ = ["graph_html"]

_OUTSIDE = re.compile(r"<(link|script)\b[^>]*?\b(?:href|src)=\"https?://[^>]*>(?:\s*</script>)?", re.S)
_OPTIONS = {
    "physics": {"enabled": False},
    "interaction": {"hover": True, "tooltipDelay": 120, "keyboard": {"enabled": True, "bindToWindow": False}},
    "edges": {"arrowStrikethrough": False, "selectionWidth": 0.6, "hoverWidth": 0.6},
    "nodes": {"chosen": {"label": False, "node": True}},
}
_CURVE = {"enabled": True, "type": "cubicBezier", "forceDirection": "horizontal", "roundness": 0.5}


def graph_html(picture: Picture, *, theme: str = "light", world: World = "both", height: str = "100vh") -> str:
    """Return a whole HTML page with the picture, its sentence and legend, and buttons to fit it and to save it as PNG.

    It asks for nothing outside itself. `theme` is ``light`` or ``dark``; `height` as in CSS, sentence and legend
    included.
    """
    # Not with its `font_color`: that puts a font of nothing but a colour in place of every node's own.
    net = Network(height="100%", width="100%", directed=True, cdn_resources="in_line", bgcolor=INKS[theme].ground)
    for spot in picture.spots:
        net.add_node(spot.spot.id, **_spot(spot, picture, theme, world))
    for number, link in enumerate(picture.links):
        if link_seen(link.link, world) != "absent":
            _add_link(net, number, link, theme, world)
    net.set_options(json.dumps(_OPTIONS))
    page = _OUTSIDE.sub("", net.generate_html())
    page = re.sub(r"<center>\s*<h1></h1>\s*</center>", "", page)
    page = page.replace("<head>", _head(picture, theme, height), 1)
    page = re.sub(r"<body>", lambda _: "<body>" + _sentence(picture, theme, world), page, count=1)
    return page.replace("</body>", _foot(picture, theme, world) + "</body>", 1)


def _spot(item: PlacedSpot, picture: Picture, theme: str, world: World) -> dict[str, Any]:
    spot, box, ink = item.spot, item.box, INKS[theme]
    fill, border, text = colours_of(spot, picture.story, ink)
    if spot.role in ("new", "old"):
        fill = _mixed(fill, ink.ground, 0.18)
    return {
        "label": "\n".join((item.note, *item.lines) if item.note else item.lines),
        "title": _quiet(about_spot(spot)),
        "x": round(box.x, 1),
        "y": round(box.y, 1),
        "fixed": False,
        "physics": False,
        "shape": "box",
        "margin": 6,
        "opacity": 0.35 if spot_seen(spot, picture.story, world) == "ghost" else 1,
        "borderWidth": 2.4 if spot.role else 1.4,
        "shapeProperties": {"borderRadius": 12},
        "color": {"background": fill, "border": border, "highlight": fill, "hover": fill},
        "font": {"size": REST_SIZE if spot.is_rest else NAME_SIZE, "color": text, "multi": False},
    }


def _add_link(net: Network, number: int, item: PlacedLink, theme: str, world: World) -> None:
    """Add a line of the rest as one edge; one of a path as two, with the relation's name as a node between them."""
    link, ink = item.link, INKS[theme]
    width, dash = stroke(link, world)
    ghost = link_seen(link, world) == "ghost"
    colour = {"new": ink.new, "old": ink.old}.get(link.side, ink.grey)
    about = _quiet(about_link(link))
    line: dict[str, Any] = {
        "title": about,
        "color": {"color": colour, "opacity": 0.3 if ghost else 0.5 if link.side == "rest" else 1},
        "width": width,
        "dashes": [int(part) for part in dash.split()] if dash else False,
        "smooth": _CURVE,
    }
    box = item.label_box
    if box is None:
        net.add_edge(link.start, link.end, id=f"{number}", arrows={"to": {"enabled": False}}, **line)
        return
    name = f"relation {number}"
    font = {
        "size": NOTE_SIZE,
        "color": ink.text if link.is_edit else ink.grey,
        "strokeWidth": 5,
        "strokeColor": ink.ground,
        "multi": False,
    }
    net.add_node(
        name,
        label=item.label,
        title=about,
        x=round(box.x, 1),
        y=round(box.y, 1),
        physics=False,
        shape="text",
        font=font,
        opacity=0.35 if ghost else 1,
    )
    arrow = {"enabled": True, "scaleFactor": 0.6}
    far, near = (link.start, link.end) if item.is_backward else (link.end, link.start)
    first = {"from": arrow} if item.is_backward else {"to": {"enabled": False}}
    last = {"to": {"enabled": False}} if item.is_backward else {"to": arrow}
    net.add_edge(near, name, id=f"{number} a", arrows=first, **line)
    net.add_edge(name, far, id=f"{number} b", arrows=last, **line)


def _mixed(colour: str, ground: str, share: float) -> str:
    """Return a colour on a ground, as strong as `share` says."""
    parts = zip(*(bytes.fromhex(text.removeprefix("#")) for text in (colour, ground)), strict=True)
    return "#" + "".join(f"{round(one * share + other * (1 - share)):02x}" for one, other in parts)


def _quiet(text: str) -> str:
    # pyvis switches to a tooltip that renders HTML as soon as any title holds these four letters.
    return text.replace("href", "hre\u200bf")


def _sentence(picture: Picture, theme: str, world: World) -> str:
    ink, story = INKS[theme], picture.story
    old, new = html.escape(plain(story.old)), html.escape(plain(story.new))
    parts = [html.escape(plain(story.sentence))]
    if old:
        tag = "b" if world == "before" else "s"
        parts.append(f'<{tag} style="color:{ink.old_words}">{old}</{tag}>')
    if world != "before":
        parts.append(f'→ <b style="color:{ink.new_words}">{new}</b>')
    return f"<h1>{' '.join(parts)}</h1>"


def _head(picture: Picture, theme: str, height: str) -> str:
    ink = INKS[theme]
    title = html.escape(plain(f"{picture.story.sentence} → {picture.story.new}"))
    return f"""<head><title>{title}</title><style>
html,body{{margin:0;background:{ink.ground};color:{ink.text};font:13px system-ui,sans-serif;color-scheme:{theme}}}
html,body{{overflow:hidden}}
body{{height:{height};display:flex;flex-direction:column}}
h1{{font-size:16px;margin:10px 12px 2px}}
.card{{flex:1;min-height:0;border:0!important;width:100%!important}}
#mynetwork{{border:0!important;float:none!important;height:100%!important}}
.bar{{display:flex;flex-wrap:wrap;gap:4px 14px;align-items:center;padding:6px 12px 10px}}
.bar button{{font:inherit;color:inherit;background:transparent;border:1px solid {ink.grey};border-radius:6px;
padding:2px 10px;cursor:pointer}}
.bar button:focus-visible{{outline:2px solid {ink.new}}}
.bar svg{{vertical-align:middle;margin-right:6px}}
div.vis-tooltip{{background:{ink.ground}!important;color:{ink.text}!important;border:1px solid {ink.grey}!important;
font:13px system-ui,sans-serif!important;border-radius:6px!important;white-space:pre-line!important;
max-width:320px;box-shadow:none!important}}
</style>"""


def _foot(picture: Picture, theme: str, world: World) -> str:
    chips = []
    for sign in signs_of(picture, theme=theme, world=world):
        dash = f' stroke-dasharray="{sign.dash}"' if sign.dash else ""
        line = f'<path d="M0 4H28" stroke="{sign.colour}" stroke-width="{sign.width}"{dash}/>'
        chips.append(f'<span><svg width="28" height="8">{line}</svg>{sign.words}</span>')
    buttons = '<button id="fit" type="button">Fit</button><button id="png" type="button">Save PNG</button>'
    script = SCRIPT.replace("GROUND", INKS[theme].ground)
    return f'<div class="bar">{buttons}{"".join(chips)}</div>{script}'
