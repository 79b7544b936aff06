"""`Picture` → SVG: the edit's sentence above it, its legend below, every text in it escaped. No Streamlit."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Literal

from workbench.drawing.graph_layout import LINE, NAME_SIZE, NOTE_SIZE, REST_SIZE, Picture, PlacedLink, PlacedSpot
from workbench.drawing.graph_story import Link, Spot, Story
from workbench.drawing.text_room import plain, text_width, wrapped
from workbench.wording import percent

__all__ = [
    "INKS",
    "Ink",
    "Seen",
    "Sign",
    "World",
    "about_link",
    "about_spot",
    "colours_of",
    "link_seen",
    "signs_of",
    "spot_seen",
    "story_svg",
    "stroke",
]

World = Literal["both", "before", "after"]
"""What is drawn: both worlds against each other, the one before the edit as it was, or the one after it."""
Seen = Literal["shown", "ghost", "absent"]
"""How a part of the picture appears in a world: in it, beside it, or not at all because it is not true there."""


@dataclass(frozen=True, kw_only=True)
class Ink:
    """Colours of one theme; `new` and `old`, `good` and `bad` are the app's two pairs, as in `assets/style.css`."""

    ground: str
    text: str
    grey: str
    line: str
    good: str
    bad: str
    new_words: str
    old_words: str
    """The pair for words, which need more contrast than lines and faces."""
    new: str = "#1f86c7"
    old: str = "#d9661f"


INKS = {
    "light": Ink(
        ground="#ffffff",
        text="#1b2733",
        grey="#55626f",
        line="#cbd5df",
        good="#00734f",
        bad="#a83f00",
        new_words="#0f6ba6",
        old_words="#ad4a0d",
    ),
    "dark": Ink(
        ground="#11181f",
        text="#e8eef4",
        grey="#a9b6c2",
        line="#3a4957",
        good="#2fc99b",
        bad="#ff8f4d",
        new_words="#4aa7e4",
        old_words="#ee8143",
    ),
}
EDIT_WIDTH, PATH_WIDTH, REST_WIDTH = 3.6, 1.9, 1.3
"""Widths of lines: the edited fact, the paths, the rest."""
GONE, LOOSE = "7 5", "2 4"
"""Dashes: no longer true; neither on a path nor bound to stay."""
_MARGIN, _FONT = 18.0, "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"


def story_svg(picture: Picture, *, theme: str = "light", world: World = "both") -> str:
    """Return a whole SVG document. It asks for nothing outside itself; `theme` is ``light`` or ``dark``."""
    ink, story = INKS[theme], picture.story
    width = max(picture.width, picture.least_width)
    head, high = _heading(story, ink, width, world)
    signs, low = _legend(picture, theme, width, world)
    dx, dy = _MARGIN + (width - picture.width) / 2, _MARGIN + high
    whole_width, whole_height = width + 2 * _MARGIN, dy + picture.height + low + _MARGIN
    lines = [_link(item, picture, ink, world) for item in sorted(picture.links, key=_depth)]
    names = [_spot(item, picture, ink, world) for item in picture.spots]
    said = escape(f"{plain(story.sentence)} {_change(story)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" '
        f'width="{whole_width:.0f}" height="{whole_height:.0f}" '
        f'viewBox="0 0 {whole_width:.0f} {whole_height:.0f}" font-family="{_FONT}" role="img" aria-label="{said}">'
        f'<rect width="100%" height="100%" fill="{ink.ground}"/>'
        f'<g transform="translate({_MARGIN:.0f} {_MARGIN:.0f})">{head}</g>'
        f'<g transform="translate({dx:.1f} {dy:.1f})">{"".join(lines)}{"".join(names)}</g>'
        f'<g transform="translate({_MARGIN:.0f} {dy + picture.height:.1f})">{signs}</g></svg>'
    )


def link_seen(link: Link, world: World) -> Seen:
    """Return how a link appears in a world. What is true in both, but on a path of the other only, stands beside it."""
    if world == "both":
        return "shown"
    if link.truth not in (world, "always"):
        return "absent"
    other = "old" if world == "after" else "new"
    return "ghost" if link.side == other else "shown"


