"""`told_sentences`: what the rows that write nothing put before every prompt."""

from __future__ import annotations

from kgmet.editing.context import EditContext
from kgmet.editing.editors import Editor
from kgmet.graph.relations import RelationCatalogue
from kgmet.measure.told import MOST_TOLD, fact_sentence, graph_sentences

__all__ = ["sentences_of", "told_sentences"]


def told_sentences(context: EditContext, catalogue: RelationCatalogue, *, most: int = MOST_TOLD) -> tuple[str, ...]:
    """Return the fact as a sentence, then a sentence for each triple behind the edit's consequences."""
    graph = graph_sentences(context.edit, context.consequences, catalogue)
    return (fact_sentence(context.edit), *graph[:most])


def sentences_of(editor: Editor, context: EditContext, catalogue: RelationCatalogue) -> tuple[str, ...]:
    """Return the sentences of an in-context row: the fact, and with the graph what the graph retrieves."""
    return told_sentences(context, catalogue, most=MOST_TOLD if editor.uses_graph else 0)
