"""`find_consequences`: what else changes if an edit is true, and what must stay as it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kgmet.fact import FactEdit
from kgmet.graph.consequence import Consequence, EditConsequences, KeptFact
from kgmet.graph.reading.later_hops import find_later_hops
from kgmet.graph.reading.later_must_stay import find_kept_later, share_later_hops
from kgmet.graph.reading.must_stay import find_kept_neighbours, sort_own_facts
from kgmet.graph.reading.retrieve import Switch
from kgmet.graph.reading.worlds import KNOWN_RELATIONS, ConsequenceConfig, Look
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
) -> EditConsequences:
    """Everything `store` and `catalogue` say about what an edit entails.

    Forward: chains s –r→ o* –r'→ x whose end was another one with the old object (all of them where that object is
    unknown). Inverse: what is now also true of o*, and no longer of o. Later hops: chains y –q→ s –r→ o*. Kept: facts
    of s that none of this touches, and facts of other subjects of r, those that share the old object first. Facts about
    which the graph cannot tell are none of these and listed apart. Nothing follows by way of what a person switched
    off (`exclude`: triples by their keys, relations by their ids). What the store does not know leads to fewer
    consequences, never to an error; deterministic.
    """
    look = Look(store, catalogue, edit, config=config, exclude=exclude)
    forward = _forward(look)
    gained, lost = _inverse(look)
    own = sort_own_facts(look)
    later = find_later_hops(look, forward)
    written, probed = share_later_hops(later, look.ends.edge.key)
    neighbours = find_kept_neighbours(look)
    return EditConsequences(
        edit=edit,
        subject=look.subject,
        forward=forward,
        inverse_gained=gained,
        inverse_lost=lost,
        later_hops=later,
        kept_own=own.kept,
        kept_neighbours=neighbours,
        written_later=written if look.config.max_kept_later else (),
        kept_later=find_kept_later(look, written, neighbours[0::2], own.kept),
        probed_kept_later=find_kept_later(look, probed, neighbours[1::2], own.kept),
        outdated=(*own.outdated, *_mirrors(look, lost)),
        implied=(*own.implied, *(item.path_new[0] for item in gained if item.relation is not None)),
        undecided=own.undecided,
    )


def _forward(look: Look) -> tuple[Consequence, ...]:
    found = []
    for key, chain in look.new_chains.items():
        old_paths = dict(look.old_chains[key].paths) if key in look.old_chains else {}
        if not old_paths and chain.composed is not None:
            old_paths = look.ends_by(chain.composed, new=False) or look.stored(chain.composed)
        change = look.change(chain.paths, old_paths)
        templates, questions = look.words((look.ends.relation.id, *key))
        if change is None or not templates:
            continue
        # With a known old object, an old end that the graph does not give may be the new one as well.
        if change.old is None and look.ends.old is not None:
            continue
        path_new = chain.paths[change.new]
        path_old = () if change.old is None else old_paths[change.old]
        found.append(
            look.make(
                "forward",
                path_new=path_new,
                path_old=path_old,
                subject=look.subject,
                old=change.old,
                new=change.new,
                also=change.also,
                also_old=change.also_old,
                relation=chain.composed,
                reason=look.explain(path_new, path_old),
                templates=templates,
                questions=questions,
            )
        )
    return _chosen(look, found)


def _chosen(look: Look, candidates: Sequence[Consequence]) -> tuple[Consequence, ...]:
    # The continent of the city and the continent of its country are one change; the shortest chain stands for it.
    def said_by(item: Consequence) -> str:
        return item.relation or item.path_new[-1].relation.id

    def order(item: Consequence) -> tuple[object, ...]:
        is_other = said_by(item) not in look.config.relations
        return is_other, item.hops, *look.rank(said_by(item)), [triple.key for triple in item.path_new]

    chosen: dict[tuple[str, str], Consequence] = {}
    for item in sorted(candidates, key=order):
        chosen.setdefault((said_by(item), item.path_new[-1].object.id), item)
    return tuple(chosen.values())[: look.config.max_consequences]


def _inverse(look: Look) -> tuple[tuple[Consequence, ...], tuple[Consequence, ...]]:
    spec, ends = look.spec, look.ends
    if spec is None or look.config.max_inverse == 0 or ends.new.is_literal:
        return (), ()
    named = look.catalogue.spec(spec.inverse) if spec.inverse in look.catalogue and spec.inverse else None
    relation = named.relation if named else Relation(id=f"inverse:{spec.id}", label=spec.inverse_label)
    templates, questions = look.words([named.id]) if named else ((), ())

    def mirrored(subject: Entity, thing: Entity, source: str) -> Triple:
        return Triple(subject=subject, relation=relation, object=thing, source=source)

    before = [t.subject for t in look.reader.about(ends.new, spec.id, limit=20)] if spec.is_inverse_functional else []
    rivals = sorted((entity for entity in before if entity != ends.subject), key=look.reader.by_fame)
    gained = look.make(
        "inverse_gained",
        path_new=(mirrored(ends.new, look.subject, "implied"),),
        path_old=tuple(mirrored(ends.new, rival, "") for rival in rivals[:1]),
        subject=ends.new,
        old=rivals[0] if rivals else None,
        new=look.subject,
        relation=named.id if named else None,
        reason=f"Now also true: {ends.new.in_text} – {spec.inverse_label} – {look.subject.in_text}.",
        templates=templates,
        questions=questions,
    )
    lost = []
    for old in _once([*(t.object for t in ends.replaced), *([ends.old] if ends.old else [])])[
        : look.config.max_inverse
    ]:
        others = [t.subject for t in look.reader.about(old, spec.id, limit=50) if t.subject != ends.subject]
        others.sort(key=look.reader.by_fame)
        lost.append(
            look.make(
                "inverse_lost",
                path_new=(),
                path_old=(mirrored(old, ends.subject, ""),),
                subject=old,
                old=look.subject,
                new=others[0] if others else None,
                also=tuple(others[1:20]),
                relation=named.id if named else None,
                reason=f"No longer true: {old.in_text} – {spec.inverse_label} – {look.subject.in_text}.",
                templates=templates,
                questions=questions,
            )
        )
    return (gained,), tuple(lost)


def _mirrors(look: Look, lost: Sequence[Consequence]) -> list[Triple]:
    """Return what the store says of the lost inverse facts, where it holds the inverse relation too."""
    held = [look.reader.facts(item.subject, [item.relation]) for item in lost if item.relation is not None]
    return [triple for facts in held for triple in facts if triple.object == look.ends.subject]


def _once(entities: Sequence[Entity]) -> list[Entity]:
    return list(dict.fromkeys(entities))
