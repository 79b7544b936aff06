"""Where the nodes of a subgraph stand: the subject in the centre, one ring per hop. The same places every time."""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterable, Mapping, Sequence

from kgmet.graph.triple import Triple

__all__ = ["FLAT", "ring_positions", "ring_radii"]

_RING = 165.0
FLAT = 0.68
"""Screens are wider than high."""
_ROOM = 112.0
"""Least distance between neighbours on a ring, in pixels, so that labels do not overlap."""


def ring_positions(hops: Mapping[str, int], triples: Sequence[Triple]) -> dict[str, tuple[float, float]]:
    """Return entity id → (x, y) in pixels, the anchor at (0, 0).

    Each ring is spread evenly, in the order of the angles of what its nodes hang on, and turned to where the angles
    agree best. No force, no randomness: the places depend on the triples alone, not on their order.
    """
    triples = sorted(triples)
    beside: dict[str, set[str]] = {}
    for triple in triples:
        beside.setdefault(triple.subject.id, set()).add(triple.object.id)
        beside.setdefault(triple.object.id, set()).add(triple.subject.id)
    angles: dict[str, float] = {}
    places: dict[str, tuple[float, float]] = {key: (0.0, 0.0) for key, hop in hops.items() if hop == 0}
    radius = 0.0
    relation = {t.subject.id: t.relation.id for t in triples} | {t.object.id: t.relation.id for t in triples}
    for hop in range(1, max(hops.values(), default=0) + 1):
        ring = [key for key, value in hops.items() if value == hop]
        wanted: dict[str, float | None] = {
            key: _mean([angles[other] for other in sorted(beside.get(key, ())) if other in angles]) for key in ring
        }
        ring.sort(key=lambda key: (wanted[key] or 0.0, relation.get(key, ""), key))
        radius = max(radius + _RING, _ROOM * len(ring) / (2 * math.pi))
        step = 2 * math.pi / max(len(ring), 1)
        turns = [angle - place * step for place, key in enumerate(ring) if (angle := wanted[key]) is not None]
        turn = _mean(turns) if turns else None
        for place, key in enumerate(ring):
            angle = place * step + (-math.pi / 2 if turn is None else turn)
            places[key] = (round(radius * math.cos(angle), 1), round(radius * math.sin(angle) * FLAT, 1))
        angles |= {key: math.atan2(places[key][1] / FLAT, places[key][0]) % (2 * math.pi) for key in ring}
    return places


def ring_radii(nodes: Iterable[tuple[int, float, float]]) -> list[float]:
    """Half widths of the rings on which nodes (hop, x, y) stand, from the inside; a ring is `FLAT` as high as wide."""
    radii: dict[int, float] = {}
    for hop, x, y in nodes:
        radii[hop] = max(radii.get(hop, 0.0), math.hypot(x, y / FLAT))
    return [round(radii[hop], 1) for hop in sorted(radii) if hop]


def _mean(angles: Sequence[float]) -> float | None:
    """Return the mean direction, in [0, 2π); ``None`` of nothing or where directions cancel."""
    total = sum((cmath.exp(1j * angle) for angle in angles), 0j)
    return None if abs(total) < 1e-9 else cmath.phase(total) % (2 * math.pi)
