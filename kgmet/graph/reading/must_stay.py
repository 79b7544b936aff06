"""Facts that an edit must preserve: the subject's other facts, and the same relation of other subjects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from kgmet.base.fingerprint import digest
from kgmet.graph.consequence import KeptFact, KeptKind
from kgmet.graph.phrasing import says
from kgmet.graph.reading.worlds import MAX_QUESTIONS, MAX_TEMPLATES, MAX_VALUES, EditWorlds
from kgmet.graph.store import READ_LIMIT
from kgmet.graph.triple import Entity, Triple

__all__ = ["OwnFacts", "find_kept_neighbours", "sort_own_facts"]


@dataclass(frozen=True, kw_only=True)
class OwnFacts:
    """The subject's own facts, grouped by the edit's effect on them."""

    kept: tuple[KeptFact, ...]
    outdated: tuple[Triple, ...]
    implied: tuple[Triple, ...]
    undecided: tuple[Triple, ...]


def sort_own_facts(worlds: EditWorlds) -> OwnFacts:
    """Sort the subject's facts into outdated, kept and undecided.

    Outdated: the replaced facts, and those a chain through the new object contradicts (the city becomes Tokyo, so the
    country is no longer France). Undecided: facts of a dependent relation for which the graph gives no new value, facts
    that would imply the old object again (in Paris, therefore in France), and other links to the old object. Of an edit
    whose relation is unknown, also what it may deny: facts about an object of the new one's type, and what follows.
    """
    outdated = list(worlds.ends.replaced)
    undecided: list[Triple] = []
    kept: list[Triple] = []
    facts = worlds.reader.facts(worlds.ends.subject)
    in_doubt = _in_doubt(worlds, facts)
    for triple in facts:
        relation = triple.relation.id
        if relation == worlds.ends.relation.id:
            continue
        if triple in in_doubt:
            undecided.append(triple)
        elif relation in worlds.dependent:
            following = worlds.ends_by(relation, new=True)
            if not following:
                undecided.append(triple)
            else:
                (kept if triple.object in following else outdated).append(triple)
        elif _is_denied(worlds, triple):
            outdated.append(triple)
        elif triple.object == worlds.ends.old or _contradicts(worlds, triple):
            undecided.append(triple)
        else:
            kept.append(triple)
    return OwnFacts(
        kept=_own(worlds, kept), outdated=tuple(outdated), implied=_implied(worlds), undecided=tuple(undecided)
    )


def find_kept_neighbours(worlds: EditWorlds) -> tuple[KeptFact, ...]:
    """Find other subjects of the edited relation: up to half share the old object, the others vary.

    Subjects whose answer the edit changes (a building in the moved city) or puts in doubt are left out, and so are
    those whose name gives away the answer (Chicago Midway Airport). Subjects of the same type as the edit's come first.
    """
    spec, ends, limit = worlds.spec, worlds.ends, worlds.config.max_neighbours
    if limit == 0 or worlds.edit.relation is None:
        return ()
    relation, store = worlds.edit.relation, worlds.reader.store
    sharing = [] if ends.old is None else list(store.incoming(ends.old.id, relations=[relation], limit=READ_LIMIT))
    others = store.with_relation(relation, limit=5 * READ_LIMIT)
    groups: dict[Entity, list[Triple]] = {}
    for triple in sorted(others, key=lambda t: worlds.reader.by_fame(t.subject)):
        if triple.object not in (ends.old, ends.new) and triple.subject != triple.object:
            groups.setdefault(triple.object, []).append(triple)
    rows = zip_longest(*(groups[key] for key in sorted(groups, key=worlds.reader.by_fame)))
    spread = [triple for triple in chain.from_iterable(rows) if triple is not None]
    sharing.sort(key=lambda t: worlds.reader.by_fame(t.subject))
    near, strange_near = _fitting(worlds, sharing, room=limit)
    far, strange_far = _fitting(worlds, spread, room=limit)
    n_near = min(len(near), max(limit // 2, limit - len(far)))
    chosen = (near[:n_near] + far[: limit - n_near] + strange_near + strange_far)[:limit]
    templates = spec.cloze[:MAX_TEMPLATES] if spec else (worlds.edit.template,)
    questions = spec.questions[:MAX_QUESTIONS] if spec else ()
    return tuple(
        _fact(
            worlds,
            "neighbour",
            triple,
            templates=templates,
            questions=questions,
            reason=_why(worlds, triple),
        )
        for triple in chosen
    )


def _fitting(worlds: EditWorlds, candidates: Sequence[Triple], *, room: int) -> tuple[list[Triple], list[Triple]]:
    """Return unaffected candidates in order: up to `room` of the subject's type, and others met before."""
    relation = worlds.ends.relation.id
    profile = {triple.relation.id for triple in worlds.reader.facts(worlds.ends.subject)}
    alike: list[Triple] = []
    unlike: list[Triple] = []
    seen = {worlds.ends.subject, worlds.ends.new}
    for triple in candidates[: 4 * room]:
        subject = triple.subject
        if subject in seen or subject.is_literal or says(subject.label, triple.object.label):
            continue
        seen.add(subject)
        facts = worlds.reader.facts(subject)
        if sum(fact.relation.id == relation for fact in facts) > MAX_VALUES or _depends(worlds, facts):
            continue
        (alike if _is_alike(worlds.ends.subject, profile, subject, facts) else unlike).append(triple)
        if len(alike) >= room:
            break
    return alike, unlike


