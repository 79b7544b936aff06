"""`EditContext`: an edit with everything the graph says about it, and the search problem built from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kgmet.base.fingerprint import digest
from kgmet.editing.config import EditConfig
from kgmet.fact import FactEdit
from kgmet.forecast.facts import N_PROBE_WORDINGS
from kgmet.graph.phrasing import as_typed, in_slot, split_templates
from kgmet.graph.reading.consequences import Consequence, EditConsequences, KeptFact, find_consequences
from kgmet.graph.reading.probe_prompts import paraphrases
from kgmet.graph.reading.retrieve import Subgraph, Switch, retrieve_subgraph
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity
from kgmet.graph.wording.linking import LinkedEdit, link_edit
from kgmet.lm.run.contexts import NEUTRAL_PREFIXES
from kgmet.search.problem import SearchPrompt, ShiftProblem, Term

__all__ = [
    "N_PROBE_WORDINGS",
    *("EditContext", "build_problem", "held_consequences", "held_facts", "held_paraphrases"),
    *("prepare_edit", "protected_facts"),
]


@dataclass(frozen=True, kw_only=True)
class EditContext:
    """An edit with its subgraph and consequences, before anything is computed.

    `linked`, `subgraph` and `consequences` are ``None`` without a graph. Where the graph does not know the subject,
    consequences of the new object and the relation still take part. `excluded` are the triples and relations the user
    switched off; `left` are the ids of consequences and kept facts the user left out. `unrelated_names` are names of
    other entities for the shuffled-facts control, one per node of `subgraph` and of `subgraph_before` (see
    `unrelated_labels`).
    """

    edit: FactEdit
    linked: LinkedEdit | None = None
    subgraph: Subgraph | None = None
    subgraph_before: Subgraph | None = None
    consequences: EditConsequences | None = None
    excluded: tuple[Switch, ...] = ()
    left: frozenset[str] = frozenset()
    paraphrases: tuple[str, ...] = ()
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
    consequences = find_consequences(store, catalogue, edit, config=config.consequences, exclude=exclude)
    after = retrieve_subgraph(store, edit, config=config.subgraph, exclude=exclude, consequences=consequences)
    before = retrieve_subgraph(store, edit, config=config.subgraph, exclude=exclude, state="before")
    return EditContext(
        edit=edit,
        linked=linked,
        subgraph=after,
        subgraph_before=before,
        consequences=consequences,
        excluded=tuple(exclude),
        left=frozenset(leave),
        paraphrases=paraphrases(catalogue, edit),
        unrelated_names=_unrelated_names(store, after, before) if _wants_unrelated_names(config) else (),
    )


def held_consequences(context: EditContext, config: EditConfig) -> tuple[Consequence, ...]:
    """Return the consequences that the search optimises, most important first."""
    if context.consequences is None or not config.hold.consequences:
        return ()
    usable = [
        item
        for item in context.consequences.forward
        if item.id not in context.left and item.new is not None and _for_search(item.templates)
    ]
    return tuple(usable[: config.hold.consequences])


def held_paraphrases(context: EditContext, config: EditConfig) -> tuple[str, ...]:
    """Return the paraphrases of the edit that the search optimises."""
    return _for_search(context.paraphrases)[: config.hold.paraphrases]


def held_facts(context: EditContext, config: EditConfig) -> tuple[KeptFact, ...]:
    """Return the subject's facts that the search preserves."""
    if context.consequences is None or not config.hold.kept:
        return ()
    usable = [item for item in context.consequences.kept_own if item.id not in context.left and item.templates]
    return tuple(usable[: config.hold.kept])


def protected_facts(context: EditContext, config: EditConfig) -> tuple[KeptFact, ...]:
    """Return the neighbours whose keys the solve protects."""
    if context.consequences is None or not config.hold.neighbours:
        return ()
    usable = [item for item in context.consequences.protected_neighbours if item.id not in context.left]
    return tuple(usable[: config.hold.neighbours])


def build_problem(context: EditContext, config: EditConfig) -> ShiftProblem:
    """Build the prompts of the search; the bare rewriting prompt comes first."""
    edit = context.edit
    prompts = [
        SearchPrompt(term=Term.REWRITE, template=edit.template, answer=edit.new_object, prefix=prefix)
        for prefix in NEUTRAL_PREFIXES[: config.hold.contexts]
    ]
    for template in held_paraphrases(context, config):
        prompts.append(_search_prompt(Term.REWRITE, context, template, edit.new_object))
    for number, item in enumerate(held_consequences(context, config)):
        assert item.new is not None
        names = context.unrelated_names
        answer = names[number % len(names)] if config.hold.shuffled else item.new.label
        for template in _for_search(item.templates)[: config.hold.wordings]:
            prompts.append(_search_prompt(Term.CONSEQUENCE, context, template, answer))
    for fact in held_facts(context, config):
        prompts.append(_search_prompt(Term.KEPT, context, fact.templates[0], None))
    prompts.append(SearchPrompt(term=Term.ANCHOR, template="{} is a"))
    return ShiftProblem(edit=edit, prompts=tuple(prompts))


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


def _search_prompt(term: Term, context: EditContext, template: str, answer: str | None) -> SearchPrompt:
    subject = in_slot(template, context.subject)
    return SearchPrompt(term=term, template=template, answer=answer, subject=subject)


def _for_search(templates: tuple[str, ...]) -> tuple[str, ...]:
    return split_templates(templates, N_PROBE_WORDINGS)[0]
