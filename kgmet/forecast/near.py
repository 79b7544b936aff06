"""`near_index`: the known facts an edit is most likely to change, from its relation, entities and consequences.

An index spread over all relations has few facts of each, and an edit changes facts of its own relation most. So half of
this index is of the edit's relation. The rest is about its entities, of the relations of its consequences, and of
everything else. Each part is cached separately, so another edit of the same relation can reuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.fact import FactEdit
from kgmet.forecast.index import FactIndex, FactScope, build_index, facts_on_disk, index_folder, pairs_that_fit
from kgmet.graph.consequence import EditConsequences
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["NEAR_FACTS", "Linked", "ScopeShare", "index_seconds", "near_facts_on_disk", "near_index", "scopes_near"]

NEAR_FACTS = 120
"""Number of known facts near an edit; takes under a minute on one CPU thread for the default model, once."""
_SECONDS_PER_FACT = 0.18
"""Seconds per known fact on one CPU thread, for the default model: asking about seven facts and measuring one."""
_DEFAULT_PARAMETERS = 134_515_008

Linked = tuple[FactEdit, EditConsequences | None]
"""An edit with its graph ids and its consequences."""


@dataclass(frozen=True, kw_only=True)
class ScopeShare:
    """Largest number of facts of one scope in an index."""

    scope: FactScope
    limit: int


def scopes_near(edits: Sequence[Linked], n_fact: int) -> tuple[ScopeShare, ...]:
    """Return the scopes of `n_fact` facts near these edits; the last one, of everything, may fill the rest.

    Args:
        edits: the edits as the graph links them.
        n_fact: facts wanted.
    """
    own = tuple(sorted({edit.relation for edit, _ in edits if edit.relation}))
    ids = {i for edit, _ in edits for i in (edit.subject_id, edit.new_object_id, edit.old_object_id) if i}
    following = {
        item.path_new[-1].relation.id for _, found in edits if found for item in found.forward if item.path_new
    } - set(own)
    shares = []
    if own:
        shares.append(ScopeShare(scope=FactScope(relations=own), limit=max(1, n_fact // 2)))
    if ids:
        shares.append(ScopeShare(scope=FactScope(subjects=tuple(sorted(ids))), limit=max(1, n_fact // 8)))
    if following:
        scope = FactScope(relations=tuple(sorted(following)))
        shares.append(ScopeShare(scope=scope, limit=max(1, n_fact // 5)))
    return (*shares, ScopeShare(scope=FactScope(per_round=2), limit=n_fact))


def near_index(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    layers: Sequence[int],
    *,
    edits: Sequence[Linked],
    limit: int = NEAR_FACTS,
    progress: Progress | None = None,
) -> FactIndex:
    """Build an index of up to `limit` known facts, those near the edits first, using cached parts.

    Args:
        lm: the model, with nothing attached.
        store: the graph.
        catalogue: wordings of relations.
        layers: the written decoder layers.
        edits: the edits as the graph links them.
        limit: most facts.
        progress: receives every round and can cancel; finished rounds are kept for the next call.

    Raises:
        ConfigError: if a layer is out of range.
        Cancelled: if asked to stop.
    """
    progress, per_fact = progress or Silent(), pairs_that_fit(lm, limit)
    rising = _Rising(progress, limit)

    def build(scope: FactScope, most: int) -> FactIndex:
        return build_index(lm, store, catalogue, layers, limit=most, per_fact=per_fact, scope=scope, progress=rising)

    found: FactIndex | None = None
    for share in scopes_near(edits, limit):
        rising.begin = 0 if found is None else len(found)
        if rising.begin < limit:
            found = _with_share(found, share, limit, build)
    assert found is not None
    progress.report(ProgressEvent(stage=Stage.FACT_INDEX, done=limit, total=limit))
    return found


def _with_share(
    found: FactIndex | None, share: ScopeShare, limit: int, build: Callable[[FactScope, int], FactIndex]
) -> FactIndex:
    """Add the facts of one more share; facts already present are replaced by others of the scope."""
    have = 0 if found is None else len(found)
    wanted = min(have + share.limit, limit)
    most = wanted - have
    while True:
        part = build(share.scope, most)
        joined = part if found is None else found.extended(part)
        missing = wanted - len(joined)
        if missing <= 0 or len(part) < most:
            return joined
        most += missing


def near_facts_on_disk(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    layers: Sequence[int],
    *,
    edits: Sequence[Linked],
    limit: int = NEAR_FACTS,
) -> int:
    """Return how many facts of such an index are already on disk, without a forward pass."""
    per_fact, found = pairs_that_fit(lm, limit), set[str]()
    for share in scopes_near(edits, limit):
        folder = index_folder(lm, store, catalogue, layers, per_fact=per_fact, scope=share.scope)
        new = [fact for fact in dict.fromkeys(facts_on_disk(folder)) if fact not in found]
        found |= set(new[: min(share.limit, limit - len(found))])
    return len(found)


def index_seconds(lm: LoadedLM, n_fact: int) -> float:
    """Estimate the seconds to ask and measure so many facts on one CPU thread; a GPU is much faster."""
    return n_fact * _SECONDS_PER_FACT * lm.n_parameter / _DEFAULT_PARAMETERS


class _Rising:
    """Progress of the whole from the progress of successive parts; it never decreases."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._highest = progress, total, 0
        self.begin = 0
        """Set the number of facts before this part."""

    def report(self, event: ProgressEvent) -> None:
        """Pass the event on, counted from the start of this part."""
        if event.done == event.total:
            return
        self._highest = max(self._highest, min(self.begin + event.done, self._total))
        self._progress.report(replace(event, done=self._highest, total=self._total))

    def check(self) -> None:
        """Raise `Cancelled` if the user asked to stop."""
        self._progress.check()
