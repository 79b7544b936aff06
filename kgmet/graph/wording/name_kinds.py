"""The type of an entity that its name tells, for entities that a graph does not know."""

from __future__ import annotations

from kgmet.graph.names import fold

__all__ = ["kind_of_name"]

_LAST = {
    "airport": "airport",
    "university college academy institute school": "university",
    "company corporation corp inc ltd plc gmbh airlines airways motors": "company",
    "records entertainment studios pictures bank broadcasting": "company",
    "technologies industries holdings pharmaceuticals digital games interactive systems media": "company",
    "group partners brothers foods": "company",
    "orchestra association society federation union committee council foundation organization": "organization",
    "laboratory agency ministry": "organization",
    "fc united wanderers rovers": "team",
    "museum gallery tower bridge cathedral stadium castle palace temple abbey observatory": "landmark",
    "river": "river",
    "lake": "lake",
    "mountain peak": "mountain",
    "mountains range": "range",
    "island": "island",
    "desert": "desert",
    "falls": "waterfall",
    "volcano": "volcano",
}
_FIRST = {
    "university college institute": "university",
    "mount": "mountain",
    "lake": "lake",
    "museum": "landmark",
    "bank": "company",
    "battle siege": "battle",
}
_BY_LAST = {word: kind for words, kind in _LAST.items() for word in words.split()}
_BY_FIRST = {word: kind for words, kind in _FIRST.items() for word in words.split()}


def kind_of_name(name: str) -> str:
    """Return the type that a name of two or more words tells by its last or first word, or an empty text."""
    words = fold(name).split()
    if len(words) < 2:
        return ""
    return _BY_LAST.get(words[-1]) or _BY_FIRST.get(words[0], "")
