"""Facts of an index that are not priced: those the edit is meant to change, and those used to measure it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from kgmet.fact import FactEdit
from kgmet.forecast.index import FactIndex, IndexedFact
from kgmet.graph.consequence import EditConsequences
from kgmet.graph.phrasing import says

__all__ = ["changed_facts", "priced_rows", "probed_facts", "unpriced"]

Key = tuple[str, str]


def changed_facts(edit: FactEdit, consequences: EditConsequences | None) -> frozenset[Key]:
    """Return (subject id, relation id) of every fact that the edit changes or puts in doubt, by the graph.

    These are the edited fact; its forward, inverse and later-hop consequences; and the subject's outdated, implied and
    undecided facts.
    """
    found: set[Key] = set()
    if edit.subject_id and edit.relation:
        found.add((edit.subject_id, edit.relation))
    if consequences is not None:
        found |= {(item.subject.id, item.relation) for item in consequences.changed if item.relation}
        found |= {(item.subject.id, item.path_new[-1].relation.id) for item in consequences.forward if item.path_new}
        triples = (*consequences.outdated, *consequences.implied, *consequences.undecided)
        found |= {(triple.subject.id, triple.relation.id) for triple in triples}
    return frozenset(found)


def probed_facts(consequences: EditConsequences | None, left: Collection[str] = ()) -> frozenset[Key]:
    """Return (subject id, relation id) of facts used to measure side effects, and of those the user left out."""
    if consequences is None:
        return frozenset()
    chosen = [*consequences.probed_neighbours, *(fact for fact in consequences.kept if fact.id in left)]
    return frozenset((fact.triple.subject.id, fact.triple.relation.id) for fact in chosen)


def unpriced(
    index: FactIndex,
    edits: Iterable[tuple[FactEdit, EditConsequences | None, Collection[str]]],
    *,
    earlier: Iterable[FactEdit] = (),
) -> FactIndex:
    """Drop from the index what must not be priced for these edits; as `priced_rows`."""
    rows = priced_rows(index, edits, earlier=earlier)
    return index if len(rows) == len(index) else index.only(rows)


def priced_rows(
    index: FactIndex,
    edits: Iterable[tuple[FactEdit, EditConsequences | None, Collection[str]]],
    *,
    earlier: Iterable[FactEdit] = (),
) -> list[int]:
    """Return the facts of the index, by number, that may be priced for these edits.

    Args:
        index: all known facts.
        edits: each with its graph context and the ids of consequences and facts the user left out.
        earlier: edits made before; facts about their subjects are not priced, except those they made true.
    """
    entries, before = list(edits), list(earlier)
    now = [edit for edit, _, _ in entries]
    changed = frozenset[Key]().union(*(changed_facts(edit, found) for edit, found, _ in entries))
    probed = frozenset[Key]().union(*(probed_facts(found, left) for _, found, left in entries))
    stated = {fact.prompt.fact for fact in index.facts if fact.prompt.is_stated and fact.prompt.subject_id}
    old_keys = changed | probed | stated
    ids = {edit.subject_id for edit in before if edit.subject_id}
    old, new = _Contradicted([*now, *before]), _Contradicted(now)

    def is_priced(fact: IndexedFact) -> bool:
        if fact.prompt.is_stated:
            return fact.prompt.fact not in changed and not new.holds(fact) and not new.asks(fact)
        return fact.prompt.fact not in old_keys and fact.prompt.subject_id not in ids and not old.holds(fact)

    return [number for number, fact in enumerate(index.facts) if is_priced(fact)]


class _Contradicted:
    """Facts without ids that some edits make untrue."""

    def __init__(self, edits: Sequence[FactEdit]) -> None:
        self._texts = {edit.prompt.casefold() for edit in edits}
        self._asked = {(edit.subject.casefold(), edit.relation) for edit in edits if edit.relation}
        self._subjects: dict[str, list[str]] = {}
        for edit in edits:
            self._subjects.setdefault((edit.old_object or "").casefold(), []).append(edit.subject)

    def holds(self, fact: IndexedFact) -> bool:
        """Return whether a fact's prompt is an edit's, or names its subject with the old object."""
        named = self._subjects.get(fact.answer.casefold(), ())
        return fact.prompt.text.casefold() in self._texts or any(says(fact.prompt.text, subject) for subject in named)

    def asks(self, fact: IndexedFact) -> bool:
        """Return whether an edit is of the same relation of a subject of this name."""
        return (fact.prompt.subject.casefold(), fact.prompt.relation) in self._asked
