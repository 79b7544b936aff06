"""`EditContext` → `Story`: what the picture of an edit tells, as paths from the subject. No places yet, no Streamlit.

A path is unrolled: each step along it is a spot of its own, so that it reads from the subject outwards even where it
comes back to an entity it has passed (the capital of the country of Rome is Rome).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kgmet.editing.context import EditContext
from kgmet.graph.consequence import Consequence
from kgmet.graph.triple import Entity, Triple

__all__ = ["Lane", "Link", "Move", "Role", "Side", "Spot", "Story", "Truth", "tell"]

Side = Literal["new", "old", "both", "rest"]
"""Which paths a link belongs to: those after the edit, those before it, both, or none of them."""
Truth = Literal["after", "before", "always"]
"""In which of the two worlds a triple is true."""
Lane = Literal["new", "old", "source"]
"""Where a spot stands: with the new object, with the old one, or before the subject."""
Role = Literal["subject", "new", "old", ""]


@dataclass(frozen=True, kw_only=True)
class Move:
    """How far the probability of a fact's right answer moves with the edit, forecast or measured, in [0, 1]."""

    subject_id: str
    subject: str
    relation: str
    answer: str
    before: float
    after: float
    is_measured: bool = False

    @property
    def loses(self) -> bool:
        """Whether the right answer gets less likely."""
        return self.after < self.before


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One entity at one place of the story. `id` is unique in the picture; `step` counts links from the subject."""

    id: str
    entity: Entity
    lane: Lane
    step: int
    role: Role = ""
    is_rest: bool = False
    parent: str = ""
    """The spot it hangs on; empty for the subject and for a fact that moves."""
    move: Move | None = None
    """Set if it stands for a fact that the edit moves, which hangs on nothing that is drawn."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One triple between two spots. `paths` are the ids of the consequences whose path it is on."""

    triple: Triple
    start: str
    """Spot of the triple's subject."""
    end: str
    """Spot of its object."""
    side: Side
    truth: Truth
    paths: frozenset[str] = frozenset()
    is_edit: bool = False
    """Whether this is the edited fact itself, or the one that it replaces."""
    must_stay: bool = False


@dataclass(frozen=True, kw_only=True)
class Story:
    """What is drawn: spots and links, the subject's spot first, and the edit as a sentence."""

    spots: tuple[Spot, ...]
    links: tuple[Link, ...]
    sentence: str
    old: str
    """The old object as it is shown; empty where it is unknown."""
    new: str

    def paths_at(self, spot_id: str) -> frozenset[str]:
        """Return the consequences whose path passes a spot."""
        return frozenset().union(*(link.paths for link in self.links if spot_id in (link.start, link.end)))


_LANES: tuple[Literal["new"], Literal["old"]] = ("new", "old")


def tell(
    context: EditContext, *, opened: Sequence[Triple] = (), with_rest: bool = False, moves: Sequence[Move] = ()
) -> Story:
    """Return the story of an edit: the paths of its consequences, and what a person opened.

    Args:
        context: with a subgraph; see `EditContext.has_graph`.
        opened: further triples, of nodes that a person opened; drawn faded.
        with_rest: also the facts that must stay and the neighbours in the graph, faded.
        moves: other facts that the edit moves, each drawn as a name with its figures.
    """
    assert context.subgraph is not None and context.subgraph_before is not None
    teller, found = _Teller(context), context.consequences
    for item in () if found is None else found.changed:
        teller.walk(item, item.path_new, side="new")
        teller.walk(item, item.path_old, side="old")
    if with_rest and found is not None:
        teller.add([fact.triple for fact in found.kept], must_stay=True)
    teller.add(opened)
    if with_rest:
        teller.add([*context.subgraph.triples, *context.subgraph_before.triples])
    old_edge = context.subgraph_before.edited
    return Story(
        spots=(*teller.spots.values(), *map(_moved, range(len(moves)), moves)),
        links=tuple(teller.links.values()),
        sentence=context.edit.prompt,
        old=context.edit.old_object or ("" if old_edge is None else old_edge.object.label),
        new=context.edit.new_object,
    )


def _moved(number: int, move: Move) -> Spot:
    entity = Entity(id=move.subject_id or f"moved {number}", label=move.subject)
    return Spot(id=f"moved/{number}", entity=entity, lane="old", step=0, is_rest=True, move=move)


