"""Values for what an edit entails: `Consequence`, `KeptFact`, `EditConsequences`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kgmet.base.values import value_from
from kgmet.fact import FactEdit
from kgmet.graph.codec import graph_json
from kgmet.graph.phrasing import fill
from kgmet.graph.triple import Entity, Triple

__all__ = ["Consequence", "ConsequenceKind", "EditConsequences", "KeptFact", "KeptKind"]

ConsequenceKind = Literal["forward", "inverse_gained", "inverse_lost", "later_hop"]
"""Kind of consequence: the edited fact comes first in its chain, is inverted, or comes later."""
KeptKind = Literal["own", "neighbour"]
"""Kind of kept fact: of the edit's subject, or of another subject of the same relation."""
_ADVICE = "Find the consequences again."


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
        return dict(graph_json(self))

    @classmethod
    def from_json(cls, data: Any) -> Consequence:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if it is not a consequence.
        """
        return value_from(cls, data, "This is not a saved consequence", advice=_ADVICE)


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
        return dict(graph_json(self))

    @classmethod
    def from_json(cls, data: Any) -> KeptFact:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if it is not a kept fact.
        """
        return value_from(cls, data, "This is not a saved fact", advice=_ADVICE)


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
        return dict(graph_json(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EditConsequences:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if it is not what `to_json` wrote.
        """
        return value_from(cls, data, "These are no saved consequences", advice=_ADVICE, only_known=True)
