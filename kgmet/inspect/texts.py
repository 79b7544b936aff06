"""`InspectedText`: the prompts used to inspect an edit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.editing.problem import held_consequences, protected_facts
from kgmet.graph.consequence import Consequence, KeptFact
from kgmet.graph.phrasing import as_typed, in_slot
from kgmet.graph.triple import Entity
from kgmet.lm.run.spans import Phrase
from kgmet.write.ledger import PROTECTED
from kgmet.write.patch import EditPatch

__all__ = ["UNRELATED_TEXTS", "InspectedText", "TextKind", "drift_texts", "shift_texts"]

UNRELATED_TEXTS: tuple[str, ...] = (
    "Water boils at a temperature of one hundred degrees",
    "She closed the book, put on her coat and went out into the",
    "To bake bread you need flour, yeast, salt and",
)
"""Unrelated texts: any change in them is damage."""


class TextKind(Enum):
    """Relation of a text to the edit."""

    EDIT = "edit prompt"
    """The edit's own prompt."""
    PARAPHRASE = "paraphrase"
    """A paraphrase of the fact."""
    CONSEQUENCE = "consequence"
    """A consequence of the new fact."""
    PROTECTED = "protected neighbour"
    """The same relation of another subject, with a key protected in the solve."""
    NEIGHBOUR = "neighbour"
    """The same relation of another subject, used in no solve."""
    CONTROL = "other fact of the subject"
    """Another fact of the subject, which must stay."""
    UNRELATED = "unrelated text"
    """An unrelated text."""

    @property
    def should_move(self) -> bool:
        """Whether the edit should change the model's answer here."""
        return self in (TextKind.EDIT, TextKind.PARAPHRASE, TextKind.CONSEQUENCE)


@dataclass(frozen=True, kw_only=True)
class InspectedText:
    """One text with its kind. `new` is the answer the edit gives (or must not give), `old` the present or true one.

    The edit acts at the subject of `phrase`; a phrase without ``{}`` has none.
    """

    kind: TextKind
    phrase: Phrase
    new: str | None = None
    old: str | None = None

    @property
    def text(self) -> str:
        """The full text as the model reads it."""
        return self.phrase.prompt

    @property
    def has_subject(self) -> bool:
        """Whether there is a subject to locate."""
        return "{}" in self.phrase.template

    @property
    def answers(self) -> tuple[str, ...]:
        """New and old answer, if there are any."""
        return tuple(answer for answer in (self.new, self.old) if answer is not None)


def shift_texts(
    context: EditContext, config: EditConfig, *, patch: EditPatch | None = None, paraphrases: int = 3
) -> tuple[InspectedText, ...]:
    """Return the edit's prompt, paraphrases, consequences, neighbours (as far as known) and an unrelated text."""
    edit = context.edit
    found = [_about(context, TextKind.EDIT, edit.template, edit.subject, edit.old_object)]
    for template in context.paraphrases[:paraphrases]:
        subject = in_slot(template, context.subject)
        found.append(_about(context, TextKind.PARAPHRASE, template, subject, edit.old_object))
    for item in held_consequences(context, config)[:2] or _forward(context)[:2]:
        if item.new is None or not item.templates:
            continue
        phrase = Phrase(template=item.templates[-1], subject=in_slot(item.templates[-1], context.subject))
        old = None if item.old is None else item.old.label
        found.append(InspectedText(kind=TextKind.CONSEQUENCE, phrase=phrase, new=item.new.label, old=old))
    others = drift_texts(context, config, patch=patch, most=1)
    return (*found, *(text for text in others if not text.kind.should_move))


def drift_texts(
    context: EditContext, config: EditConfig, *, patch: EditPatch | None = None, most: int = 12
) -> tuple[InspectedText, ...]:
    """Return the edit's prompt and texts that must stay: neighbours (`most` per kind), own facts, unrelated texts.

    With a `patch`, the protected neighbours are those whose keys it protected, even if the graph has changed since.
    """
    edit = context.edit
    found = [_about(context, TextKind.EDIT, edit.template, edit.subject, edit.old_object)]
    known = () if context.consequences is None else context.consequences.kept_neighbours
    facts = list(dict.fromkeys((*protected_facts(context, config), *known)))
    kept = {fact.triple.subject.id for fact in protected_facts(context, config)} if patch is None else _kept_by(patch)
    protected = [fact for fact in facts if fact.triple.subject.id in kept]
    outside = [fact for fact in facts if fact.triple.subject.id not in kept]
    for kind, members in ((TextKind.PROTECTED, protected), (TextKind.NEIGHBOUR, outside)):
        found += [_kept(context, kind, edit.template, fact) for fact in members[:most]]
    own = () if context.consequences is None else context.consequences.kept_own
    for fact in own[:most]:
        if fact.templates:
            found.append(_kept(context, TextKind.CONTROL, fact.templates[0], fact))
    unrelated = [InspectedText(kind=TextKind.UNRELATED, phrase=Phrase(template=text)) for text in UNRELATED_TEXTS]
    return (*found, *unrelated[:most])


def _kept_by(patch: EditPatch) -> set[str]:
    """Return the ids of the subjects whose keys a patch protected, from its key names."""
    return {
        name.removeprefix(PROTECTED) for names, _ in patch.keys.values() for name in names if name.startswith(PROTECTED)
    }


def _about(context: EditContext, kind: TextKind, template: str, subject: str, old: str | None) -> InspectedText:
    phrase = Phrase(template=template, subject=subject)
    return InspectedText(kind=kind, phrase=phrase, new=context.edit.new_object, old=old)


def _kept(context: EditContext, kind: TextKind, template: str, fact: KeptFact) -> InspectedText:
    named: Entity = fact.triple.subject
    if kind is TextKind.CONTROL:
        named = as_typed(context.edit.subject, named)
    phrase = Phrase(template=template, subject=in_slot(template, named))
    return InspectedText(kind=kind, phrase=phrase, new=context.edit.new_object, old=fact.triple.object.label)


def _forward(context: EditContext) -> tuple[Consequence, ...]:
    return () if context.consequences is None else context.consequences.forward
