"""`with_multi_hop`: add questions over several facts, asked in chat, to a case."""

from __future__ import annotations

from dataclasses import replace

from kgmet.editing.config import EditConfig
from kgmet.evaluate.datasets.cases import Ask, AskKind, EvalCase
from kgmet.evaluate.runs.graphs import GraphSource, case_contexts
from kgmet.graph.reading.probe_prompts import first_questions
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore

__all__ = ["with_multi_hop"]


def with_multi_hop(case: EvalCase, *, store: TripleStore | None, catalogue: RelationCatalogue, most: int) -> EvalCase:
    """Add at most `most` questions to a case, asked in chat.

    MQuAKE's cases have their own questions. For others they come from the edit's consequences in `store`. No search
    uses them, so editors without a graph are asked them too.
    """
    if not most:
        return case
    own = [replace(ask, kind=AskKind.MULTI_HOP_CHAT) for ask in case.of(AskKind.MULTI_HOP)]
    asks = own or _from_graph(case, store, catalogue)
    return replace(case, asks=(*case.asks, *asks[:most]))


def _from_graph(case: EvalCase, store: TripleStore | None, catalogue: RelationCatalogue) -> list[Ask]:
    """Return the first question of each consequence of at least two facts."""
    if len(case.edits) != 1:
        return []
    (context,) = case_contexts(case, store=store, catalogue=catalogue, config=EditConfig(), source=GraphSource.AUTO)
    found = [] if context.consequences is None else first_questions(context.consequences)
    return [
        Ask(
            kind=AskKind.MULTI_HOP_CHAT,
            prompt=prompt.text,
            expected=prompt.expected,
            rejected=prompt.rejected,
            aliases=prompt.aliases,
            rejected_aliases=prompt.rejected_aliases,
            is_question=True,
        )
        for _, prompt in found
        if prompt.hops > 1
    ]
