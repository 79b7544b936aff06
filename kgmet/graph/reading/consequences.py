"""`find_consequences`: what else changes if an edit is true, and what must stay."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kgmet.fact import FactEdit
from kgmet.graph.consequence import Consequence, EditConsequences, KeptFact
from kgmet.graph.reading.later_hops import find_later_hops
from kgmet.graph.reading.later_must_stay import find_kept_later, share_later_hops
from kgmet.graph.reading.must_stay import find_kept_neighbours, sort_own_facts
from kgmet.graph.reading.resolved_edit import EditEnds
from kgmet.graph.reading.retrieve import Switch
from kgmet.graph.reading.worlds import KNOWN_RELATIONS, ConsequenceConfig, EditWorlds
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity, Relation, Triple

__all__ = [
    "KNOWN_RELATIONS",
    "Consequence",
    "ConsequenceConfig",
    "EditConsequences",
    "KeptFact",
    "find_consequences",
]


def find_consequences(
    store: TripleStore,
    catalogue: RelationCatalogue,
    edit: FactEdit,
    *,
    config: ConsequenceConfig,
    exclude: Collection[Switch] = (),
    ends: EditEnds | None = None,
) -> EditConsequences:
    """Find everything that an edit entails according to `store` and `catalogue`.

    Forward: chains s –r→ o* –r'→ x with another end under the old object (all chains if that object is unknown).
    Inverse: facts gained by o* and lost by o. Later hops: chains y –q→ s –r→ o*. Kept: unaffected facts of s, and facts
    of other subjects of r, those with the old object first. Facts on which the graph is silent are listed separately.
    Triples (by key) and relations (by id) in `exclude` are ignored. Missing knowledge gives fewer consequences, never
    an error. Deterministic. `ends` is the edit resolved in this store (`find_ends`), if that is known already.
    """
    worlds = EditWorlds(store, catalogue, edit, config=config, exclude=exclude, ends=ends)
    forward = _forward(worlds)
    gained, lost = _inverse(worlds)
    own = sort_own_facts(worlds)
    later = find_later_hops(worlds, forward)
    written, probed = share_later_hops(later, worlds.ends.edge.key)
    neighbours = find_kept_neighbours(worlds)
    return EditConsequences(
        edit=edit,
        subject=worlds.subject,
        forward=forward,
        inverse_gained=gained,
        inverse_lost=lost,
        later_hops=later,
        kept_own=own.kept,
        kept_neighbours=neighbours,
        written_later=written if worlds.config.max_kept_later else (),
        kept_later=find_kept_later(worlds, written, neighbours[0::2], own.kept),
        probed_kept_later=find_kept_later(worlds, probed, neighbours[1::2], own.kept),
        outdated=(*own.outdated, *_mirrors(worlds, lost)),
        implied=(*own.implied, *(item.path_new[0] for item in gained if item.relation is not None)),
        undecided=own.undecided,
    )


def _forward(worlds: EditWorlds) -> tuple[Consequence, ...]:
    found = []
    for key, chain in worlds.new_chains.items():
        old_paths = dict(worlds.old_chains[key].paths) if key in worlds.old_chains else {}
        if not old_paths and chain.composed is not None:
            old_paths = worlds.ends_by(chain.composed, new=False) or worlds.stored(chain.composed)
        change = worlds.change(chain.paths, old_paths)
        templates, questions = worlds.words((worlds.ends.relation.id, *key))
        if change is None or not templates:
            continue
        # With a known old object, an old end missing from the graph may equal the new one.
        if change.old is None and worlds.ends.old is not None:
            continue
        path_new = chain.paths[change.new]
        path_old = () if change.old is None else old_paths[change.old]
        found.append(
            worlds.make(
                "forward",
                path_new=path_new,
                path_old=path_old,
                subject=worlds.subject,
                old=change.old,
                new=change.new,
                also=change.also,
                also_old=change.also_old,
                relation=chain.composed,
                reason=worlds.explain(path_new, path_old),
                templates=templates,
                questions=questions,
            )
        )
    return _chosen(worlds, found)


def _chosen(worlds: EditWorlds, candidates: Sequence[Consequence]) -> tuple[Consequence, ...]:
    # The continent of the city and the continent of its country are one change; the shortest chain represents it.
    def said_by(item: Consequence) -> str:
        return item.relation or item.path_new[-1].relation.id

    def order(item: Consequence) -> tuple[object, ...]:
        is_other = said_by(item) not in worlds.config.relations
        return is_other, item.hops, *worlds.rank(said_by(item)), [triple.key for triple in item.path_new]

    chosen: dict[tuple[str, str], Consequence] = {}
    for item in sorted(candidates, key=order):
        chosen.setdefault((said_by(item), item.path_new[-1].object.id), item)
    return tuple(chosen.values())[: worlds.config.max_consequences]


def _inverse(worlds: EditWorlds) -> tuple[tuple[Consequence, ...], tuple[Consequence, ...]]:
    spec, ends = worlds.spec, worlds.ends
    if spec is None or worlds.config.max_inverse == 0 or ends.new.is_literal:
        return (), ()
    named = worlds.catalogue.spec(spec.inverse) if spec.inverse in worlds.catalogue and spec.inverse else None
    relation = named.relation if named else Relation(id=f"inverse:{spec.id}", label=spec.inverse_label)
    templates, questions = worlds.words([named.id]) if named else ((), ())

    def mirrored(subject: Entity, thing: Entity, source: str) -> Triple:
        return Triple(subject=subject, relation=relation, object=thing, source=source)

    before = [t.subject for t in worlds.reader.about(ends.new, spec.id, limit=20)] if spec.is_inverse_functional else []
    rivals = sorted((entity for entity in before if entity != ends.subject), key=worlds.reader.by_fame)
    gained = worlds.make(
        "inverse_gained",
        path_new=(mirrored(ends.new, worlds.subject, "implied"),),
        path_old=tuple(mirrored(ends.new, rival, "") for rival in rivals[:1]),
        subject=ends.new,
        old=rivals[0] if rivals else None,
        new=worlds.subject,
        relation=named.id if named else None,
        reason=f"Now also true: {ends.new.in_text} – {spec.inverse_label} – {worlds.subject.in_text}.",
        templates=templates,
        questions=questions,
    )
    lost = []
    for old in _once([*(t.object for t in ends.replaced), *([ends.old] if ends.old else [])])[
        : worlds.config.max_inverse
    ]:
        others = [t.subject for t in worlds.reader.about(old, spec.id, limit=50) if t.subject != ends.subject]
        others.sort(key=worlds.reader.by_fame)
        lost.append(
            worlds.make(
                "inverse_lost",
                path_new=(),
                path_old=(mirrored(old, ends.subject, ""),),
                subject=old,
                old=worlds.subject,
                new=others[0] if others else None,
                also=tuple(others[1:20]),
                relation=named.id if named else None,
                reason=f"No longer true: {old.in_text} – {spec.inverse_label} – {worlds.subject.in_text}.",
                templates=templates,
                questions=questions,
            )
        )
    return (gained,), tuple(lost)


def _mirrors(worlds: EditWorlds, lost: Sequence[Consequence]) -> list[Triple]:
    """Return the store's own triples of the lost inverse facts, if it has the inverse relation."""
    held = [worlds.reader.facts(item.subject, [item.relation]) for item in lost if item.relation is not None]
    return [triple for facts in held for triple in facts if triple.object == worlds.ends.subject]


def _once(entities: Sequence[Entity]) -> list[Entity]:
    return list(dict.fromkeys(entities))
