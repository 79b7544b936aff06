"""`Entity`, `Relation`, `Triple`: the elements of a knowledge graph."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Entity", "Relation", "Triple"]


@dataclass(frozen=True, kw_only=True, order=True)
class Entity:
    """A node. `id` is the source's own (``Q90``); `label` is for display. Two entities are equal if their ids are.

    A literal (a calling code, a year) is an entity whose id starts with ``lit:``. `article` is the word the label wants
    before it in running text (``the`` for Eiffel Tower); empty if it takes none or if unknown.
    """

    id: str
    label: str = field(compare=False)
    description: str = field(default="", compare=False)
    aliases: tuple[str, ...] = field(default=(), compare=False)
    article: str = field(default="", compare=False)
    type: str = field(default="", compare=False)
    """Type in the catalogue's terms (``country``, ``person``); empty if unknown."""

    @property
    def in_text(self) -> str:
        """The label as it reads in the middle of a sentence: ``the Eiffel Tower``."""
        return f"{self.article} {self.label}" if self.article else self.label

    @property
    def is_literal(self) -> bool:
        """Whether this is a literal value."""
        return self.id.startswith("lit:")


@dataclass(frozen=True, kw_only=True, order=True)
class Relation:
    """A kind of edge. `id` is the source's own (``P36``); two relations are equal if their ids are."""

    id: str
    label: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, order=True)
class Triple:
    """subject –relation→ object. Compares and sorts by ids; `source` says where it was read."""

    subject: Entity
    relation: Relation
    object: Entity
    source: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[str, str, str]:
        """(subject id, relation id, object id)."""
        return self.subject.id, self.relation.id, self.object.id

    def __str__(self) -> str:
        """Return the triple as readable text."""
        return f"{self.subject.label} –{self.relation.label}→ {self.object.label}"
