"""`Draft`: a graph under construction, with entities identified by kind and label until ids are assigned."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

LITERAL_TYPES = frozenset({
    "calling_code", "code", "demonym", "domain", "follower", "formula", "group", "native_name", "nickname", "number",
    "offset", "side", "symbol", "taxon", "year", "young",
})  # fmt: skip
"""Kinds of literal values, whose id is ``lit:kind:value``."""


@dataclass(eq=False)
class Node:
    """An entity without an id. Compared by identity: two cities called Birmingham are two nodes."""

    type: str
    label: str
    article: str = ""
    aliases: set[str] = field(default_factory=set)
    description: str = ""
    place: str = ""
    """ISO code of its country, where cities of the same name must be told apart."""
    id: str = ""

    @property
    def is_literal(self) -> bool:
        """Whether this is a value and not a thing."""
        return self.type in LITERAL_TYPES


def clean(text: str) -> str:
    """Normalise to NFC, single blanks and straight apostrophes."""
    return " ".join(unicodedata.normalize("NFC", text).replace("’", "'").replace("ʻ", "'").replace("‘", "'").split())


def slug(text: str) -> str:
    """Return lower-case ASCII letters and digits joined by hyphens; may be empty."""
    plain = (
        unicodedata.normalize("NFKD", clean(text).replace("'", "").replace("+", "plus").replace("#", "sharp"))
        .encode("ascii", "ignore")
        .decode()
        .lower()
    )
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


class Draft:
    """Nodes and triples as they are found. The first source to state a triple is the one that is named."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[str, str, str], Node] = {}
        self.triples: dict[tuple[Node, str, Node], str] = {}

    def node(self, type_: str, label: str, *, place: str = "", article: str = "") -> Node:
        """Return the node of this kind and label (and, for cities, country), adding it if it is new."""
        label = clean(label)
        if label.startswith("the "):
            label, article = label[4:], "the"
        key = (type_, label.casefold() if type_ not in LITERAL_TYPES else label, place)
        node = self.nodes.get(key)
        if node is None:
            node = self.nodes[key] = Node(type=type_, label=label, place=place)
        if article:
            node.article = article
        return node

    def find(self, type_: str, label: str, *, place: str = "") -> Node | None:
        """Return the node, or ``None``."""
        return self.nodes.get((type_, clean(label).removeprefix("the ").casefold(), place))

    def add(self, subject: Node, relation: str, object_: Node, source: str) -> None:
        """State a triple; stating it again changes nothing."""
        if subject is object_:
            raise ValueError(f"{subject.label} –{relation}→ itself")
        self.triples.setdefault((subject, relation, object_), source)

    def objects(self, subject: Node, relation: str) -> list[Node]:
        """Return objects stated so far, in order. Linear in the number of triples: use `index` in loops."""
        return [o for (s, r, o) in self.triples if s is subject and r == relation]

    def index(self, relation: str) -> dict[Node, list[Node]]:
        """Return subject → objects of one relation."""
        found: dict[Node, list[Node]] = {}
        for subject, r, object_ in self.triples:
            if r == relation:
                found.setdefault(subject, []).append(object_)
        return found

    def prune(self) -> None:
        """Forget nodes that no triple uses."""
        used = {node for s, _, o in self.triples for node in (s, o)}
        self.nodes = {key: node for key, node in self.nodes.items() if node in used}

    def number(self, ids: dict[tuple[str, str, str], str]) -> None:
        """Give every node its id: a verified Wikidata id from `ids`, else one made from kind and label."""
        taken: dict[str, Node] = {}
        for node in sorted(self.nodes.values(), key=lambda n: (n.type, n.label, n.place)):
            known = ids.get((node.type, node.label, node.place))
            candidates = [known] if known else []
            name = slug(node.label)
            if node.is_literal:
                candidates = [f"lit:{node.type}:{node.label.replace(' ', '_')}"]
            elif name:
                candidates += [
                    f"K-{name}",
                    f"K-{name}-{node.place.lower() or slug(node.type)}",
                    f"K-{name}-{slug(node.type)}",
                ]
            free = next((c for c in candidates if c not in taken), None)
            if free is None:
                raise ValueError(
                    f"No id for {node.type} {node.label!r}: {candidates} are taken by {taken[candidates[0]]}"
                )
            taken[free] = node
            node.id = free