def spot_seen(spot: Spot, story: Story, world: World) -> Seen:
    """Return how a spot appears: as its best link does; one that nothing leads to in this world stands beside it."""
    seen = {link_seen(link, world) for link in story.links if spot.id in (link.start, link.end)}
    return "shown" if not spot.parent or "shown" in seen else "ghost"


def stroke(link: Link, world: World) -> tuple[float, str]:
    """Return the width and dashes of a link's line."""
    width = EDIT_WIDTH if link.is_edit else REST_WIDTH if link.side == "rest" else PATH_WIDTH
    if link.truth == "before" and world == "both":
        return width, GONE
    return width, LOOSE if link.side == "rest" and not link.must_stay else ""


def about_link(link: Link) -> str:
    """Return what the tooltip of a line says."""
    triple = link.triple
    source = triple.source or "no source given"
    return f"{_state(link)}{plain(str(triple))}\n{plain(' '.join(triple.key))}\nsource: {plain(source)}"


def about_spot(spot: Spot) -> str:
    """Return what the tooltip of a name says."""
    entity, move = spot.entity, spot.move
    if move is not None:
        way = "measured with the edit" if move.is_measured else "forecast"
        figures = f"{percent(move.before)} → {percent(move.after)}, {way}"
        return "\n".join(plain(part) for part in (f"{entity.label}, {move.relation}: {move.answer}", figures))
    role = {"subject": "the edit's subject", "new": "the new object", "old": "the old object"}.get(spot.role, "")
    parts = [entity.label, entity.id, entity.description, role]
    return "\n".join(plain(part) for part in parts if part)


def _depth(item: PlacedLink) -> tuple[bool, bool]:
    return item.link.side != "rest", item.link.is_edit


def _change(story: Story) -> str:
    return plain(f"{story.old} → {story.new}" if story.old else f"→ {story.new}")


def _heading(story: Story, ink: Ink, width: float, world: World) -> tuple[str, float]:
    """Return the edit as a sentence, with the old and the new object in their colours; in one line where it fits."""
    (old,), (new,) = (
        wrapped(text, width=min(420.0, width / 2 - 16), size=17, lines=1) for text in (story.old, story.new)
    )
    sentence = plain(story.sentence)
    is_short = text_width(f"{sentence} {old} → {new}", 16) * 1.06 < width
    lines = (sentence,) if is_short else wrapped(sentence, width=width, size=17, lines=3)
    parts = [
        f'<text y="{16 + 22 * n}" font-size="16" font-weight="600" fill="{ink.text}">{escape(line)}'
        f"{' ' if is_short else '</text>'}"
        for n, line in enumerate(lines)
    ]
    y = 16 if is_short else 16 + 22 * len(lines)
    if not is_short:
        parts.append(f'<text y="{y}" font-size="16" font-weight="600">')
    if old:
        struck = ' text-decoration="line-through"' if world != "before" else ""
        parts.append(f'<tspan fill="{ink.old_words}"{struck}>{escape(old)}</tspan>')
    if world != "before":
        arrow = f'<tspan fill="{ink.grey}">{" " if old else ""}→ </tspan>'
        parts.append(f'{arrow}<tspan fill="{ink.new_words}">{escape(new)}</tspan>')
    return "".join(parts) + "</text>", y + 24.0


@dataclass(frozen=True, kw_only=True)
class Sign:
    """One line of the legend: how a kind of line is drawn, and what it says."""

    colour: str
    width: float
    dash: str
    words: str


