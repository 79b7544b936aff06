"""Prompts that the search uses and keys that the write protects, chosen from an edit's context; the search problem."""

from __future__ import annotations

from collections.abc import Callable

from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.graph.phrasing import N_PROBE_QUESTIONS, N_PROBE_WORDINGS, in_slot, split_templates
from kgmet.graph.reading.consequences import Consequence, KeptFact
from kgmet.lm.run.contexts import NEUTRAL_PREFIXES
from kgmet.lm.run.encoding import ChatText
from kgmet.lm.say.score import question_and_answer
from kgmet.search.problem import SearchPrompt, ShiftProblem, Term

__all__ = [
    *("build_problem", "held_consequences", "held_facts", "held_paraphrases", "held_questions", "held_uses"),
    "protected_facts",
]

_COMPLETE = "Complete this sentence: "


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


def build_problem(
    context: EditContext, config: EditConfig, *, chat: Callable[[str], str] = question_and_answer
) -> ShiftProblem:
    """Build the prompts of the search; the bare rewriting prompt comes first.

    Args:
        context: the edit and its graph context.
        config: numbers of prompts.
        chat: puts a question with one ``{}`` into the form in which the model is asked (`kgmet.lm.say.score`).
    """
    edit = context.edit
    prompts = [
        SearchPrompt(term=Term.REWRITE, template=edit.template, answer=edit.new_object, prefix=prefix)
        for prefix in NEUTRAL_PREFIXES[: config.hold.contexts]
    ]
    for template in held_paraphrases(context, config):
        prompts.append(_search_prompt(Term.REWRITE, context, template, edit.new_object))
    for number, item in enumerate(held_consequences(context, config)):
        answer = _answer(context, config, number, item)
        for template in _for_search(item.templates)[: config.hold.wordings]:
            prompts.append(_search_prompt(Term.CONSEQUENCE, context, template, answer))
    for template in context.questions[: config.hold.own_questions]:
        prompts.append(_search_prompt(Term.REWRITE, context, chat(template), edit.new_object))
    prompts += _asked(context, config, chat)
    prompts += [
        _search_prompt(Term.CONSEQUENCE, context, template, answer) for template, answer in held_uses(context, config)
    ]
    for fact in held_facts(context, config):
        prompts.append(_search_prompt(Term.KEPT, context, fact.templates[0], None))
    prompts.append(SearchPrompt(term=Term.ANCHOR, template="{} is a"))
    return ShiftProblem(edit=edit, prompts=tuple(prompts))


def held_questions(context: EditContext, config: EditConfig) -> tuple[tuple[Consequence, str], ...]:
    """Return the consequences that the search asks in the model's chat form, each with one message.

    A consequence whose questions are all kept for probing is put as a sentence to complete.
    """
    if context.consequences is None:
        return ()
    usable = []
    for item in context.consequences.forward:
        told = _for_search(item.templates)[:1]
        messages = (*item.questions[N_PROBE_QUESTIONS:], *(_COMPLETE + template for template in told))
        if item.id not in context.left and item.new is not None and messages:
            usable.append((item, messages[0]))
    return tuple(usable[: config.hold.questions])


def held_uses(context: EditContext, config: EditConfig) -> tuple[tuple[str, str], ...]:
    """Return prompts that use the edited fact, each with its answer: a page in an index, then one of three by colour.

    The two families of CaKE (arXiv:2503.16356), made from the graph's names.
    """
    spec = None if context.linked is None else context.linked.relation.spec
    consequences, edit = context.consequences, context.edit
    if spec is None or consequences is None or not config.hold.uses:
        return ()
    names = [fact.triple.subject.in_text for fact in consequences.protected_neighbours if fact.id not in context.left]
    if config.hold.shuffled:
        names = list(context.unrelated_names)
    old = edit.old_object or (names[0] if names else "The sea")
    noun = spec.phrase[:1].upper() + spec.phrase[1:]
    found = [(f"{edit.new_object} is on page 6 and {old} is on page 72. {noun} is on page", "6")]
    if len(names) > 1:
        first, second = (name[:1].upper() + name[1:] for name in names[:2])
        rest = edit.template.replace("{}", "the green one")
        told = f"{first} is red, {second} is blue and {{}} is green. {rest[:1].upper()}{rest[1:]}"
        found.append((told, edit.new_object))
    # A name may hold the sign of the slot.
    return tuple(use for use in found if use[0].count("{}") == 1)[: config.hold.uses]


def _asked(context: EditContext, config: EditConfig, chat: Callable[[str], str]) -> list[SearchPrompt]:
    """Return the questions in the model's chat form, with the answer alone or at the end of a sentence."""
    found = []
    for number, (item, question) in enumerate(held_questions(context, config)):
        asked, told = chat(question), _for_search(item.templates)
        if config.hold.reply == "sentence" and told:
            text = f"{asked} {item.text(told[0])}"
            asked = ChatText(text, message=asked.message) if isinstance(asked, ChatText) else text
        found.append(_search_prompt(Term.CONSEQUENCE, context, asked, _answer(context, config, number, item)))
    return found


def _answer(context: EditContext, config: EditConfig, number: int, item: Consequence) -> str:
    """Return what the prompts of a consequence must give: its object, or for the control an unrelated name."""
    assert item.new is not None
    names = context.unrelated_names
    return names[number % len(names)] if config.hold.shuffled else item.new.label


def _search_prompt(term: Term, context: EditContext, template: str, answer: str | None) -> SearchPrompt:
    subject = in_slot(template.message if isinstance(template, ChatText) else template, context.subject)
    return SearchPrompt(term=term, template=template, answer=answer, subject=subject)


def _for_search(templates: tuple[str, ...]) -> tuple[str, ...]:
    return split_templates(templates, N_PROBE_WORDINGS)[0]
