"""`Story` → `Picture`: where each name and each line stands. The same story has the same places every time.

The subject stands on the left, what follows is read to the right: with the new object above, with the old one below.
What leads to the subject stands before it. The rest stands in rows above and below the paths, so that it moves none of
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from workbench.drawing.graph_story import Lane, Link, Move, Spot, Story
from workbench.drawing.text_room import plain, text_width, wrapped

__all__ = [
    *("LINE", "NAME_SIZE", "NOTE_SIZE", "PAD", "REST_SIZE"),
    *("Box", "Heading", "Picture", "PlacedLink", "PlacedSpot"),
    *("place", "relation_of", "rest_note", "tree_child"),
]

NAME_SIZE, NOTE_SIZE, REST_SIZE = 14.0, 12.5, 12.5
"""Sizes of type in pixels: names on the paths; relations; names of the rest."""
LINE = 17.0
"""Height of a line of a name."""
PAD, _ROW_GAP, _LANE_GAP, _BEND, _ARROW = 11.0, 10.0, 30.0, 30.0, 12.0
_REST_HEIGHT, _REST_GAP, _BAND_GAP, _LEAST_WIDTH = 34.0, 8.0, 30.0, 860.0
_LONGEST_RELATION = 26
_NAME_ROOM, _REST_ROOM = 190.0, 200.0
"""Longest line of a name, in pixels: on the paths; of the rest."""

Heading = Literal["left", "right", "up"]
"""Where the head of a line points."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle around its centre, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Its left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """Its upper edge."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height / 2

    def overlaps(self, other: Box) -> bool:
        """Return whether the two share an area."""
        apart_x = abs(self.x - other.x) >= (self.width + other.width) / 2
        apart_y = abs(self.y - other.y) >= (self.height + other.height) / 2
        return not (apart_x or apart_y)

    def moved(self, dx: float, dy: float) -> Box:
        """Return the same rectangle elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)


@dataclass(frozen=True, kw_only=True)
class PlacedSpot:
    """A spot with the lines of its name; one of the rest also says in `note` what it is to the spot it hangs on."""

    spot: Spot
    box: Box
    lines: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class PlacedLink:
    """A link as an SVG path, with its relation's name in `label_box` where it has one of its own."""

    link: Link
    path: str
    label: str = ""
    label_box: Box | None = None
    is_backward: bool = False
    """Whether the triple's object is at the beginning of the path."""
    head: tuple[float, float] | None = None
    """Where the arrow's tip is, at the triple's object; ``None`` without an arrow."""
    points: Heading = "right"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A story in its places, from (0, 0) to (`width`, `height`)."""

    story: Story
    spots: tuple[PlacedSpot, ...]
    links: tuple[PlacedLink, ...]
    width: float
    height: float
    least_width: float = 560.0
    """Least width of the whole drawing, in which sentence and legend have room."""

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The room of every name in the picture."""
        labels = (item.label_box for item in self.links if item.label_box is not None)
        return (*(item.box for item in self.spots), *labels)


def place(story: Story) -> Picture:
    """Give every spot and link of a story its place."""
    of = {spot.id: spot for spot in story.spots}
    names = {spot.id: _name(spot) for spot in story.spots if not spot.is_rest}
    boxes = _rows(story.spots, names)
    boxes = _columns(boxes, of, {tree_child(k, of): _label_width(k) for k in story.links if k.side != "rest"})
    rest, notes = _bands(story, boxes)
    boxes |= rest
    left, top = min(box.left for box in boxes.values()), min(box.top for box in boxes.values())
    boxes = {key: box.moved(-left, -top) for key, box in boxes.items()}
    ends = _column_ends(boxes, of)
    return Picture(
        story=story,
        spots=tuple(
            PlacedSpot(
                spot=spot,
                box=boxes[spot.id],
                lines=names.get(spot.id) or _rest_name(spot),
                note=notes.get(spot.id, ""),
            )
            for spot in story.spots
        ),
        links=tuple(_placed(link, of, boxes, ends) for link in story.links),
        width=max(box.right for box in boxes.values()),
        height=max(box.bottom for box in boxes.values()),
    )


def _name(spot: Spot) -> tuple[str, ...]:
    return wrapped(spot.entity.label, width=_NAME_ROOM, size=NAME_SIZE, lines=2)


def _rest_name(spot: Spot) -> tuple[str, ...]:
    """Return the name of a spot of the rest, in one line."""
    return wrapped(spot.entity.label, width=_REST_ROOM, size=REST_SIZE, lines=1)


def relation_of(link: Link) -> str:
    """Return the name of a link's relation, cut if it is long."""
    text = plain(link.triple.relation.label)
    return text if len(text) <= _LONGEST_RELATION else text[: _LONGEST_RELATION - 1] + "…"


