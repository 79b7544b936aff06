"""`Story` → `Picture` for a phone: a tree from top to bottom, each step indented under the one it follows.

The relation stands above each name, so that a row needs the width of one of them. Lines run down at the left, each lane
on a track of its own, and cross no name.
"""

from __future__ import annotations

from collections.abc import Mapping

from workbench.drawing.graph_layout import (
    LINE,
    NAME_SIZE,
    NOTE_SIZE,
    PAD,
    REST_SIZE,
    Box,
    Picture,
    PlacedLink,
    PlacedSpot,
    relation_of,
    rest_note,
    tree_child,
)
from workbench.drawing.graph_story import Link, Spot, Story
from workbench.drawing.text_room import text_width, wrapped

__all__ = ["NARROW_WIDTH", "place_narrow"]

NARROW_WIDTH = 316.0
"""Width of the picture in pixels; with its margins it fits a screen of 390."""
_TRACKS = {"new": 26.0, "old": 16.0, "source": 6.0}
"""Where the line of each lane runs down from the subject: the lane that is drawn last, furthest to the left."""
_FIRST, _STEP, _DEEPEST = 40.0, 22.0, 128.0
_GAP, _LANE_GAP, _NOTE_HEIGHT = 10.0, 16.0, NOTE_SIZE * 1.4
_REST_HEIGHT, _EDGE = 36.0, 9.0


def place_narrow(story: Story) -> Picture:
    """Give every spot and link of a story its place in a picture of `NARROW_WIDTH`."""
    tree = _Tree(story)
    subject, *_ = story.spots
    tree.stand(subject, left=0.0)
    for lane in ("new", "old", "source"):
        below = [spot for spot in tree.below.get(subject.id, ()) if spot.lane == lane]
        tree.y += _LANE_GAP if below else 0.0
        for spot in below:
            tree.hang(spot, left=_FIRST)
    moved = [spot for spot in story.spots if spot.move is not None]
    tree.y += _LANE_GAP if moved else 0.0
    for spot in moved:
        tree.stand(spot, left=0.0)
    return Picture(
        story=story,
        spots=tuple(tree.spots[spot.id] for spot in story.spots),
        links=tuple(tree.link(link) for link in story.links),
        width=NARROW_WIDTH,
        height=tree.y - _GAP,
        least_width=NARROW_WIDTH,
    )


class _Tree:
    """Puts one name below the other; `y` is where the next one begins."""

    def __init__(self, story: Story) -> None:
        self.y = 0.0
        self.story = story
        self.of: Mapping[str, Spot] = {spot.id: spot for spot in story.spots}
        self.below: dict[str, list[Spot]] = {}
        self.spots: dict[str, PlacedSpot] = {}
        self.labels: dict[str, Box] = {}
        self.leads: dict[str, Link] = {}
        for spot in story.spots:
            if spot.parent:
                self.below.setdefault(spot.parent, []).append(spot)
        for link in story.links:
            child = tree_child(link, self.of)
            if self._is_branch(link):
                self.leads.setdefault(child, link)

    def hang(self, spot: Spot, *, left: float) -> None:
        """Place a spot under its parent, with its relation above it, and then what hangs on it."""
        link = self.leads.get(spot.id)
        if link is not None and not spot.is_rest:
            (name,) = wrapped(relation_of(link), width=NARROW_WIDTH - left, size=NOTE_SIZE * 1.1, lines=1)
            width = min(NARROW_WIDTH - left, text_width(name, NOTE_SIZE) * (1.1 if link.is_edit else 1.0))
            self.labels[spot.id] = Box(
                x=left + width / 2, y=self.y + _NOTE_HEIGHT / 2, width=width, height=NOTE_SIZE * 1.25
            )
            self.y += _NOTE_HEIGHT
        self.stand(spot, left=left)
        for child in self.below.get(spot.id, ()):
            self.hang(child, left=min(left + _STEP, _DEEPEST))

    def stand(self, spot: Spot, *, left: float) -> None:
        """Place a spot in the next row."""
        room = NARROW_WIDTH - left - 2 * PAD
        if spot.is_rest:
            lines = wrapped(spot.entity.label, width=room, size=REST_SIZE, lines=1)
            (note,) = wrapped(rest_note(spot, self.story.links), width=room, size=REST_SIZE - 1.5, lines=1)
            width = max(text_width(lines[0], REST_SIZE), text_width(note, REST_SIZE - 1.5))
            height = _REST_HEIGHT
        else:
            lines, note = wrapped(spot.entity.label, width=room, size=NAME_SIZE, lines=2), ""
            width = max(text_width(line, NAME_SIZE) for line in lines)
            height = LINE * len(lines) + PAD
        width += 2 * PAD
        box = Box(x=left + width / 2, y=self.y + height / 2, width=width, height=height)
        self.spots[spot.id] = PlacedSpot(spot=spot, box=box, lines=lines, note=note)
        self.y += height + _GAP

    def link(self, link: Link) -> PlacedLink:
        """Return the line of a link: down its parent's track, into the child; none between two that hang elsewhere."""
        if not self._is_branch(link):
            return PlacedLink(link=link, path="")
        child = tree_child(link, self.of)
        parent = link.start if child == link.end else link.end
        near, far = self.spots[parent].box, self.spots[child].box
        track = _TRACKS[self.of[child].lane] if parent == self.story.spots[0].id else near.left + _EDGE
        path = f"M{track:.1f} {near.bottom:.1f}V{far.y:.1f}H{far.left:.1f}"
        box = self.labels.get(child)
        if box is None:
            return PlacedLink(link=link, path=path)
        is_backward = child == link.start
        (label,) = wrapped(relation_of(link), width=box.width + 1.0, size=NOTE_SIZE, lines=1)
        return PlacedLink(
            link=link,
            path=path,
            label=label,
            label_box=box,
            is_backward=is_backward,
            head=(track, near.bottom) if is_backward else (far.left, far.y),
            points="up" if is_backward else "right",
        )

    def _is_branch(self, link: Link) -> bool:
        child = tree_child(link, self.of)
        parent = link.start if child == link.end else link.end
        return self.of[child].parent == parent
