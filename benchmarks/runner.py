"""`Runner`: many editors and settings on the same cases; equal searches are shared."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from edit_set import Case, context_of

from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.editing.editors import Editor
from kgmet.editing.plan import EditPlan, SearchedEdits, plan_edits, search_edits, write_edits
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.directions.config import SourceKind
from kgmet.write.patch import EditPatch
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

__all__ = ["Runner", "joined", "searched_apart"]

_CHUNK = 8
"""Edits whose shifts are searched at once."""


class Runner:
    """Runner that shares equal searches between editors, so that their differences come from the write."""

    def __init__(
        self, lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, *, cases: Sequence[Case]
    ) -> None:
        self._lm, self._store, self._catalogue, self._cases = lm, store, catalogue, cases
        self._statistics = KeyStatistics(lm)
        self._contexts: dict[object, list[EditContext]] = {}
        self._searched: dict[object, tuple[list[SearchedEdits], float]] = {}
        self.seconds: dict[str, float] = {}

    def one_at_a_time(self, editor: Editor) -> list[EditPlan]:
        """Make every edit on its own."""
        searched, seconds = self._search(editor)
        start = time.perf_counter()
        plans = [write_edits(self._lm, one, editor=editor, statistics=self._statistics) for one in searched]
        self.seconds[editor.name] = (seconds + time.perf_counter() - start) / len(plans)
        return plans

    def all_at_once(self, editor: Editor, n: int) -> EditPlan:
        """Make the first `n` edits in one write; no tested neighbour of any of them is protected."""
        together = joined(self._search(editor)[0][:n], self._cases)
        return write_edits(self._lm, together, editor=editor, statistics=self._statistics)

    def in_sequence(self, editor: Editor, n: int, *, batch: int) -> list[EditPatch]:
        """Make the first `n` edits, `batch` per write, each write with the earlier ones attached."""
        contexts = _unreserved(self._contexts_for(editor.config)[:n], self._cases)
        so_far = EditsSoFar()
        for begin in range(0, len(contexts), batch):
            plan = plan_edits(
                self._lm,
                contexts[begin : begin + batch],
                editor=editor,
                statistics=self._statistics,
                earlier=so_far,
            )
            so_far = plan.so_far
        return list(so_far.patches)

    def _search(self, editor: Editor) -> tuple[list[SearchedEdits], float]:
        key = _search_key(editor)
        if key not in self._searched:
            contexts, start = self._contexts_for(editor.config), time.perf_counter()
            found = searched_apart(self._lm, contexts, editor)
            self._searched[key] = found, time.perf_counter() - start
        found, seconds = self._searched[key]
        # A shared search carries the settings of its first editor; the write must use this editor's.
        return [replace(one, config=editor.config) for one in found], seconds

    def _contexts_for(self, config: EditConfig) -> list[EditContext]:
        key = _context_key(config)
        if key not in self._contexts:
            self._contexts[key] = [context_of(case, self._store, self._catalogue, config) for case in self._cases]
        return self._contexts[key]


def searched_apart(lm: LoadedLM, contexts: Sequence[EditContext], editor: Editor) -> list[SearchedEdits]:
    """Search the edits, some at a time, and return each on its own."""
    found: list[SearchedEdits] = []
    for begin in range(0, len(contexts), _CHUNK):
        found += search_edits(lm, contexts[begin : begin + _CHUNK], editor=editor).apart()
    return found


def joined(searched: Sequence[SearchedEdits], cases: Sequence[Case]) -> SearchedEdits:
    """Return the edits for one write; no neighbour that is tested in any of the cases is protected."""
    return replace(
        searched[0],
        contexts=_unreserved([one.contexts[0] for one in searched], cases),
        problems=tuple(problem for one in searched for problem in one.problems),
        shifts=tuple(shift for one in searched for shift in one.shifts),
    )


def _unreserved(contexts: Sequence[EditContext], cases: Sequence[Case]) -> tuple[EditContext, ...]:
    tested = frozenset().union(*(case.reserved for case in cases))
    return tuple(replace(context, left=context.left | tested) for context in contexts)


def _context_key(config: EditConfig) -> object:
    return config.subgraph, config.consequences, config.hold.shuffled or config.direction.source.is_shuffled


def _search_key(editor: Editor) -> object:
    config = editor.config
    # Protected neighbours affect the write only.
    hold = replace(config.hold, neighbours=0)
    fine_tunes = not editor.writer.searches
    return (
        fine_tunes,
        _context_key(config),
        hold,
        config.direction,
        config.target,
        config.write.layers if config.direction.source is SourceKind.REACHABLE else config.write.shift_layer,
        config.seed,
    )