def _label_width(link: Link) -> float:
    """Return the room of a relation's name; that of the edited fact is bold."""
    return text_width(relation_of(link), NOTE_SIZE) * (1.1 if link.is_edit else 1.0)


def tree_child(link: Link, of: Mapping[str, Spot]) -> str:
    """Return the end of a link that hangs on the other."""
    return link.end if of[link.end].parent == link.start else link.start


def _size(lines: Sequence[str]) -> tuple[float, float]:
    return max(text_width(line, NAME_SIZE) for line in lines) + 2 * PAD, LINE * len(lines) + PAD


def _rows(spots: Sequence[Spot], names: Mapping[str, tuple[str, ...]]) -> dict[str, Box]:
    """Compute heights: the paths' ends one below the other, every other spot in the middle of what hangs on it."""
    below: dict[str, list[Spot]] = {}
    for spot in spots:
        if spot.id in names and spot.parent:
            below.setdefault(spot.parent, []).append(spot)
    made: dict[str, Box] = {}

    def stand(spot: Spot, y: float) -> float:
        width, height = _size(names[spot.id])
        here = [child for child in below.get(spot.id, ()) if child.lane == spot.lane]
        end = y
        for child in here:
            end = stand(child, end)
        middle = (made[here[0].id].y + made[here[-1].id].y) / 2 if here else y + height / 2
        made[spot.id] = Box(x=0.0, y=middle, width=width, height=height)
        return max(end, y + height + _ROW_GAP)

    subject = spots[0]
    y, last = 0.0, 0.0
    at: dict[Lane, list[Box]] = {}
    for lane in ("new", "old", "source"):
        y = 0.0 if lane == "source" else y + (_LANE_GAP if last else 0.0)
        for child in below.get(subject.id, ()):
            if child.lane == lane:
                y = last = stand(child, y)
                at.setdefault(lane, []).append(made[child.id])
    beside = [*at.get("new", ()), *at.get("old", ())]
    middle = (beside[0].y + beside[-1].y) / 2 if beside else 0.0
    width, height = _size(names[subject.id])
    made[subject.id] = Box(x=0.0, y=middle, width=width, height=height)
    source = at.get("source", [])
    if source:
        shift = middle - (source[0].y + source[-1].y) / 2
        for spot in spots:
            if spot.lane == "source" and spot.id in made:
                made[spot.id] = made[spot.id].moved(0.0, shift)
    return made


def _columns(boxes: Mapping[str, Box], of: Mapping[str, Spot], labels: Mapping[str, float]) -> dict[str, Box]:
    """Compute widths: one column per step, as far from the next as the relations between them need."""
    steps = range(min(of[key].step for key in boxes), max(of[key].step for key in boxes) + 1)
    widest = {step: max((box.width for key, box in boxes.items() if of[key].step == step), default=0) for step in steps}
    gaps = dict.fromkeys(steps, _BEND)
    for key, width in labels.items():
        # The gap before a step to the right belongs to that step, the one after a step to the left to its parent.
        step = of[key].step if of[key].step > 0 else of[key].step + 1
        gaps[step] = max(gaps[step], width + 2 * _ARROW + _BEND + 8)
    x, left = 0.0, dict[int, float]()
    for step in steps:
        x += gaps[step] if step != steps[0] else 0.0
        left[step] = x
        x += widest[step]
    made = {}
    for key, box in boxes.items():
        step = of[key].step
        centre = left[step] + (widest[step] - box.width / 2 if step < 0 else box.width / 2)
        made[key] = replace(box, x=centre)
    return made


def _column_ends(boxes: Mapping[str, Box], of: Mapping[str, Spot]) -> dict[int, tuple[float, float]]:
    """Return step → the left and right edge of its column."""
    ends: dict[int, tuple[float, float]] = {}
    for key, box in boxes.items():
        if not of[key].is_rest:
            low, high = ends.get(of[key].step, (math.inf, -math.inf))
            ends[of[key].step] = (min(low, box.left), max(high, box.right))
    return ends


