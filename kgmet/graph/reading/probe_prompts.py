"""`generate_probes`: a complete probe set for any edit, generated from its consequences.

Prompts to continue and questions to answer, modelled on CounterFact (Meng et al. 2022, arXiv:2202.05262) and MQuAKE
(Zhong et al. 2023, arXiv:2305.14795). No template that `split_templates` gives to the search is used here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from kgmet.base.ranges import check_numbers
from kgmet.base.text import caseless
from kgmet.base.values import value_from
from kgmet.fact import FactEdit
from kgmet.graph.codec import graph_json
from kgmet.graph.consequence import Consequence, EditConsequences, KeptFact
from kgmet.graph.phrasing import N_PROBE_QUESTIONS, N_PROBE_WORDINGS, in_slot, says, split_templates
from kgmet.graph.reading.resolved_edit import EditEnds, find_ends
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity, Triple

__all__ = [
    "PROMPT_KINDS",
    "GeneratedPrompt",
    "PromptKind",
    "QuestionConfig",
    "first_questions",
    "generate_probes",
    "paraphrases",
    "prompts_of",
    "questions_for_search",
    "split_templates",
]

PromptKind = Literal[
    "rewrite", "paraphrase", "consequence", "multi_hop", "later_hop", "inverse", "neighbour", "control"
]
"""Kind of prompt: the edit, a paraphrase, a consequence, a consequence as a question, a later hop, the inverse fact, a
neighbour's fact, another fact of the subject."""
PROMPT_KINDS: tuple[PromptKind, ...] = (
    *("rewrite", "paraphrase", "consequence", "multi_hop"),
    *("later_hop", "inverse", "neighbour", "control"),
)
"""All kinds, in display order."""


@dataclass(frozen=True, kw_only=True)
class QuestionConfig:
    """Number of probes of each kind."""

    n_questions: int = 3
    """Most questions per consequence, at most three, as MQuAKE has; the others are for the search."""
    n_later_hops: int = 12
    """Most probes with an implicit subject."""
    n_neighbours: int = 10
    """Most neighbourhood probes, each of another subject; CounterFact has ten."""
    n_controls: int = 10
    """Most probes of the subject's other facts."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_numbers(self, "questions", *(field.name for field in fields(self)), least=0)


@dataclass(frozen=True, kw_only=True)
class GeneratedPrompt:
    """One prompt with the answer expected after the edit.

    `text` is complete; `template` has ``{}`` in place of `subject`. `form` says whether `text` is continued or
    answered. `aliases` are other right answers and names of the right answer, `rejected_aliases` those of the wrong
    one. `path` is the supporting chain of triples, and `source_id` the consequence or kept fact it was made from.
    """

    kind: PromptKind
    form: Literal["cloze", "question"]
    text: str
    template: str
    subject: str
    expected: str
    rejected: str | None
    aliases: tuple[str, ...] = ()
    rejected_aliases: tuple[str, ...] = ()
    hops: int = 1
    path: tuple[Triple, ...] = ()
    source_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dict(graph_json(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GeneratedPrompt:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if it is not a generated prompt.
        """
        return value_from(cls, data, "This is not a saved probe", advice="Generate the probes again.")


def generate_probes(
    store: TripleStore,
    catalogue: RelationCatalogue,
    edit: FactEdit,
    consequences: EditConsequences,
    *,
    config: QuestionConfig,
    ends: EditEnds | None = None,
) -> tuple[GeneratedPrompt, ...]:
    """Generate probes of all kinds for one edit, sorted by kind, each text once per kind.

    For the edit, every consequence and every kept fact, only the templates that ``split_templates(templates,
    N_PROBE_WORDINGS)`` holds out from the search are used. Only neighbours that no solve protects are used.
    Questions after the first three of a consequence may be part of a search and are not used. `ends` is the edit
    resolved in this store (`find_ends`), if that is known already.
    """
    ends = ends or find_ends(store, edit, catalogue)
    found: list[GeneratedPrompt] = [_rewrite(edit, ends)]
    found += _paraphrased(catalogue, edit, ends, consequences, n=N_PROBE_WORDINGS)
    for item in consequences.forward:
        found += prompts_of("consequence", item, _held(item))
        asked = item.questions[:N_PROBE_QUESTIONS][: config.n_questions]
        found += prompts_of("multi_hop", item, asked, form="question")
    found += _later(consequences.later_hops, config)
    for item in (*consequences.inverse_gained, *consequences.inverse_lost):
        if item.new is not None:
            found += prompts_of("inverse", item, _held(item))
    found += _kept("neighbour", consequences.probed_neighbours[: config.n_neighbours], edit, ends, config)
    found += _kept("control", consequences.kept_own[: config.n_controls], edit, ends, config)
    unique: dict[tuple[str, str], GeneratedPrompt] = {}
    for probe in found:
        unique.setdefault((probe.kind, probe.text), probe)
    order = {kind: place for place, kind in enumerate(PROMPT_KINDS)}
    return tuple(sorted(unique.values(), key=lambda probe: order[probe.kind]))


