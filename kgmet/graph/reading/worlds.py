"""`EditWorlds`: what a store says before and after one edit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kgmet.base.fingerprint import digest
from kgmet.base.ranges import check_numbers
from kgmet.fact import FactEdit
from kgmet.graph.consequence import Consequence, ConsequenceKind
from kgmet.graph.phrasing import as_typed, word_chain
from kgmet.graph.reading.chains import Chain, GraphReader, closure, grow_chains
from kgmet.graph.reading.resolved_edit import EditEnds, find_ends
from kgmet.graph.reading.retrieve import Switch
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import READ_LIMIT, TripleStore
from kgmet.graph.triple import Entity, Triple

__all__ = [
    "KNOWN_RELATIONS",
    "MAX_QUESTIONS",
    "MAX_TEMPLATES",
    "MAX_VALUES",
    "Change",
    "ConsequenceConfig",
    "EditWorlds",
]

KNOWN_RELATIONS = (
    *("P17", "P30", "P37", "P38", "P36", "P27", "P103", "P1412", "P19", "P106"),
    *("P641", "P159", "P112", "P50", "P140", "P452", "P495", "P407"),
)
"""Relations that small models know, best known first: country, continent, language, currency, capital, …"""

MAX_VALUES = 3
"""A relation with more objects than this at one subject is skipped, because any answer would do."""
MAX_TEMPLATES = 8
"""Most prompts per consequence or kept fact: a bound on nested wordings, of which search and probes use a few."""
MAX_QUESTIONS = 6
"""Most questions per consequence; reports ask one and probes three."""

Paths = dict[Entity, tuple[Triple, ...]]


@dataclass(frozen=True, kw_only=True)
class ConsequenceConfig:
    """Kinds and numbers of consequences to find."""

    max_hops: int = 3
    """Longest chain that starts with the edited fact, counting that fact; 2 to 4."""
    max_consequences: int = 12
    """Most forward consequences."""
    max_later_hops: int = 12
    """Most consequences in which the edited fact is a later hop."""
    max_inverse: int = 4
    """Most lost inverse facts (at most one is gained)."""
    max_kept_own: int = 12
    """Most facts of the subject that must stay."""
    max_neighbours: int = 24
    """Most facts of other subjects that must stay; half of them are protected, half measured."""
    max_kept_later: int = 0
    """Most facts over two hops that must stay, to protect and again to measure; for deep writes only."""
    relations: tuple[str, ...] = KNOWN_RELATIONS
    """Relations in order of preference; short chains come before long ones, other relations follow by id."""
    include_literals: bool = False
    """Whether literal values (calling codes, years) count as ends of chains."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_numbers(self, "consequences", "max_hops", least=2, most=4)
        counts = (
            "max_consequences",
            "max_later_hops",
            "max_inverse",
            "max_kept_own",
            "max_neighbours",
            "max_kept_later",
        )
        check_numbers(self, "consequences", *counts, least=0)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A changed answer: the main one before and after, and further right answers."""

    new: Entity
    old: Entity | None
    also: tuple[Entity, ...]
    also_old: tuple[Entity, ...]


class EditWorlds:
    """One edit resolved in a store, with every chain of relations from its new and from its old object."""

    def __init__(
        self,
        store: TripleStore,
        catalogue: RelationCatalogue,
        edit: FactEdit,
        *,
        config: ConsequenceConfig,
        exclude: Collection[Switch] = (),
        ends: EditEnds | None = None,
    ) -> None:
        self.catalogue, self.edit, self.config = catalogue, edit, config
        self.spec = catalogue.spec(edit.relation) if edit.relation in catalogue and edit.relation else None
        self.ends = ends or find_ends(store, edit, catalogue)
        self.subject = as_typed(edit.subject, self.ends.subject)
        self.reader = GraphReader(store, limit=READ_LIMIT, exclude=exclude)
        self.remaining = self._remaining()
        old_chains = self._chains(self.ends.old_edge)
        circular = [key for key, chain in old_chains.items() if self._returns(chain)]
        self.old_chains = _not_after(circular, old_chains)
        self.new_chains = _not_after(circular, self._chains(self.ends.edge))
        self.dependent = frozenset() if self.spec is None else closure(catalogue, self.spec.id) - {self.spec.id}

    def _remaining(self) -> Paths:
        """Return the other objects of the edited relation, which stay: the other languages of Switzerland."""
        away = {*self.ends.replaced, self.ends.edge}
        facts = () if self.edit.relation is None else self.reader.facts(self.ends.subject, [self.edit.relation])
        return {triple.object: (triple,) for triple in facts if triple not in away}

    def _chains(self, edge: Triple | None) -> dict[tuple[str, ...], Chain]:
        if self.spec is None or edge is None:
            return {}
        return grow_chains(
            self.reader,
            self.catalogue,
            {edge.object: (edge,), **self.remaining},
            after=self.spec.id,
            length=self.config.max_hops - 1,
            welcome=self.config.relations,
        )

    def _returns(self, chain: Chain) -> bool:
        # The country of the capital of Spain is Spain. After an edit of the capital this and every chain through it is
        # circular.
        return any(triple.object == self.ends.subject for path in chain.paths.values() for triple in path)

    def rank(self, relation: str) -> tuple[int, str]:
        """Return a sort key: the position in `config.relations`, then the id."""
        order = self.config.relations
        return (order.index(relation) if relation in order else len(order)), relation

    def ends_by(self, relation: str, *, new: bool) -> Paths:
        """Return the ends of all chains that compose to this relation of the subject, in the new or the old world."""
        found: Paths = {}
        chains = self.new_chains if new else self.old_chains
        for key in sorted(chains, key=lambda relations: (len(relations), relations)):
            if chains[key].composed == relation:
                for end, path in chains[key].paths.items():
                    found.setdefault(end, path)
        return found

    def stored(self, relation: str) -> Paths:
        """Return the store's direct objects of the subject."""
        return {triple.object: (triple,) for triple in self.reader.facts(self.ends.subject, [relation])}

    def change(self, new_ends: Iterable[Entity], old_ends: Iterable[Entity]) -> Change | None:
        """Return the changed answer, or ``None`` if the change is not clear."""
        new, old = sorted(set(new_ends), key=self.reader.by_fame), sorted(set(old_ends), key=self.reader.by_fame)
        gained = [entity for entity in new if entity not in old]
        lost = [entity for entity in old if entity not in new]
        if not gained or self.ends.subject in gained or (old and not lost) or max(len(new), len(old)) > MAX_VALUES:
            return None
        if gained[0].is_literal and not self.config.include_literals:
            return None
        first = lost[0] if lost else None
        return Change(
            new=gained[0],
            old=first,
            also=tuple(entity for entity in new if entity != gained[0]),
            also_old=tuple(entity for entity in old if entity != first),
        )

    def words(self, relations: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return prompts and questions for a chain of relations."""
        return word_chain(self.catalogue, relations, n_templates=MAX_TEMPLATES, n_questions=MAX_QUESTIONS)

    def make(
        self, kind: ConsequenceKind, *, path_new: tuple[Triple, ...], path_old: tuple[Triple, ...], **rest: Any
    ) -> Consequence:
        """Make a consequence; its id depends only on the edit and the chain."""
        chain = path_new or path_old
        parts = [part for triple in chain for part in triple.key]
        name = digest("consequence", self.edit.id, kind, *parts)[:12]
        return Consequence(id=name, kind=kind, hops=len(chain), path_new=path_new, path_old=path_old, **rest)

    def noun(self, triple: Triple, *, subject: Entity | None = None) -> str:
        """Return the object of a triple as a noun phrase: ``the city of the Eiffel Tower``."""
        name = (subject or triple.subject).in_text
        if triple.relation.id in self.catalogue:
            phrase = self.catalogue.spec(triple.relation.id).phrase
            if "the {}" in phrase:
                name = name.removeprefix("the ")
            return phrase.replace("{}", name)
        return f"the {triple.relation.label} of {name}"

    def explain(self, path_new: Sequence[Triple], path_old: Sequence[Triple]) -> str:
        """Explain in words why the end of the chain changes."""
        links = []
        for triple in path_new:
            verb = "becomes" if triple.key == self.ends.edge.key else "is"
            subject = self.subject if triple.subject == self.subject else None
            links.append(f"{self.noun(triple, subject=subject)} {verb} {triple.object.in_text}")
        text = ", and ".join(links)
        if path_old and path_old[-1].object != path_new[-1].object:
            text += f"; before, the answer was {path_old[-1].object.in_text}"
        return text[:1].upper() + text[1:] + "."


def _not_after(
    prefixes: Sequence[tuple[str, ...]], chains: dict[tuple[str, ...], Chain]
) -> dict[tuple[str, ...], Chain]:
    return {key: chain for key, chain in chains.items() if not any(key[: len(p)] == p for p in prefixes)}