def signs_of(picture: Picture, *, theme: str, world: World) -> tuple[Sign, ...]:
    """Return the legend of what is in the picture."""
    ink, links = INKS[theme], [item.link for item in picture.links]
    has_old = any(link.is_edit and link.side == "old" for link in links)
    paths = {link.side for link in links if not link.is_edit}
    rest = [link for link in links if link.side == "rest"]
    gone = ("", "the fact before the edit") if world == "before" else (GONE, "no longer true")
    signs = (
        (world != "before", ink.new, EDIT_WIDTH, "", "the edited fact"),
        (has_old and world != "after", ink.old, EDIT_WIDTH, *gone),
        (world != "before" and "new" in paths, ink.new, PATH_WIDTH, "", "path with the new object"),
        (world != "after" and "old" in paths, ink.old, PATH_WIDTH, "", "path with the old object"),
        ("both" in paths, ink.grey, PATH_WIDTH, "", "on both paths"),
        (any(link.must_stay for link in rest), ink.grey, REST_WIDTH, "", "must stay"),
        (any(not link.must_stay for link in rest), ink.grey, REST_WIDTH, LOOSE, "other neighbours"),
        *_moving(picture, ink),
    )
    return tuple(
        Sign(colour=colour, width=w, dash=dash, words=words) for is_in, colour, w, dash, words in signs if is_in
    )


def _moving(picture: Picture, ink: Ink) -> list[tuple[bool, str, float, str, str]]:
    """Return the signs of other facts that move, with how many of each."""
    moves = [item.spot.move for item in picture.spots if item.spot.move is not None]
    way = "measured" if moves and all(move.is_measured for move in moves) else "forecast"
    n_loses = sum(move.loses for move in moves)
    return [
        (n > 0, colour, PATH_WIDTH, "", f"other facts, {way} to {verb}: {n}")
        for colour, verb, n in ((ink.bad, "lose", n_loses), (ink.good, "gain", len(moves) - n_loses))
    ]


def _legend(picture: Picture, theme: str, width: float, world: World) -> tuple[str, float]:
    """Return the lines and words that explain the picture, in rows."""
    x, y, parts = 0.0, 30.0, []
    for sign in signs_of(picture, theme=theme, world=world):
        room = 36 + text_width(sign.words, 12) + 18
        if x and x + room > width:
            x, y = 0.0, y + 20
        dash = f' stroke-dasharray="{sign.dash}"' if sign.dash else ""
        parts.append(f'<g transform="translate({x:.1f} {y:.1f})">')
        parts.append(f'<path d="M0 0H28" stroke="{sign.colour}" stroke-width="{sign.width}"{dash}/>')
        parts.append(_text(sign.words, x=36, y=4, size=12, fill=INKS[theme].grey) + "</g>")
        x += room
    return "".join(parts), y + 8


def _link(item: PlacedLink, picture: Picture, ink: Ink, world: World) -> str:
    link = item.link
    seen = link_seen(link, world)
    if seen == "absent":
        return ""
    colour = {"new": ink.new, "old": ink.old}.get(link.side, ink.grey)
    width, pattern = stroke(link, world)
    dash = f' stroke-dasharray="{pattern}"' if pattern else ""
    opacity = ' opacity="0.3"' if seen == "ghost" else ""
    faint = "" if link.side != "rest" else f' opacity="{0.6 if _is_branch(item, picture) else 0.16}"'
    parts = [
        f'<g class="link {link.side}" data-start="{escape(link.start)}" data-end="{escape(link.end)}" '
        f'data-paths="{escape(" ".join(sorted(link.paths)))}"{opacity}><title>{escape(about_link(link))}</title>',
        f'<path d="{item.path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}{faint}/>',
    ]
    if item.label_box is not None:
        parts.append(_arrow(item, colour, wide=link.is_edit))
        box = item.label_box
        parts.append(
            f'<rect x="{box.left - 3:.1f}" y="{box.top:.1f}" width="{box.width + 6:.1f}" height="{box.height:.1f}" '
            f'fill="{ink.ground}"/>'
        )
        fill, weight = (ink.text, 600) if link.is_edit else (ink.grey, 400)
        y = box.y + NOTE_SIZE * 0.36
        parts.append(_text(item.label, x=box.x, y=y, size=NOTE_SIZE, fill=fill, weight=weight, anchor="middle"))
    return "".join(parts) + "</g>"