def paraphrases(catalogue: RelationCatalogue, edit: FactEdit) -> tuple[str, ...]:
    """Return the catalogue's prompts for the edit's relation, each with one ``{}``, without the edit's own."""
    if edit.relation is None or edit.relation not in catalogue:
        return ()
    own = caseless(edit.template)
    return tuple(text for text in catalogue.spec(edit.relation).cloze if caseless(text) != own)


def questions_for_search(catalogue: RelationCatalogue, edit: FactEdit) -> tuple[str, ...]:
    """Return the catalogue's questions for the edit's relation, without the first, which probes ask."""
    if edit.relation is None or edit.relation not in catalogue:
        return ()
    return catalogue.spec(edit.relation).questions[1:]


def _rewrite(edit: FactEdit, ends: EditEnds) -> GeneratedPrompt:
    old = edit.old_object or (ends.old.label if ends.old else None)
    return GeneratedPrompt(
        kind="rewrite",
        form="cloze",
        text=edit.prompt,
        template=edit.template,
        subject=edit.subject,
        expected=edit.new_object,
        rejected=old,
        aliases=_names([ends.new], apart_from=edit.new_object),
        rejected_aliases=_names([ends.old] if ends.old else [], apart_from=old),
        path=(ends.edge,),
        source_id=edit.id,
    )


def _paraphrased(
    catalogue: RelationCatalogue, edit: FactEdit, ends: EditEnds, consequences: EditConsequences, *, n: int
) -> Iterator[GeneratedPrompt]:
    base = _rewrite(edit, ends)
    for template in split_templates(paraphrases(catalogue, edit), n)[1]:
        yield _with(base, "paraphrase", template, consequences.subject)


def first_questions(consequences: EditConsequences) -> list[tuple[Consequence, GeneratedPrompt]]:
    """Return the first question of each forward consequence, for the chat form."""
    return [
        (item, prompt)
        for item in consequences.forward
        for prompt in prompts_of("multi_hop", item, item.questions[:1], form="question")
    ]


def prompts_of(
    kind: PromptKind, item: Consequence, templates: Iterable[str], *, form: Literal["cloze", "question"] = "cloze"
) -> Iterator[GeneratedPrompt]:
    """Yield a consequence's prompts with these templates; none if it has no new answer."""
    if item.new is None:
        return
    right = {entity.id for entity in (item.new, *item.also)}
    wrong = [entity for entity in ([item.old] if item.old else []) + list(item.also_old) if entity.id not in right]
    for template in templates:
        subject = in_slot(template, item.subject)
        yield GeneratedPrompt(
            kind=kind,
            form=form,
            text=template.replace("{}", subject, 1),
            template=template,
            subject=subject,
            expected=item.new.label,
            rejected=wrong[0].label if wrong else None,
            aliases=_names([item.new, *item.also], apart_from=item.new.label),
            rejected_aliases=_names(wrong, apart_from=wrong[0].label if wrong else None),
            hops=item.hops,
            path=item.path_new or item.path_old,
            source_id=item.id,
        )


def _later(items: Sequence[Consequence], config: QuestionConfig) -> list[GeneratedPrompt]:
    # One prompt and one question of each before the second of any: many starting points inform more than many wordings.
    found: list[GeneratedPrompt] = []
    for number in range(N_PROBE_WORDINGS):
        for item in items:
            found += prompts_of("later_hop", item, _held(item)[number : number + 1])
            found += prompts_of("later_hop", item, item.questions[number : number + 1], form="question")
    return found[: config.n_later_hops]


def _kept(
    kind: PromptKind, facts: Sequence[KeptFact], edit: FactEdit, ends: EditEnds, config: QuestionConfig
) -> Iterator[GeneratedPrompt]:
    for number, fact in enumerate(facts):
        held = split_templates(fact.templates, N_PROBE_WORDINGS)[1]
        right = [fact.triple.object, *fact.also]
        if not held or ends.new.id in {entity.id for entity in right}:
            continue
        if says(fact.triple.subject.label, fact.triple.object.label):
            continue
        # One prompt each, alternating, so that a set of ten has ten subjects and several wordings.
        template = held[number % len(held)]
        subject = in_slot(template, fact.triple.subject)
        yield GeneratedPrompt(
            kind=kind,
            form="cloze",
            text=template.replace("{}", subject, 1),
            template=template,
            subject=subject,
            expected=fact.triple.object.label,
            rejected=edit.new_object,
            aliases=_names(right, apart_from=fact.triple.object.label),
            rejected_aliases=_names([ends.new], apart_from=edit.new_object),
            path=(fact.triple,),
            source_id=fact.id,
        )


def _held(item: Consequence) -> tuple[str, ...]:
    return split_templates(item.templates, N_PROBE_WORDINGS)[1]


def _with(base: GeneratedPrompt, kind: PromptKind, template: str, subject: Entity) -> GeneratedPrompt:
    name = in_slot(template, subject)
    parts = {field.name: getattr(base, field.name) for field in fields(base)}
    parts |= {"kind": kind, "template": template, "subject": name, "text": template.replace("{}", name, 1)}
    return GeneratedPrompt(**parts)


def _names(entities: Sequence[Entity], *, apart_from: str | None) -> tuple[str, ...]:
    names = [name for entity in entities for name in (entity.label, entity.in_text, *entity.aliases)]
    return tuple(name for name in dict.fromkeys(names) if name != apart_from)