def _bands(story: Story, boxes: Mapping[str, Box]) -> tuple[dict[str, Box], dict[str, str]]:
    """Return the rows of the rest above and below the paths, and what each of it is to the spot it hangs on."""
    spots = [spot for spot in story.spots if spot.is_rest]
    if not spots:
        return {}, {}
    notes = {spot.id: rest_note(spot, story.links) for spot in spots}
    moved = [spot for spot in spots if spot.move is not None]
    spots = [spot for spot in spots if spot.move is None]
    x = {key: box.x for key, box in boxes.items()}
    for spot in spots:
        x[spot.id] = x[spot.parent]
    spots.sort(key=lambda spot: (x[spot.id], spot.parent, notes[spot.id], spot.entity.label, spot.id))
    above = [spot for spot in spots if spot.lane == "new" and spot.parent != story.spots[0].id]
    below = [spot for spot in spots if spot.lane == "old"]
    others = [spot for spot in spots if spot not in above and spot not in below]
    half = max(0, min(len(others), (len(below) - len(above) + len(others)) // 2))
    left, right = min(box.left for box in boxes.values()), max(box.right for box in boxes.values())
    middle, room = (left + right) / 2, max(right - left, _LEAST_WIDTH)
    made: dict[str, Box] = {}
    for band, direction in (([*others[:half], *above], -1), ([*others[half:], *below], 1), (moved, 1)):
        # What moves stands below whatever the band before it took.
        placed = (*boxes.values(), *made.values())
        edge = min(box.top for box in placed) if direction < 0 else max(box.bottom for box in placed)
        edge += direction * _BAND_GAP
        for row in _packed(band, notes, room):
            y = edge + direction * _REST_HEIGHT / 2
            edge += direction * (_REST_HEIGHT + _REST_GAP)
            start = middle - (sum(width for _, width in row) + _REST_GAP * (len(row) - 1)) / 2
            for spot, width in row:
                made[spot.id] = Box(x=start + width / 2, y=y, width=width, height=_REST_HEIGHT)
                start += width + _REST_GAP
    return made, notes


def _packed(band: Sequence[Spot], notes: Mapping[str, str], room: float) -> list[list[tuple[Spot, float]]]:
    """Return as few rows as hold a band, about equally full."""
    sizes = []
    for spot in band:
        (line,) = _rest_name(spot)
        widest = max(text_width(line, REST_SIZE), text_width(notes[spot.id], REST_SIZE - 1.5))
        sizes.append((spot, widest + 2 * 8))
    total = sum(width + _REST_GAP for _, width in sizes)
    wanted = total / max(1, math.ceil(total / room)) + 1
    rows: list[list[tuple[Spot, float]]] = []
    used = math.inf
    for spot, width in sizes:
        if used + width > room or used >= wanted:
            rows.append([])
            used = 0.0
        rows[-1].append((spot, width))
        used += width + _REST_GAP
    return rows


def _move_note(move: Move) -> str:
    """Return the relation, the right answer and its probability now and then, as short as a picture needs."""
    return f"{plain(move.relation)}: {plain(move.answer)} {_percent(move.before)} → {_percent(move.after)}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if value >= 0.095 else f"{100 * value:.1f} %"


def rest_note(spot: Spot, links: Iterable[Link]) -> str:
    """Return what a spot of the rest is to the spot it hangs on."""
    if spot.move is not None:
        return _move_note(spot.move)
    for link in links:
        if spot.id in (link.start, link.end) and spot.parent in (link.start, link.end):
            text = relation_of(link)
            return text if link.end == spot.id else f"← {text}"
    return ""


def _placed(
    link: Link, of: Mapping[str, Spot], boxes: Mapping[str, Box], ends: Mapping[int, tuple[float, float]]
) -> PlacedLink:
    if link.side == "rest":
        return PlacedLink(link=link, path=_faint_path(boxes[link.start], boxes[link.end]))
    child = tree_child(link, of)
    parent = link.start if child == link.end else link.end
    near, far = boxes[parent], boxes[child]
    width = _label_width(link)
    sign = 1 if far.x > near.x else -1
    edge = ends[of[parent].step][1 if sign > 0 else 0]
    begin, tip = (near.right, far.left) if sign > 0 else (near.left, far.right)
    flat = tip - sign * (width + 2 * _ARROW)
    bend = (edge + flat) / 2
    path = f"M{begin:.1f} {near.y:.1f}H{edge:.1f}C{bend:.1f} {near.y:.1f} {bend:.1f} {far.y:.1f} {flat:.1f} {far.y:.1f}"
    return PlacedLink(
        link=link,
        path=f"{path}H{tip:.1f}",
        label=relation_of(link),
        label_box=Box(x=(flat + tip) / 2, y=far.y, width=width, height=NOTE_SIZE * 1.25),
        is_backward=child == link.start,
        head=(tip, far.y) if child == link.end else (begin, near.y),
        points="right" if (sign > 0) == (child == link.end) else "left",
    )


def _faint_path(one: Box, other: Box) -> str:
    """Return a line from the upper or lower edge of one name to that of another."""
    if one.overlaps(replace(other, x=one.x)):  # in one row
        y = one.top if one.y > 0 else one.bottom
        return f"M{one.x:.1f} {y:.1f}Q{(one.x + other.x) / 2:.1f} {y - 24:.1f} {other.x:.1f} {y:.1f}"
    start, end = (one.bottom, other.top) if one.y < other.y else (one.top, other.bottom)
    middle = (start + end) / 2
    return f"M{one.x:.1f} {start:.1f}C{one.x:.1f} {middle:.1f} {other.x:.1f} {middle:.1f} {other.x:.1f} {end:.1f}"
