"""Prompts that the search uses and keys that the write protects, chosen from an edit's context; the search problem."""

from __future__ import annotations

from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.graph.phrasing import N_PROBE_WORDINGS, in_slot, split_templates
from kgmet.graph.reading.consequences import Consequence, KeptFact
from kgmet.lm.run.contexts import NEUTRAL_PREFIXES
from kgmet.search.problem import SearchPrompt, ShiftProblem, Term

__all__ = ["build_problem", "held_consequences", "held_facts", "held_paraphrases", "protected_facts"]


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
    """Return the neighbours whose keys the solve protects; neighbour-assisted editing is also arXiv:2503.11895."""
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


def _search_prompt(term: Term, context: EditContext, template: str, answer: str | None) -> SearchPrompt:
    subject = in_slot(template, context.subject)
    return SearchPrompt(term=term, template=template, answer=answer, subject=subject)


def _for_search(templates: tuple[str, ...]) -> tuple[str, ...]:
    return split_templates(templates, N_PROBE_WORDINGS)[0]