def _is_branch(item: PlacedLink, picture: Picture) -> bool:
    """Return whether one end hangs on the other, and is not only joined to it besides."""
    parents = {spot.id: spot.parent for spot in picture.story.spots}
    return parents[item.link.start] == item.link.end or parents[item.link.end] == item.link.start


def _state(link: Link) -> str:
    if link.is_edit:
        return "the edited fact\n" if link.truth == "after" else "true before the edit\n"
    return {"after": "true after the edit\n", "before": "no longer true after the edit\n", "always": ""}[link.truth]


def _arrow(item: PlacedLink, colour: str, *, wide: bool) -> str:
    """Return the head of the line, at the triple's object."""
    assert item.head is not None
    half = 5.5 if wide else 4.5
    x, y = item.head
    if item.points == "up":
        corner = f"L{x - half:.1f} {y + 9:.1f}H{x + half:.1f}Z"
    else:
        back = x - 9 if item.points == "right" else x + 9
        corner = f"L{back:.1f} {y - half:.1f}V{y + half:.1f}Z"
    return f'<path d="M{x:.1f} {y:.1f}{corner}" fill="{colour}"/>'


def _spot(item: PlacedSpot, picture: Picture, ink: Ink, world: World) -> str:
    spot, box = item.spot, item.box
    seen = spot_seen(spot, picture.story, world)
    fill, stroke, text = colours_of(spot, picture.story, ink)
    tint = ' fill-opacity="0.18"' if spot.role in ("new", "old") else ""
    opacity = {"ghost": "0.35", "shown": "0.75" if spot.is_rest and spot.move is None else "1"}[seen]
    shape = (
        f'<rect x="{box.left:.1f}" y="{box.top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{min(13.0, box.height / 2):.0f}" fill="{ink.ground}"/>'
        f'<rect class="face" x="{box.left:.1f}" y="{box.top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{min(13.0, box.height / 2):.0f}" fill="{fill}"{tint} stroke="{stroke}" '
        f'stroke-width="{2.4 if spot.role else 1.4}"/>'
    )
    paths = " ".join(sorted(picture.story.paths_at(spot.id))) if spot.parent else ""
    return (
        f'<g class="spot{" rest" if spot.is_rest else ""}" data-spot="{escape(spot.id)}" '
        f'data-entity="{escape(spot.entity.id)}" data-paths="{escape(paths)}" opacity="{opacity}">'
        f"<title>{escape(about_spot(spot))}</title>{shape}{_lines(item, ink, text)}</g>"
    )


def colours_of(spot: Spot, story: Story, ink: Ink) -> tuple[str, str, str]:
    """Fill, border and text of a name."""
    if spot.role == "subject":
        return ink.text, ink.text, ink.ground
    if spot.move is not None:
        return ink.ground, ink.bad if spot.move.loses else ink.good, ink.text
    sides = {link.side for link in story.links if spot.id in (link.start, link.end) and link.side != "rest"}
    side = next(iter(sides)) if len(sides) == 1 else "new" if spot.lane == "new" and "new" in sides else spot.lane
    if spot.is_rest or side not in ("new", "old"):
        return ink.ground, ink.line if spot.is_rest else ink.grey, ink.text
    colour = ink.new if side == "new" else ink.old
    return (colour if spot.role else ink.ground), colour, ink.text


def _lines(item: PlacedSpot, ink: Ink, colour: str) -> str:
    box = item.box
    if item.spot.is_rest:
        note = _text(item.note, x=box.x, y=box.y - 4, size=REST_SIZE - 1.5, fill=ink.grey, anchor="middle")
        return note + _text(item.lines[0], x=box.x, y=box.y + 11, size=REST_SIZE, fill=colour, anchor="middle")
    first = box.y + NAME_SIZE * 0.36 - LINE * (len(item.lines) - 1) / 2
    weight = 600 if item.spot.role else 400
    return "".join(
        _text(line, x=box.x, y=first + LINE * n, size=NAME_SIZE, fill=colour, weight=weight, anchor="middle")
        for n, line in enumerate(item.lines)
    )


def _text(text: str, *, x: float, y: float, size: float, fill: str, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{fill}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
