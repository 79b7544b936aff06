"""Example edits: rows of `scripts/facts/edits.tsv` → `FactEdit`s with ids, prompts and old objects from the graph."""

from __future__ import annotations

from pathlib import Path

from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from scripts.sample_graph.draft import Draft, Node


def read_edits(draft: Draft, catalogue: RelationCatalogue, path: Path) -> tuple[FactEdit, ...]:
    """Return one edit per line; the old object is the graph's (the first if there are several).

    Raises:
        ValueError: if a line names an entity missing in the graph, or equal old and new objects.
    """
    edits = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        subject_text, relation, template, new_text = line.split("\t")
        subject, new = _find(draft, subject_text), _find(draft, new_text)
        old = draft.objects(subject, relation)
        if not old:
            raise ValueError(f"{path.name}: the graph says nothing about {subject_text} {relation}")
        spec = catalogue.spec(relation)
        if new.type not in spec.object_types:
            raise ValueError(f"{path.name}: {new_text} cannot be the object of {relation} ({spec.object_type})")
        edits.append(
            FactEdit(
                subject=_in_sentence(subject, is_first=spec.cloze[int(template)].startswith("{}")),
                template=spec.cloze[int(template)],
                relation=relation,
                old_object=old[0].label,
                new_object=new.label,
                subject_id=subject.id,
                old_object_id=old[0].id,
                new_object_id=new.id,
            )
        )
    return tuple(edits)


def _in_sentence(node: Node, *, is_first: bool) -> str:
    """Return the label with its article: ``The Eiffel Tower`` at a sentence start, else ``the Eiffel Tower``."""
    return f"{node.article.capitalize() if is_first else node.article} {node.label}".strip()


def _find(draft: Draft, text: str) -> Node:
    kind, _, label = text.partition(":")
    found = [n for n in draft.nodes.values() if n.type == kind and n.label == label]
    if not found:
        raise ValueError(f"the graph has no {kind} {label!r}")
    # Two cities of one name: the one with a verified id, which is the better known.
    return min(found, key=lambda node: (not node.id.startswith("Q"), node.id))
