"""Entity linking: the nodes, the relation and the current facts that a typed edit refers to.

Every choice comes with its candidates, and every doubt with a sentence in `LinkedEdit.notes`. Only the graph is used
here; the model's own answer is compared elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kgmet.base.errors import UnknownEntityError
from kgmet.fact import FactEdit
from kgmet.graph.names import fold
from kgmet.graph.relations import RelationCatalogue, RelationSpec
from kgmet.graph.store import READ_LIMIT, Match, TripleStore
from kgmet.graph.triple import Entity
from kgmet.graph.wording.choose_relation import Evidence, RelationChoice, choose_relation
from kgmet.graph.wording.guess_relation import SURE, guess_relation, names_no_relation
from kgmet.graph.wording.name_kinds import kind_of_name

__all__ = ["LinkedEdit", "guess_relation", "link_edit", "link_entity"]

_HINT = re.compile(r"^(.*\S)\s*[(\[]([^()\[\]]+)[)\]]$")
_TYPE_WEIGHT = 0.12
"""Bonus that ranks an alias of the right type above a label of the wrong one ("Apple" the company over the fruit), but
never a prefix above a whole name."""
_VALUE_WEIGHT = 0.35
"""Bonus for literal values where a value is expected: the code "US", not the country."""
_SEARCHED = 20
"""Fewest matches asked for by name. One number for all questions, so that an endpoint is asked once for each name."""
_BEARERS = 3
"""Number of entities with the same name whose incoming facts are queried."""
_ALIKE_WORDS = 2
"""Most first words of a name by which entities with names alike are looked for."""
_ALIKE, _ALIKE_SHARE = 3, 0.7
"""Fewest such entities, and the share that must have one type, to take it for the type of an unknown entity."""
_NEAR_WEIGHT = 0.06
"""Bonus among entities of one name for a neighbour of the edit's other entities."""


@dataclass(frozen=True, kw_only=True)
class LinkedEdit:
    """An edit linked to the graph. Candidates are best first; a chosen id is the first candidate's.

    An id of `edit` is ``None`` if no candidate has the full typed name: a prefix match is only a proposal.
    """

    edit: FactEdit
    """The edit as typed, with the linked ids."""
    subject: tuple[Match, ...]
    new_object: tuple[Match, ...]
    old_object: tuple[Match, ...]
    """The graph's objects of this subject and relation, then candidates for the typed old object."""
    relation: RelationChoice
    """The relation and its origin."""
    notes: tuple[str, ...]
    """Doubts in plain words, for display."""

    @property
    def relations(self) -> tuple[tuple[RelationSpec, float], ...]:
        """Guesses with scores in [0, 1]; a named known relation alone, with score 1."""
        return self.relation.guesses

    @property
    def line(self) -> str:
        """One-line summary: ``Eiffel Tower · located in city (guessed) · Paris → Rome ✓``."""
        edit, choice = self.edit, self.relation
        named = choice.spec.label if choice.spec else choice.id or "relation unknown"
        if choice.origin == "guessed":
            named += " (guessed)"
        elif choice.origin == "unknown" and choice.id:
            named += " (unknown)"
        subject = edit.subject + ("" if edit.subject_id else " (not in the graph)")
        new = edit.new_object + ("" if edit.new_object_id else " (not in the graph)")
        is_found = None not in (edit.subject_id, edit.new_object_id) and choice.origin != "unknown"
        return f"{subject} · {named} · {edit.old_object or '?'} → {new}" + (" ✓" if is_found else "")


def link_entity(
    store: TripleStore, text: str, *, expected_types: Collection[str] = (), near: Collection[str] = (), limit: int = 10
) -> tuple[Match, ...]:
    """Return at most `limit` entities that `text` may name, best first.

    `expected_types` are fitting types (`Entity.type`); `near` are ids the entity is probably connected to. A remark in
    brackets, as in "Georgia (country)", selects by type and description and need not be part of the name.
    """
    found = list(store.search(text, limit=max(4 * limit, _SEARCHED)))
    hint = _HINT.match(text.strip())
    hints: frozenset[str] = frozenset()
    if hint is not None and not any(_is_whole(match, text) for match in found):
        text = hint[1]
        hints = frozenset(fold(hint[2]).split())
        found = list(store.search(text, limit=max(4 * limit, _SEARCHED)))
    neighbours = _neighbours(store, near) if near and len(found) > 1 else frozenset()

    def weight(match: Match) -> float:
        entity = match.entity
        said = frozenset(fold(f"{entity.type} {entity.description}").split())
        fits = _NEAR_WEIGHT if entity.id in neighbours else 0.0
        if entity.type in expected_types:
            fits += _VALUE_WEIGHT if entity.is_literal else _TYPE_WEIGHT
        return match.score + fits + (2 * _TYPE_WEIGHT * len(hints & said) / len(hints) if hints else 0.0)

    ranked = sorted(((weight(match), match) for match in found), key=lambda pair: -pair[0])
    return tuple(replace(match, score=round(min(score, 1.0), 6)) for score, match in ranked[:limit])


