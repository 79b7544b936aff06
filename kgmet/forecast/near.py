"""`near_index`: the known facts that an edit is most likely to move: of its relation, its entities and what follows.

An index spread over all relations holds few facts of any one, and an edit moves facts of its own relation most. So half
of this index is of the edit's relation; the rest is about its entities, of the relations of its consequences, and of
everything else. Each part is kept on disk by itself: another edit of the same relation finds it there.
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
"""Known facts of an index near an edit: under a minute on one CPU thread for the default model, once."""
_SECONDS_PER_FACT = 0.36
"""On one CPU thread, for the default model: asking the two or three facts of which one is known, and measuring it."""
_DEFAULT_PARAMETERS = 134_515_008

Linked = tuple[FactEdit, EditConsequences | None]
"""An edit with its graph ids and what the graph says follows from it."""


@dataclass(frozen=True, kw_only=True)
class ScopeShare:
    """Most facts that an index takes of one scope."""

    scope: FactScope
    limit: int


def scopes_near(edits: Sequence[Linked], n_fact: int) -> tuple[ScopeShare, ...]:
    """Return where `n_fact` facts near these edits come from; the last share, of everything, may fill what is left.

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
    """Up to `limit` facts that the model knows, those near the edits first, read from the cache as far as there.

    Args:
        lm: the model, with nothing attached.
        store: the graph.
        catalogue: the words facts are asked in.
        layers: decoder layers that are written.
        edits: the edits as the graph links them.
        limit: most facts.
        progress: receives every round and can cancel; finished rounds are kept for the next time.

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
    """The facts so far and those of one more share; for each that is there already the scope gives another."""
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
    """How many facts of such an index need not be measured again: known without a model's forward pass."""
    per_fact, found = pairs_that_fit(lm, limit), set[str]()
    for share in scopes_near(edits, limit):
        folder = index_folder(lm, store, catalogue, layers, per_fact=per_fact, scope=share.scope)
        new = [fact for fact in dict.fromkeys(facts_on_disk(folder)) if fact not in found]
        found |= set(new[: min(share.limit, limit - len(found))])
    return len(found)


def index_seconds(lm: LoadedLM, n_fact: int) -> float:
    """Roughly how long so many facts take to ask and measure on one CPU thread; a GPU needs far less."""
    return n_fact * _SECONDS_PER_FACT * lm.n_parameter / _DEFAULT_PARAMETERS


class _Rising:
    """Progress of one part after the other as progress of the whole, which never falls."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._highest = progress, total, 0
        self.begin = 0
        """How many facts there were before this part."""

    def report(self, event: ProgressEvent) -> None:
        """Pass the event on, counted from where this part began; a part's own end is not the end."""
        if event.done == event.total:
            return
        self._highest = max(self._highest, min(self.begin + event.done, self._total))
        self._progress.report(replace(event, done=self._highest, total=self._total))

    def check(self) -> None:
        """Stop if the person asked to."""
        self._progress.check()