def _is_alike(first: Entity, profile: set[str], second: Entity, facts: Sequence[Triple]) -> bool:
    """Return whether two subjects are of one type, judged by their types or else by their relations."""
    if first.type and second.type:
        return first.type == second.type
    other = {fact.relation.id for fact in facts}
    return 2 * len(profile & other) >= len(profile | other)


def _depends(worlds: EditWorlds, facts: Iterable[Triple]) -> bool:
    """Return whether these facts derive the edited relation's answer through the edit's subject."""
    relation, changed = worlds.ends.relation.id, worlds.ends.subject
    return any(t.object == changed and worlds.catalogue.compose(t.relation.id, relation) == relation for t in facts)


def _is_denied(worlds: EditWorlds, triple: Triple) -> bool:
    """Return whether another relation of the edit's family states what the edit denies.

    Relations of a family say the same of different types of object, so only an object of the new one's type is denied.
    """
    family = worlds.catalogue.family_of(worlds.ends.relation.id)
    if triple.relation.id not in {spec.id for spec in family} or triple.object == worlds.ends.new:
        return False
    return triple.object == worlds.ends.old or (triple.object.type == worlds.ends.new.type != "")


def _in_doubt(worlds: EditWorlds, facts: Sequence[Triple]) -> list[Triple]:
    """Return the facts that an edit of an unknown relation may deny: of Japan, if Chile is new, and so of Asia."""
    if worlds.edit.relation is not None:
        return []
    kind, old = worlds.ends.new.type, worlds.ends.old
    found = [t for t in facts if t.object == old or (kind and t.object.type == kind and t.object != worlds.ends.new)]
    follows = {
        (result, end)
        for triple in found
        if triple.relation.id in worlds.catalogue
        for following, result in worlds.catalogue.spec(triple.relation.id).composes.items()
        for end in worlds.reader.objects(triple.object, following)
    }
    return [*found, *(triple for triple in facts if (triple.relation.id, triple.object) in follows)]


def _contradicts(worlds: EditWorlds, triple: Triple) -> bool:
    """Return whether this fact contradicts the edit: in Paris, so in France; in the Alps, so in Europe."""
    if triple.relation.id not in worlds.catalogue:
        return False
    spec = worlds.catalogue.spec(triple.relation.id)
    for following, result in spec.composes.items():
        if result == worlds.ends.relation.id:
            wanted = {worlds.ends.new}
        elif result in worlds.dependent or (result is None and following in worlds.dependent):
            wanted = set(worlds.ends_by(following, new=True))
        else:
            continue
        if not wanted:
            continue
        found = worlds.reader.objects(triple.object, following)
        if found and not wanted.intersection(found):
            return True
    return False


def _implied(worlds: EditWorlds) -> tuple[Triple, ...]:
    found = []
    for relation in sorted(worlds.dependent):
        for end in sorted(worlds.ends_by(relation, new=True), key=worlds.reader.by_fame):
            if relation in worlds.catalogue and end != worlds.ends.subject:
                name = worlds.catalogue.spec(relation).relation
                found.append(Triple(subject=worlds.ends.subject, relation=name, object=end, source="implied"))
    return tuple(found)


def _own(worlds: EditWorlds, triples: Iterable[Triple]) -> tuple[KeptFact, ...]:
    groups: dict[str, list[Triple]] = {}
    for triple in triples:
        is_asked = worlds.config.include_literals or not triple.object.is_literal
        if is_asked and triple.relation.id in worlds.catalogue:
            groups.setdefault(triple.relation.id, []).append(triple)
    found = []
    for relation in sorted(groups, key=worlds.rank):
        values = sorted(groups[relation], key=lambda t: worlds.reader.by_fame(t.object))
        if len(values) > MAX_VALUES:
            continue
        spec = worlds.catalogue.spec(relation)
        fact = Triple(
            subject=worlds.subject, relation=values[0].relation, object=values[0].object, source=values[0].source
        )
        found.append(
            _fact(
                worlds,
                "own",
                fact,
                templates=spec.cloze[:MAX_TEMPLATES],
                questions=spec.questions[:MAX_QUESTIONS],
                reason=f"{fact}: nothing in the graph ties this to the edit.",
                also=tuple(triple.object for triple in values[1:]),
            )
        )
    return tuple(found[: worlds.config.max_kept_own])


def _why(worlds: EditWorlds, triple: Triple) -> str:
    shared = "the same old object" if triple.object == worlds.ends.old else "the same relation"
    return f"{triple}: {shared}, but another subject."


def _fact(
    worlds: EditWorlds,
    kind: KeptKind,
    triple: Triple,
    *,
    templates: tuple[str, ...],
    questions: tuple[str, ...],
    reason: str,
    also: tuple[Entity, ...] | None = None,
) -> KeptFact:
    if also is None:
        values = worlds.reader.objects(triple.subject, triple.relation.id)
        also = tuple(entity for entity in values if entity != triple.object)
    name = digest("kept", worlds.edit.id, kind, *triple.key)[:12]
    return KeptFact(
        id=name, kind=kind, triple=triple, templates=templates, questions=questions, reason=reason, also=also
    )