def link_edit(store: TripleStore, edit: FactEdit, catalogue: RelationCatalogue, *, limit: int = 5) -> LinkedEdit:
    """Link the edit's subject, relation, new and old object to `store`; ids that the edit already has are kept.

    `edit.relation` may be any name that `RelationCatalogue.named` knows or a relation id of the store. An unknown one
    is guessed from the wording, and a note says so.
    """
    named = _named(store, edit.new_object)
    old_named = _named(store, edit.old_object)
    kinds = _types(store, edit, named) or frozenset(entity.type for entity in old_named if entity.type)
    evidence = Evidence(
        subject_types=_types_of_name(store, edit.subject),
        object_types=kinds,
        object_relations=_shared(_roles(store, [old_named]), _roles(store, [named])),
    )
    choice = choose_relation(catalogue, store, asked=edit.relation, template=edit.template, evidence=evidence)
    kinds = choice.guesses[0][0].subject_types if choice.guesses else frozenset()
    subject = _candidates(store, edit.subject, given=edit.subject_id, expected_types=kinds, near=(), limit=limit)
    chosen = _chosen(subject, edit.subject, given=edit.subject_id)
    if chosen is not None:
        own = store.outgoing(chosen.id)
        evidence = replace(
            evidence,
            held=frozenset(triple.relation.id for triple in own),
            stated=frozenset(triple.relation.id for triple in own if triple.object in old_named),
            subject_types=frozenset({chosen.type} - {""}),
        )
        choice = choose_relation(catalogue, store, asked=edit.relation, template=edit.template, evidence=evidence)
        if choice.id is None:
            choice = _of_its_facts(store, catalogue, edit, chosen, choice=choice, kinds=evidence.object_types)
    choice = replace(choice, guesses=choice.guesses[:limit])
    kinds = choice.spec.object_types if choice.spec else frozenset()
    new = _candidates(store, edit.new_object, given=edit.new_object_id, expected_types=kinds, near=(), limit=limit)
    new_id = _id(_chosen(new, edit.new_object, given=edit.new_object_id))
    held = _held(store, chosen, choice.id, besides=new_id)
    typed: tuple[Match, ...] = ()
    if edit.old_object is not None:
        near = [chosen.id] if chosen else []
        typed = _candidates(
            store, edit.old_object, given=edit.old_object_id, expected_types=kinds, near=near, limit=limit
        )
    old, old_id, notes = _old_object(edit, held, typed)
    missing = _missing(store, edit, subject=chosen, new_id=new_id, choice=choice)
    linked = replace(
        edit,
        relation=choice.id,
        subject_id=edit.subject_id or _id(chosen),
        new_object_id=new_id,
        old_object_id=old_id,
        old_object=edit.old_object or (held[0].entity.label if held else None),
    )
    return LinkedEdit(
        edit=linked,
        subject=subject,
        new_object=new,
        old_object=old[: max(limit, len(held))],
        relation=choice,
        notes=(*missing, *choice.notes, *notes),
    )


def _of_its_facts(
    store: TripleStore,
    catalogue: RelationCatalogue,
    edit: FactEdit,
    subject: Entity,
    *,
    choice: RelationChoice,
    kinds: Collection[str],
) -> RelationChoice:
    """Take the relation of the fact that the edit denies, for a wording that names none, such as "{} is in".

    That is the subject's only fact about the typed old object or, without one, about an object of the new one's type.
    """
    if not names_no_relation(edit.template, besides=subject.type):
        return choice
    facts = [t for t in store.outgoing(subject.id, limit=READ_LIMIT) if t.relation.id in catalogue]
    if edit.old_object is not None:
        old = fold(edit.old_object)
        meant = [t for t in facts if old in {fold(name) for name in (t.object.label, *t.object.aliases)}]
    else:
        meant = [t for t in facts if t.object.type in kinds]
    if len(meant) != 1:
        return choice
    spec = catalogue.spec(meant[0].relation.id)
    rest = tuple(pair for pair in choice.guesses if pair[0] != spec)
    note = f"The wording names no relation. {spec.label!r} is taken, because the graph says: {meant[0]}."
    return replace(
        choice, id=spec.id, spec=spec, origin="guessed", score=SURE, guesses=((spec, SURE), *rest), notes=(note,)
    )


def _named(store: TripleStore, text: str | None) -> list[Entity]:
    """Return the entities with exactly this name, at most ten."""
    found = () if text is None else store.search(text, limit=_SEARCHED)[:10]
    return [match.entity for match in found if _is_whole(match, text or "")]


def _types(store: TripleStore, edit: FactEdit, named: Sequence[Entity]) -> frozenset[str]:
    """Return the types of the new object, or of all entities of its name if none is chosen."""
    given, text = edit.new_object_id, edit.new_object
    if given is not None:
        named = [m.entity for m in _candidates(store, text, given=given, expected_types=(), near=(), limit=1)]
    return frozenset(entity.type for entity in named if entity.type)


