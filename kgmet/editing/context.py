"""`EditContext`: an edit with everything the graph says about it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from kgmet.base.fingerprint import digest
from kgmet.editing.config import EditConfig
from kgmet.fact import FactEdit
from kgmet.graph.phrasing import as_typed
from kgmet.graph.reading.consequences import ConsequenceConfig, EditConsequences, find_consequences
from kgmet.graph.reading.probe_prompts import paraphrases, questions_for_search
from kgmet.graph.reading.resolved_edit import EditEnds, find_ends
from kgmet.graph.reading.retrieve import Subgraph, SubgraphConfig, Switch, retrieve_subgraph
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity
from kgmet.graph.wording.linking import LinkedEdit, link_edit

__all__ = ["EditContext", "prepare_edit", "prepared_from", "with_consequences"]


@dataclass(frozen=True, kw_only=True)
class EditContext:
    """An edit with its subgraph and consequences, before anything is computed.

    `linked`, `ends`, `subgraph` and `consequences` are ``None`` without a graph; `ends` are the edit's nodes and edge.
    Where the graph does not know the subject, consequences of the new object and the relation still take part.
    `excluded` are the triples and relations the user switched off; `left` are the ids of consequences and kept facts
    the user left out. `unrelated_names` are names of other entities for the shuffled-facts control, one per node of
    `subgraph` and of `subgraph_before` (see `unrelated_labels`).
    """

    edit: FactEdit
    linked: LinkedEdit | None = None
    ends: EditEnds | None = None
    subgraph: Subgraph | None = None
    subgraph_before: Subgraph | None = None
    consequences: EditConsequences | None = None
    excluded: tuple[Switch, ...] = ()
    left: frozenset[str] = frozenset()
    paraphrases: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    unrelated_names: tuple[str, ...] = ()

    @property
    def has_graph(self) -> bool:
        """Whether the graph knows the subject or the new object, and can take part."""
        is_known = self.edit.subject_id is not None or self.edit.new_object_id is not None
        return is_known and self.subgraph is not None

    @property
    def knows_subject(self) -> bool:
        """Whether the graph knows the subject."""
        return self.edit.subject_id is not None and self.subgraph is not None

    def unrelated_labels(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return an unrelated name for each node of `subgraph` and `subgraph_before`; one name per entity."""
        after = () if self.subgraph is None else self.subgraph.entities
        before = () if self.subgraph_before is None else self.subgraph_before.entities
        order = list(dict.fromkeys((*after, *before)))
        # A small graph may not have enough unrelated names; then some are used twice.
        names = self.unrelated_names or ("thing",)
        name = {entity: names[n % len(names)] for n, entity in enumerate(order)}
        return tuple(name[entity] for entity in after), tuple(name[entity] for entity in before)

    @property
    def subject(self) -> Entity:
        """The subject under the name the user typed."""
        if self.consequences is not None:
            return self.consequences.subject
        return as_typed(self.edit.subject, Entity(id="typed:subject", label=self.edit.subject))


def prepare_edit(
    edit: FactEdit,
    *,
    store: TripleStore | None,
    catalogue: RelationCatalogue,
    config: EditConfig,
    exclude: Collection[Switch] = (),
    leave: Collection[str] = (),
) -> EditContext:
    """Link the edit to the graph, retrieve its subgraph and find its consequences.

    Without a store, or if the store knows nothing of the edit, the context says so and the edit still works.
    """
    if store is None:
        return EditContext(edit=edit, left=frozenset(leave))
    linked = link_edit(store, edit, catalogue)
    edit = linked.edit
    ends = find_ends(store, edit, catalogue)
    consequences = find_consequences(store, catalogue, edit, config=config.consequences, exclude=exclude, ends=ends)
    around = partial(retrieve_subgraph, store, edit, config=config.subgraph, exclude=exclude, ends=ends)
    after, before = around(consequences=consequences), around(state="before")
    return EditContext(
        edit=edit,
        linked=linked,
        ends=ends,
        subgraph=after,
        subgraph_before=before,
        consequences=consequences,
        excluded=tuple(exclude),
        left=frozenset(leave),
        paraphrases=paraphrases(catalogue, edit),
        questions=questions_for_search(catalogue, edit),
        unrelated_names=_unrelated_names(store, after, before) if _wants_unrelated_names(config) else (),
    )


def prepared_from(config: EditConfig) -> tuple[SubgraphConfig, ConsequenceConfig, bool]:
    """Return what a preparation depends on: settings with equal ones share their contexts."""
    return config.subgraph, config.consequences, _wants_unrelated_names(config)


def with_consequences(
    contexts: Sequence[EditContext],
) -> list[tuple[FactEdit, EditConsequences | None, Collection[str]]]:
    """Return each edit with what follows and what the user left out, as `kgmet.forecast.leave_out` takes them."""
    return [(context.edit, context.consequences, context.left) for context in contexts]


def _wants_unrelated_names(config: EditConfig) -> bool:
    return config.direction.source.is_shuffled or config.hold.shuffled


def _unrelated_names(store: TripleStore, after: Subgraph, before: Subgraph) -> tuple[str, ...]:
    """Return one name of an unrelated entity per node; the same names for the same subgraph."""
    own = {entity.id for entity in (*after.entities, *before.entities)}
    names: dict[str, str] = {}
    for relation in store.relations():
        for triple in store.with_relation(relation.id, limit=20):
            if triple.subject.id not in own:
                names[triple.subject.id] = triple.subject.label
    order = sorted(names, key=lambda entity_id: digest("stranger", after.entities[after.anchor].id, entity_id))
    return tuple(names[entity_id] for entity_id in order[: len(own)])