class _Teller:
    """Puts a story together. Spots and links are kept in the order in which they come up."""

    def __init__(self, context: EditContext) -> None:
        assert context.subgraph is not None and context.subgraph_before is not None
        anchor = context.subgraph.entities[context.subgraph.anchor]
        self.subject = Spot(id=anchor.id, entity=anchor, lane="new", step=0, role="subject")
        self.spots = {self.subject.id: self.subject}
        self.links: dict[tuple[str, str, str], Link] = {}
        self._truths = _truths(context)
        self._edges = {"new": context.subgraph.edited, "old": context.subgraph_before.edited}
        self._ends: dict[str, Spot] = {}
        for lane in _LANES:
            edge = self._edges[lane]
            if edge is not None:
                end = Spot(id=f"{anchor.id}/{lane}", entity=edge.object, lane=lane, step=1, role=lane, parent=anchor.id)
                self._ends[lane] = self.spots[end.id] = end
                self._link(self.subject, end, edge, side=lane, is_edit=True)

    def walk(self, item: Consequence, path: Sequence[Triple], *, side: Literal["new", "old"]) -> None:
        """Draw a path: what follows the edited fact outwards from its object, what leads to it before the subject."""
        edge, at = self._edges[side], self.subject
        keys = [triple.key for triple in path]
        if edge is not None and edge.key in keys:
            place = keys.index(edge.key)
            for triple in reversed(path[:place]):
                at = self._step(at, triple, item, side=side, lane="source") or at
            self._pass_edit(side, item)
            path, at = path[place + 1 :], self._ends[side]
        for triple in path:
            mirrored = self._mirrored(triple)
            if mirrored is not None:
                # The edited fact said the other way round (Rome – home of – Eiffel Tower) is the same line.
                self._pass_edit(mirrored, item)
                at = self._ends[mirrored]
            else:
                at = self._step(at, triple, item, side=side, lane=side) or at

    def add(self, triples: Sequence[Triple], *, must_stay: bool = False) -> None:
        """Hang further triples on what is there, nearest first; what hangs on nothing is left out."""
        drawn = {link.triple.key for link in self.links.values()}
        waiting = [triple for triple in dict.fromkeys(triples) if triple.key not in drawn]
        n_waiting = -1
        while len(waiting) != n_waiting:
            n_waiting = len(waiting)
            at = self._first_spots()
            waiting = [triple for triple in waiting if not self._hang(at, triple, must_stay=must_stay)]

    def _step(
        self, at: Spot, triple: Triple, item: Consequence, *, side: Literal["new", "old"], lane: Lane
    ) -> Spot | None:
        """Return the spot at the far end of a path's step; ``None`` where the step hangs on nothing that is drawn."""
        pair = (triple.subject, triple.object)
        near: Spot | None = at
        if at.entity not in pair:
            near = next((spot for spot in self.spots.values() if spot.entity in pair and not spot.is_rest), None)
        if near is None:
            return None
        if near is self.subject and triple.object == near.entity:
            lane = "source"
        elif near is not self.subject:
            lane = near.lane
        far = self._far(near, triple, lane=lane)
        self._link(near, far, triple, side=side, paths=[item.id])
        if near.role in _LANES:
            self._pass_edit(near.role, item)
        return far

    def _far(self, near: Spot, triple: Triple, *, lane: Lane) -> Spot:
        is_outgoing = triple.subject == near.entity
        entity = triple.object if is_outgoing else triple.subject
        name = f"{near.id}/{triple.relation.id}{'' if is_outgoing else '^'}/{entity.id}"
        if name not in self.spots:
            step = near.step + (-1 if lane == "source" else 1)
            self.spots[name] = Spot(id=name, entity=entity, lane=lane, step=step, parent=near.id)
        return self.spots[name]

    def _link(
        self,
        near: Spot,
        far: Spot,
        triple: Triple,
        *,
        side: Side,
        paths: Iterable[str] = (),
        is_edit: bool = False,
        must_stay: bool = False,
    ) -> None:
        start, end = (near, far) if triple.subject == near.entity else (far, near)
        key = (start.id, triple.relation.id, end.id)
        known = self.links.get(key)
        if known is not None:
            both = known.side if known.side == side else "both"
            self.links[key] = replace(known, side=both, paths=known.paths | set(paths))
            return
        self.links[key] = Link(
            triple=triple,
            start=start.id,
            end=end.id,
            side=side,
            truth=self._truths.get(triple.key, "always"),
            paths=frozenset(paths),
            is_edit=is_edit,
            must_stay=must_stay,
        )

    def _pass_edit(self, side: Literal["new", "old"], item: Consequence) -> None:
        for key, link in self.links.items():
            if link.is_edit and link.side == side:
                self.links[key] = replace(link, paths=link.paths | {item.id})

    def _mirrored(self, triple: Triple) -> Literal["new", "old"] | None:
        pair = {triple.subject, triple.object}
        return next((lane for lane in _LANES if lane in self._ends and pair == self._pair(lane)), None)

    def _pair(self, lane: Literal["new", "old"]) -> set[Entity]:
        return {self.subject.entity, self._ends[lane].entity}

    def _first_spots(self) -> dict[Entity, Spot]:
        found: dict[Entity, Spot] = {}
        for spot in self.spots.values():
            found.setdefault(spot.entity, spot)
        return found

    def _hang(self, at: dict[Entity, Spot], triple: Triple, *, must_stay: bool) -> bool:
        """Return whether a triple of the rest has its place, or needs none because a line joins the two already."""
        near = at.get(triple.subject) or at.get(triple.object)
        if near is None:
            return False
        other = triple.object if near.entity == triple.subject else triple.subject
        far = at.get(other)
        if far is None:
            name = f"rest/{other.id}"
            far = Spot(id=name, entity=other, lane=near.lane, step=near.step + 1, is_rest=True, parent=near.id)
            self.spots[name] = at[other] = far
        elif any({link.start, link.end} == {near.id, far.id} for link in self.links.values()):
            return True
        self._link(near, far, triple, side="rest", must_stay=must_stay)
        return True


def _truths(context: EditContext) -> dict[tuple[str, str, str], Truth]:
    """Return Triple's key → the world in which it is true, for those that are not true in both."""
    assert context.subgraph is not None and context.subgraph_before is not None
    found: dict[tuple[str, str, str], Truth] = {}
    if context.consequences is not None:
        found |= dict.fromkeys((triple.key for triple in context.consequences.implied), "after")
        found |= dict.fromkeys((triple.key for triple in context.consequences.outdated), "before")
    found |= dict.fromkeys((triple.key for triple in context.subgraph.replaced), "before")
    for edge, truth in ((context.subgraph_before.edited, "before"), (context.subgraph.edited, "after")):
        if edge is not None:
            found[edge.key] = truth  # type: ignore[assignment]
    return found
