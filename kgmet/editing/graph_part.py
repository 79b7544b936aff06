"""`GraphPart`: what the graph contributes to one edit, so that a missing contribution is visible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kgmet.base.values import value_from
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.editing.problem import held_consequences, held_facts, held_paraphrases, protected_facts
from kgmet.graph.wording.choose_relation import Origin

__all__ = ["GraphPart", "graph_part"]


@dataclass(frozen=True, kw_only=True)
class GraphPart:
    """The graph's contribution to one edit.

    `relation` is the id in use, `label` its name and `asked` the edit's own name for it, if any. `score` is 1 for a
    given relation, the guess's score for a guessed one, 0 for an unknown one. `consequences`, `kept`, `neighbours` and
    `paraphrases` count what the search and the write use; `triples` counts what the direction is encoded from.
    `is_wanted` is false for an editor that uses no graph.
    """

    relation: str | None
    label: str
    asked: str | None
    origin: Origin
    score: float
    is_subject_found: bool
    is_new_object_found: bool
    consequences: int
    kept: int
    neighbours: int
    paraphrases: int
    triples: int
    is_wanted: bool

    @property
    def took_part(self) -> bool:
        """Whether the search optimises a consequence or the write protects a neighbour.

        Paraphrases come from the catalogue, and a subgraph alone states no consequence.
        """
        return self.consequences + self.neighbours > 0

    def __str__(self) -> str:
        """Return one line: ``relation 'country' (guessed, 0.81); subject not found, new object found; …``."""
        how = {"given": "given", "guessed": f"guessed, {self.score:.2f}", "unknown": "unknown"}[self.origin]
        found = ("not found", "found")
        return (
            f"relation {self.label!r} ({how}); subject {found[self.is_subject_found]}, "
            f"new object {found[self.is_new_object_found]}; {self.consequences} consequences held, "
            f"{self.kept} facts kept, {self.neighbours} neighbours protected, {self.paraphrases} paraphrases used"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, `took_part` among them."""
        return {**asdict(self), "took_part": self.took_part}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GraphPart:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if the mapping is not a graph part of this version.
        """
        return value_from(cls, data, "This is not the graph part of an edit", advice="Make the edit again.")


def graph_part(context: EditContext, config: EditConfig) -> GraphPart | None:
    """Count what an edit uses of the graph under `config`; ``None`` without a graph."""
    linked = context.linked
    if linked is None or context.subgraph is None:
        return None
    choice = linked.relation
    return GraphPart(
        relation=choice.id,
        label=choice.spec.label if choice.spec else choice.id or "none",
        asked=choice.asked,
        origin=choice.origin,
        score=choice.score,
        is_subject_found=linked.edit.subject_id is not None,
        is_new_object_found=linked.edit.new_object_id is not None,
        consequences=len(held_consequences(context, config)),
        kept=len(held_facts(context, config)),
        neighbours=len(protected_facts(context, config)),
        paraphrases=len(held_paraphrases(context, config)),
        triples=len(context.subgraph.triples),
        is_wanted=bool(config.hold.consequences or config.hold.neighbours),
    )
