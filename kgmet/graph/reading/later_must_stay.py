"""Facts that a deep write must preserve: chains through other subjects, and other facts from the same start."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

from kgmet.base.fingerprint import digest
from kgmet.graph.consequence import Consequence, KeptFact, KeptKind
from kgmet.graph.reading.worlds import EditWorlds
from kgmet.graph.store import READ_LIMIT
from kgmet.graph.triple import Entity, Relation, Triple

__all__ = ["find_kept_later", "share_later_hops"]


def share_later_hops(
    later: Sequence[Consequence], edited: tuple[str, str, str]
) -> tuple[tuple[Consequence, ...], tuple[Consequence, ...]]:
    """Split later hops into (may be written, only measured): every second starting point of each leading relation.

    Only chains of two hops that end with the edited fact (triple key `edited`) are written; longer ones from the same
    start are in neither.
    """
    starts: dict[str, list[str]] = {}
    seen: set[str] = set()
    for item in later:
        if _is_plain(item, edited) and item.subject.id not in seen:
            seen.add(item.subject.id)
            starts.setdefault(item.path_new[0].relation.id, []).append(item.subject.id)
    writable = {start for group in starts.values() for start in group[0::2]}
    written = tuple(item for item in later if item.subject.id in writable and _is_plain(item, edited))
    return written, tuple(item for item in later if item.subject.id not in writable)


def find_kept_later(
    worlds: EditWorlds, later: Sequence[Consequence], neighbours: Sequence[KeptFact], own: Sequence[KeptFact]
) -> tuple[KeptFact, ...]:
    """Return facts over two hops that the edit does not change, worded like its later hops.

    For chains y –q→ s –r→ o* in `later`: the same chain from the `neighbours`, y' –q→ s' –r→ o', and other facts of s
    (`own`) from the same start, y –q→ s –r'→ x. In turns, the edit's own neighbours first.
    """
    limit = worlds.config.max_kept_later
    if limit == 0 or not later:
        return ()
    leading = list(dict.fromkeys(item.path_new[0].relation.id for item in later))
    same = [_elsewhere(worlds, leading, fact) for fact in neighbours]
    other = [_beside(worlds, item, own, turn=number) for number, item in enumerate(later)]
    turns = (fact for row in zip_longest(_turns(same), _turns(other)) for fact in row if fact is not None)
    return tuple({fact.id: fact for fact in turns}.values())[:limit]


def _elsewhere(worlds: EditWorlds, leading: Sequence[str], fact: KeptFact) -> list[KeptFact]:
    """Return the chains of `fact`'s subject: from its best-known starting point of each leading relation."""
    found = []
    for relation in leading:
        starts = worlds.reader.about(fact.triple.subject, relation, limit=READ_LIMIT)
        for triple in sorted(starts, key=lambda t: worlds.reader.by_fame(t.subject))[:_TRIED]:
            if len(worlds.reader.objects(triple.subject, relation)) == 1:
                reason = f"{triple}, and {fact.triple}: the same chain through another subject."
                found.append(_kept(worlds, "neighbour", (triple, fact.triple), also=fact.also, reason=reason))
                break
    return found


def _beside(worlds: EditWorlds, item: Consequence, own: Sequence[KeptFact], *, turn: int) -> list[KeptFact]:
    """Return other facts of the edit's subject, from the start of one later hop; `turn` selects the first."""
    first = item.path_new[0]
    allowed = worlds.catalogue.spec(first.relation.id).composes
    facts = [fact for fact in own if fact.triple.relation.id in allowed]
    turned = facts[turn % len(facts) :] + facts[: turn % len(facts)] if facts else []
    return [
        _kept(
            worlds,
            "own",
            (first, fact.triple),
            also=fact.also,
            reason=f"{first}, and {fact.triple}: nothing in the graph ties this to the edit.",
        )
        for fact in turned
    ]


def _kept(
    worlds: EditWorlds, kind: KeptKind, path: tuple[Triple, Triple], *, also: tuple[Entity, ...], reason: str
) -> KeptFact:
    relations = [triple.relation.id for triple in path]
    templates, questions = worlds.words(relations)
    through = Relation(id="/".join(relations), label=" → ".join(triple.relation.label for triple in path))
    return KeptFact(
        id=digest("kept later", worlds.edit.id, *path[0].key, *path[1].key)[:12],
        kind=kind,
        triple=Triple(subject=path[0].subject, relation=through, object=path[1].object, source="implied"),
        templates=templates,
        questions=questions,
        reason=reason,
        also=also,
        path=path,
    )


def _is_plain(item: Consequence, edited: tuple[str, str, str]) -> bool:
    return len(item.path_new) == 2 and item.path_new[-1].key == edited and item.new is not None


def _turns(lists: Sequence[Sequence[KeptFact]]) -> list[KeptFact]:
    """Return the first of each list, then the second of each."""
    return [fact for fact in chain.from_iterable(zip_longest(*lists)) if fact is not None]


_TRIED = 10
"""Number of best-known starting points tried before a neighbour is skipped."""
