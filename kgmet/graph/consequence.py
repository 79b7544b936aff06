"""Values for what an edit entails: `Consequence`, `KeptFact`, `EditConsequences`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from kgmet.base.errors import BrokenArtifactError
from kgmet.fact import FactEdit
from kgmet.graph.codec import (
    entity_from_json,
    entity_to_json,
    take,
    texts_from_json,
    triple_from_json,
    triple_to_json,
    triples_from_json,
)
from kgmet.graph.phrasing import fill
from kgmet.graph.triple import Entity, Triple

__all__ = ["Consequence", "ConsequenceKind", "EditConsequences", "KeptFact", "KeptKind"]

ConsequenceKind = Literal["forward", "inverse_gained", "inverse_lost", "later_hop"]
"""Kind of consequence: the edited fact comes first in its chain, is inverted, or comes later."""
KeptKind = Literal["own", "neighbour"]
"""Kind of kept fact: of the edit's subject, or of another subject of the same relation."""


@dataclass(frozen=True, kw_only=True)
class Consequence:
    """One change implied by the edit: the answer about `subject` changes from `old` to `new`.

    `path_old` and `path_new` are chains of triples that include the edited one; `path_old` is empty where no path to
    the old answer is known. `relation` is the id of the single relation from `subject` to the answer, if there is one.
    `also` are further right answers after the edit, `also_old` before it. Each of `templates` and `questions` has one
    ``{}`` for `subject` (see `text`); a template's natural continuation is the answer.
    """

    id: str
    kind: ConsequenceKind
    hops: int
    path_old: tuple[Triple, ...]
    path_new: tuple[Triple, ...]
    subject: Entity
    old: Entity | None
    new: Entity | None
    relation: str | None
    reason: str
    templates: tuple[str, ...]
    questions: tuple[str, ...]
    also: tuple[Entity, ...] = ()
    also_old: tuple[Entity, ...] = ()

    def text(self, template: str) -> str:
        """Return `template` with the subject in place, its article lower-case inside a sentence."""
        return fill(template, self.subject)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "id": self.id,
            "kind": self.kind,
            "hops": self.hops,
            "path_old": [triple_to_json(triple) for triple in self.path_old],
            "path_new": [triple_to_json(triple) for triple in self.path_new],
            "subject": entity_to_json(self.subject),
            "old": None if self.old is None else entity_to_json(self.old),
            "new": None if self.new is None else entity_to_json(self.new),
            "relation": self.relation,
            "reason": self.reason,
            "templates": list(self.templates),
            "questions": list(self.questions),
            "also": [entity_to_json(entity) for entity in self.also],
            "also_old": [entity_to_json(entity) for entity in self.also_old],
        }

    @classmethod
    def from_json(cls, data: Any) -> Consequence:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if it is not a consequence.
        """
        kind = take(data, "kind", str)
        if kind not in ("forward", "inverse_gained", "inverse_lost", "later_hop"):
            raise BrokenArtifactError(f"There is no kind of consequence {kind!r}. Find the consequences again.")
        return cls(
            id=take(data, "id", str),
            kind=kind,
            hops=take(data, "hops", int),
            path_old=triples_from_json(take(data, "path_old", list)),
            path_new=triples_from_json(take(data, "path_new", list)),
            subject=entity_from_json(take(data, "subject", dict)),
            old=_optional(data, "old"),
            new=_optional(data, "new"),
            relation=take(data, "relation", (str, type(None))),
            reason=take(data, "reason", str),
            templates=texts_from_json(data, "templates"),
            questions=texts_from_json(data, "questions"),
            also=tuple(entity_from_json(row) for row in take(data, "also", list)),
            also_old=tuple(entity_from_json(row) for row in take(data, "also_old", list)),
        )


@dataclass(frozen=True, kw_only=True)
class KeptFact:
    """One fact that the edit must not change, with its prompts; each template has one ``{}`` for the subject.

    `path` holds the triples of a chain; it is empty for a single triple.
    """

    id: str
    kind: KeptKind
    triple: Triple
    templates: tuple[str, ...]
    questions: tuple[str, ...]
    reason: str
    also: tuple[Entity, ...] = ()
    path: tuple[Triple, ...] = ()

    def text(self, template: str) -> str:
        """Return `template` with the fact's subject in place, its article lower-case inside a sentence."""
        return fill(template, self.triple.subject)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "id": self.id,
            "kind": self.kind,
            "triple": triple_to_json(self.triple),
            "templates": list(self.templates),
            "questions": list(self.questions),
            "reason": self.reason,
            "also": [entity_to_json(entity) for entity in self.also],
            "path": [triple_to_json(triple) for triple in self.path],
        }

    @classmethod
    def from_json(cls, data: Any) -> KeptFact:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if it is not a kept fact.
        """
        kind = take(data, "kind", str)
        if kind not in ("own", "neighbour"):
            raise BrokenArtifactError(f"There is no kind of kept fact {kind!r}. Find the consequences again.")
        return cls(
            id=take(data, "id", str),
            kind=kind,
            triple=triple_from_json(take(data, "triple", dict)),
            templates=texts_from_json(data, "templates"),
            questions=texts_from_json(data, "questions"),
            reason=take(data, "reason", str),
            also=tuple(entity_from_json(row) for row in take(data, "also", list)),
            path=triples_from_json(take(data, "path", list)),
        )


@dataclass(frozen=True, kw_only=True)
class EditConsequences:
    """Everything a graph says about one edit, most important first.

    `outdated` are facts of the subject in the graph that the edit makes untrue, `implied` their replacements, and
    `undecided` those on which the graph is silent. `written_later` are the later hops that a second, deep write may
    use. `kept_later` and `probed_kept_later` are chains over two hops that must stay: the former may be protected, the
    latter are only measured. Both are empty unless requested (`ConsequenceConfig.max_kept_later`).
    """

    edit: FactEdit
    subject: Entity
    forward: tuple[Consequence, ...] = ()
    inverse_gained: tuple[Consequence, ...] = ()
    inverse_lost: tuple[Consequence, ...] = ()
    later_hops: tuple[Consequence, ...] = ()
    kept_own: tuple[KeptFact, ...] = ()
    kept_neighbours: tuple[KeptFact, ...] = ()
    written_later: tuple[Consequence, ...] = ()
    kept_later: tuple[KeptFact, ...] = ()
    probed_kept_later: tuple[KeptFact, ...] = ()
    outdated: tuple[Triple, ...] = ()
    implied: tuple[Triple, ...] = ()
    undecided: tuple[Triple, ...] = ()

    @property
    def changed(self) -> tuple[Consequence, ...]:
        """Everything that changes: forward, inverse and later hops."""
        return (*self.forward, *self.inverse_gained, *self.inverse_lost, *self.later_hops)

    @property
    def protected_neighbours(self) -> tuple[KeptFact, ...]:
        """The neighbours a solve may protect: every second one. The others are only measured."""
        return self.kept_neighbours[0::2]

    @property
    def probed_neighbours(self) -> tuple[KeptFact, ...]:
        """The neighbours that probes ask about; none is protected."""
        return self.kept_neighbours[1::2]

    @property
    def probed_later(self) -> tuple[Consequence, ...]:
        """The later hops from starting points that a deep write never uses."""
        starts = {item.subject.id for item in self.written_later}
        return tuple(item for item in self.later_hops if item.subject.id not in starts)

    @property
    def kept(self) -> tuple[KeptFact, ...]:
        """Everything that must stay."""
        return (*self.kept_own, *self.kept_neighbours)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        data: dict[str, Any] = {"edit": self.edit.to_json(), "subject": entity_to_json(self.subject)}
        for name in _CHANGED:
            data[name] = [item.to_json() for item in getattr(self, name)]
        for name in _KEPT:
            data[name] = [item.to_json() for item in getattr(self, name)]
        for name in _TRIPLES:
            data[name] = [triple_to_json(triple) for triple in getattr(self, name)]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EditConsequences:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if it is not what `to_json` wrote.
        """
        unknown = sorted(set(data) - {field.name for field in fields(cls)})
        if unknown:
            raise BrokenArtifactError(f"Consequences have no field {unknown[0]!r}. Find the consequences again.")
        parts: dict[str, Any] = {"subject": entity_from_json(take(data, "subject", dict))}
        for name in _CHANGED:
            parts[name] = tuple(Consequence.from_json(row) for row in take(data, name, list))
        for name in _KEPT:
            parts[name] = tuple(KeptFact.from_json(row) for row in take(data, name, list))
        for name in _TRIPLES:
            parts[name] = triples_from_json(take(data, name, list))
        return cls(edit=FactEdit.from_json(take(data, "edit", dict)), **parts)


_CHANGED = ("forward", "inverse_gained", "inverse_lost", "later_hops", "written_later")
_KEPT = ("kept_own", "kept_neighbours", "kept_later", "probed_kept_later")
_TRIPLES = ("outdated", "implied", "undecided")


def _optional(data: Mapping[str, Any], key: str) -> Entity | None:
    row = take(data, key, (dict, type(None)))
    return None if row is None else entity_from_json(row)