def _types_of_name(store: TripleStore, name: str) -> frozenset[str]:
    """Return the types that the words of a name tell, or else that of most entities whose names begin like it."""
    told = kind_of_name(name)
    if told:
        return frozenset({told})
    if not store.finds_prefixes:
        return frozenset()
    words = fold(name).split()
    for length in range(min(_ALIKE_WORDS, len(words) - 1), 0, -1):
        begins = " ".join(words[:length]) + " "
        alike = [
            match.entity for match in store.search(begins, limit=_SEARCHED) if fold(match.matched).startswith(begins)
        ]
        counts = Counter(entity.type for entity in alike if entity.type)
        if counts.total() >= _ALIKE:
            kind, count = counts.most_common(1)[0]
            return frozenset({kind}) if count >= _ALIKE_SHARE * counts.total() else frozenset()
    return frozenset()


def _roles(store: TripleStore, objects: Iterable[Sequence[Entity]]) -> dict[str, float]:
    """Return the share of each relation among the facts that end at the first few entities of each name."""
    counts: Counter[str] = Counter()
    for named in objects:
        for entity in named[:_BEARERS]:
            counts.update(triple.relation.id for triple in store.incoming(entity.id, limit=200))
    total = sum(counts.values())
    return {relation: count / total for relation, count in counts.items()}


def _shared(old: Mapping[str, float], new: Mapping[str, float]) -> Mapping[str, float]:
    """Return the geometric means of two shares by relation, made to sum to 1; one side where the other tells nothing.

    Old and new object end facts of one relation, so what only one of them ends is unlikely: Nokia makes and develops,
    but Dodge only makes.
    """
    both = {relation: (share * new[relation]) ** 0.5 for relation, share in old.items() if relation in new}
    total = sum(both.values())
    return {relation: share / total for relation, share in both.items()} if total else old or new


def _candidates(
    store: TripleStore,
    text: str,
    *,
    given: str | None,
    expected_types: Collection[str],
    near: Collection[str],
    limit: int,
) -> tuple[Match, ...]:
    found = link_entity(store, text, expected_types=expected_types, near=near, limit=limit)
    if given is None:
        return found
    try:
        first = Match(entity=store.entity(given), matched=text, score=1.0)
    except UnknownEntityError:
        return found
    return (first, *(match for match in found if match.entity.id != given))[:limit]


def _chosen(candidates: Sequence[Match], text: str, *, given: str | None) -> Entity | None:
    if given is not None:
        return next((match.entity for match in candidates if match.entity.id == given), None)
    hint = _HINT.match(text.strip())
    whole = [match for match in candidates if _is_whole(match, text) or (hint and _is_whole(match, hint[1]))]
    return whole[0].entity if whole else None


def _is_whole(match: Match, text: str) -> bool:
    return fold(match.matched) == fold(text)


def _id(entity: Entity | None) -> str | None:
    return entity.id if entity else None


def _neighbours(store: TripleStore, near: Collection[str]) -> frozenset[str]:
    found: set[str] = set()
    for entity_id in near:
        found.update(triple.object.id for triple in store.outgoing(entity_id))
        found.update(triple.subject.id for triple in store.incoming(entity_id))
    return frozenset(found)


def _held(
    store: TripleStore, subject: Entity | None, relation: str | None, *, besides: str | None
) -> tuple[Match, ...]:
    """Return the graph's objects for (subject, relation), without the new object."""
    if subject is None or relation is None:
        return ()
    facts = store.outgoing(subject.id, relations=[relation], limit=20)
    return tuple(Match(entity=t.object, matched=t.object.label, score=1.0) for t in facts if t.object.id != besides)


def _old_object(
    edit: FactEdit, held: tuple[Match, ...], typed: tuple[Match, ...]
) -> tuple[tuple[Match, ...], str | None, list[str]]:
    """Return candidates for the old object, the chosen id, and whether the user and the graph disagree."""
    held_ids = {match.entity.id for match in held}
    candidates = (*held, *(match for match in typed if match.entity.id not in held_ids))
    if edit.old_object is None:
        notes = []
        if len(held) > 1:
            names = ", ".join(match.entity.label for match in held)
            notes = [f"The graph holds several objects now: {names}. {held[0].entity.label} is taken as the old one."]
        return candidates, edit.old_object_id or (held[0].entity.id if held else None), notes
    agreed = [match for match in typed if match.entity.id in held_ids and _is_whole(match, edit.old_object)]
    if agreed:
        return candidates, edit.old_object_id or agreed[0].entity.id, []
    chosen = _chosen(typed, edit.old_object, given=edit.old_object_id)
    notes = []
    if held:
        names = ", ".join(match.entity.label for match in held)
        notes = [f"You say the old object is {edit.old_object!r}; the graph says {names}."]
    return candidates, _id(chosen), notes


def _missing(
    store: TripleStore, edit: FactEdit, *, subject: Entity | None, new_id: str | None, choice: RelationChoice
) -> list[str]:
    notes = []
    if subject is None:
        notes.append(f"The graph {store.name!r} has nothing called {edit.subject!r}: its neighbourhood will be empty.")
    if new_id is None:
        notes.append(
            f"The graph {store.name!r} has nothing called {edit.new_object!r}: nothing follows from the new object."
        )
    if choice.id is None:
        notes.append(f"No relation fits the wording of {edit.template!r}. Choose one.")
    return notes
