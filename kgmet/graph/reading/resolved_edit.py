"""`EditEnds`: the nodes and the edge of the graph that an edit refers to, known to the store or not."""

from __future__ import annotations

from dataclasses import dataclass

from kgmet.base.errors import UnknownEntityError, UnknownRelationError
from kgmet.base.text import caseless
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity, Relation, Triple

__all__ = ["TYPED", "EditEnds", "find_ends"]

TYPED = "typed:"
"""Prefix of ids for entities and relations that were typed and are not in the store."""


@dataclass(frozen=True, kw_only=True)
class EditEnds:
    """An edit resolved in a store.

    `subject`, `relation` and `new` always exist: an unknown one gets an id that starts with ``typed:``. `replaced` are
    the store's edges that the edit removes.
    """

    subject: Entity
    relation: Relation
    new: Entity
    old: Entity | None
    replaced: tuple[Triple, ...]

    @property
    def edge(self) -> Triple:
        """The edge the edit adds to the graph."""
        return Triple(subject=self.subject, relation=self.relation, object=self.new, source="edit")

    @property
    def old_edge(self) -> Triple | None:
        """The edge before the edit, if known."""
        if self.old is None:
            return None
        known = [triple for triple in self.replaced if triple.object == self.old]
        return (
            known[0] if known else Triple(subject=self.subject, relation=self.relation, object=self.old, source="edit")
        )


def find_ends(store: TripleStore, edit: FactEdit, catalogue: RelationCatalogue | None = None) -> EditEnds:
    """Look up the edit's ids in `store`; unknown ones become ad-hoc nodes, never an error.

    Without an old object in the edit, the relation's first edge at the subject (by id) gives it. Only the old object's
    edge is replaced, unless the catalogue says that the relation has one object; the others stay beside the new one.
    Resolve an edit once, and hand the value to all that read the graph around it.
    """
    subject = _entity(store, edit.subject_id, edit.subject)
    new = _entity(store, edit.new_object_id, edit.new_object)
    relation = _relation(store, edit)
    present = () if edit.relation is None else store.outgoing(subject.id, relations=[edit.relation], limit=100)
    others = tuple(triple for triple in present if triple.object != new)
    if edit.old_object is None and edit.old_object_id is None:
        old = others[0].object if others else None
    else:
        old = _old(store, edit, others)
    name = edit.relation
    spec = catalogue.spec(name) if catalogue is not None and name is not None and name in catalogue else None
    is_functional = spec is not None and spec.is_functional
    replaced = others if is_functional else tuple(triple for triple in others if triple.object == old)
    return EditEnds(subject=subject, relation=relation, new=new, old=None if old == new else old, replaced=replaced)


def _old(store: TripleStore, edit: FactEdit, present: tuple[Triple, ...]) -> Entity:
    text = edit.old_object or edit.old_object_id or ""
    if edit.old_object_id is None:
        for triple in present:
            names = (triple.object.label, *triple.object.aliases)
            if text.casefold() in {name.casefold() for name in names}:
                return triple.object
    return _entity(store, edit.old_object_id, text)


def _entity(store: TripleStore, entity_id: str | None, label: str) -> Entity:
    if entity_id is not None:
        try:
            return store.entity(entity_id)
        except UnknownEntityError:
            pass
    return Entity(id=TYPED + caseless(label), label=label)


def _relation(store: TripleStore, edit: FactEdit) -> Relation:
    if edit.relation is None:
        words = " ".join(edit.template.replace("{}", " ").split())
        return Relation(id=TYPED + words.casefold(), label=words)
    try:
        return store.relation(edit.relation)
    except UnknownRelationError:
        return Relation(id=edit.relation, label=edit.relation)
