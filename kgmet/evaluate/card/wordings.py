"""Sentences, negated prompts, yes/no questions, choices and reversed questions of a fact, by grammar rules.

The catalogue has a negated and a yes/no form for every relation. For other relations the forms are derived from the
edit's own prompt; forms that might read badly are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kgmet.fact import FactEdit
from kgmet.graph.phrasing import in_slot
from kgmet.graph.relations import RelationSpec
from kgmet.graph.triple import Entity
from kgmet.measure.told import as_sentence

__all__ = [
    *("NOT_SURE", "choice_question", "negated_prompts", "old_sentence", "plain_question"),
    *("reversed_question", "yes_no_question"),
]

NOT_SURE = "I am not sure"
_LETTERS = "ABCD"
_VERBS = "is|was|are|were|can|could|will|would"
_AFTER_SUBJECT = re.compile(rf"^((?:[Tt]he )?\{{\}} (?:{_VERBS}))(?= )(?! not)")
_AT_THE_END = re.compile(r"^The .*(?: of \{\}|[^}]) (?:is|was|are|were)$")
_PEOPLE = frozenset({"person", "character", "god"})
_IS_SUBJECT = re.compile(r"^(?:[Tt]he )?\{\} (?=[a-z])")
_SAYS_KIND = re.compile(r"^(?:[Tt]he )?\{\} (?:is|was) an? ")


def old_sentence(edit: FactEdit, old: str) -> str:
    """Return the old fact as a sentence."""
    return as_sentence(f"{edit.prompt} {old}")


def negated_prompts(edit: FactEdit, subject: Entity, spec: RelationSpec | None) -> tuple[str, ...]:
    """Return prompts that the object must not continue: the catalogue's, and statements negated by one rule.

    ``{} is located in`` becomes ``{} is not located in``, ``The capital of {} is`` becomes ``The capital of {} is
    not``. A wording with another verb gives none.
    """
    texts = [*([spec.negated] if spec else []), *_negated([edit.template, *(spec.cloze if spec else ())])]
    return tuple(dict.fromkeys(_filled(text, edit, subject) for text in texts))


def yes_no_question(edit: FactEdit, subject: Entity, obj: str, spec: RelationSpec | None) -> str | None:
    """Return a yes/no question about an object; unknown relations use the edit's own prompt."""
    if spec is not None:
        return _filled(spec.yes_no.replace("{object}", obj), edit, subject)
    if edit.template.endswith("?"):
        return None
    return f"Is it true that {_inside(edit, subject)} {obj}?"


def plain_question(edit: FactEdit, subject: Entity, spec: RelationSpec | None) -> str:
    """Return a question whose answer is the object."""
    if spec is not None:
        return _filled(spec.questions[0], edit, subject)
    if edit.template.endswith("?"):
        return edit.prompt
    return f"How does this sentence go on? {edit.prompt} …"


def choice_question(question: str, options: Sequence[str]) -> str:
    """Return a question with lettered options; the last one is "not sure".

    Raises:
        ValueError: if there are not exactly three options.
    """
    if len(options) != len(_LETTERS) - 1:
        raise ValueError(f"a four-way choice has three options and '{NOT_SURE}', got {list(options)}")
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(_LETTERS, (*options, NOT_SURE), strict=True))
    return f"{question}\n{listed}\nAnswer with one letter."


def reversed_question(spec: RelationSpec, obj: str) -> str | None:
    """Return a question from the object to the subject, made from the first wording that begins with its subject.

    ``{} is located in the city of`` becomes ``What is located in the city of Rome?``; who, which and what depend on the
    relation's subject types. A relation without such a wording gives ``None``.
    """
    usable = [text for text in spec.cloze if _IS_SUBJECT.match(text) and "," not in text and not text.endswith(" a")]
    # "Which river is a river that flows through" repeats the type; another wording is better.
    usable.sort(key=lambda text: _SAYS_KIND.match(text) is not None)
    return f"{_asked_for(spec)} {_IS_SUBJECT.sub('', usable[0])} {obj}?" if usable else None


def _asked_for(spec: RelationSpec) -> str:
    kinds = spec.subject_types
    if kinds <= _PEOPLE:
        return "Who"
    if kinds & _PEOPLE:
        return "Who or what"
    return f"Which {next(iter(kinds)).replace('_', ' ')}" if len(kinds) == 1 else "What"


def _negated(templates: Iterable[str]) -> Iterable[str]:
    for template in templates:
        if re.search(r"\b(?:not|never|no)\b|,|\?$", template):
            continue
        if _AFTER_SUBJECT.match(template):
            yield _AFTER_SUBJECT.sub(r"\1 not", template).replace("can not ", "cannot ", 1)
        elif _AT_THE_END.search(template):
            yield f"{template} not"


def _filled(template: str, edit: FactEdit, subject: Entity) -> str:
    """Fill a template with the subject: as typed in the edit's own prompt, else as it reads in the slot."""
    return template.replace("{}", edit.subject if template == edit.template else in_slot(template, subject), 1)


def _inside(edit: FactEdit, subject: Entity) -> str:
    """Return the edit's prompt inside a sentence, its first word in lower case unless it is a name."""
    before, _, after = edit.template.partition("{}")
    if before.strip():
        first, _, rest = before.partition(" ")
        before = f"{first.lower() if first.lower() in _SMALL_WORDS else first} {rest}" if rest else before
        return before + in_slot(edit.template, subject) + after
    return subject.in_text + after


_SMALL_WORDS = frozenset({"the", "a", "an", "in", "at", "on", "to", "by", "of", "for", "from", "with", "as"})
