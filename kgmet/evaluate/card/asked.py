"""`card_questions`: all questions about one edit, by row, and the sentences that state the edit in context."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kgmet.base.errors import ConfigError
from kgmet.base.ranges import check_numbers
from kgmet.editing.context import EditContext
from kgmet.editing.report import own_question
from kgmet.evaluate.card.value import ROWS
from kgmet.evaluate.card.wordings import (
    NOT_SURE,
    choice_question,
    negated_prompts,
    old_sentence,
    plain_question,
    reversed_question,
    yes_no_question,
)
from kgmet.graph.reading.probe_prompts import GeneratedPrompt, QuestionConfig, first_questions, generate_probes
from kgmet.graph.relations import RelationCatalogue, RelationSpec
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity
from kgmet.measure.general import bundled_abilities
from kgmet.measure.question import Form, Question, QuestionKind
from kgmet.measure.told import fact_sentence

__all__ = ["AskedItem", "CardConfig", "ability_questions", "card_questions"]

_IRRELEVANT = "Rivers begin as small streams in the hills and grow wider on their way to the sea."
"""The sentence of the irrelevant context."""
_CONTINUED = ("{} is known for", "The best way to spend a free afternoon is")
"""Prompts that are continued at length besides the edit's own; the last is unrelated to the edit."""
_MOST_ABILITY = 240
"""Questions of general ability of all models of a card together, where each edit is in a model of its own."""
_ROW_OF = {
    "rewrite": "efficacy",
    "paraphrase": "paraphrase",
    "consequence": "consequences",
    "inverse": "reversal",
    "control": "other_facts",
    "neighbour": "neighbours",
    "later_hop": "later_hops",
}


@dataclass(frozen=True, kw_only=True)
class CardConfig:
    """Number of questions per edit, and lengths of texts."""

    n_consequences: int = 8
    n_reversal: int = 3
    n_negation: int = 4
    n_other_facts: int = 10
    n_neighbours: int = 10
    n_later_hops: int = 12
    n_multi_hop: int = 6
    answer_tokens: int = 24
    """Longest answer in chat, in tokens."""
    continued_tokens: int = 60
    """Length in tokens of the continuations for fluency and repetition; 0 leaves both out."""
    in_context: bool = True
    """Whether the two baselines that only state the fact in context are asked too, which doubles the work."""
    text_tokens: int = 300
    """Approximate number of tokens for divergence and perplexity; 0 leaves both out."""
    n_worst: int = 5
    """Most examples per row."""
    n_ability: int = 40
    """Questions of general ability, of each edited model; 0 leaves the row out."""
    most_per_row: int = 200
    """Most prompts of a row, drawn evenly over the edits; 0 asks all. One edit has fewer."""

    rows: tuple[str, ...] = ()
    """Keys of the rows to ask questions for (`efficacy`, `multi_hop` …); empty: all."""
    tasks_folder: Path | None = None
    """Folder of published tasks (cola.json, mrpc.json, …); without one they are left out."""
    n_per_task: int = 20
    """Most examples of each task."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_numbers(self, "card", *(name for name, value in vars(self).items() if isinstance(value, int)), least=0)
        check_numbers(self, "card", "answer_tokens", least=1)
        unknown = [row for row in self.rows if row not in ROWS]
        if unknown:
            raise ConfigError(f"The card has no row {unknown[0]!r}; its rows are {', '.join(ROWS)}.")

    def for_part(self, n: int, *, of: int) -> CardConfig:
        """Return the settings for `n` of a card's edits, which are in a model of their own."""
        if n == of:
            return self
        most = -(-self.most_per_row * n // of)
        return replace(self, most_per_row=most, n_ability=min(self.n_ability, -(-_MOST_ABILITY * n // of)))


@dataclass(frozen=True, kw_only=True)
class AskedItem:
    """One question of one row. `edit` is the index of the edit; `place` numbers a choice's options from 0."""

    row: str
    edit: int
    question: Question


def card_questions(
    context: EditContext,
    *,
    store: TripleStore | None,
    catalogue: RelationCatalogue,
    config: CardConfig,
    number: int = 0,
    edited: frozenset[str] = frozenset(),
) -> tuple[AskedItem, ...]:
    """Return all questions about one edit, by row.

    Args:
        context: the edit and what the graph says about it (`prepare_edit`).
        store: the graph; ``None`` leaves out the rows that are made from it.
        catalogue: the relations' wordings.
        config: how many.
        number: the place of the edit among those of the card.
        edited: subjects (lower case) that other edits of the card change; no longer fair as neighbours.
    """
    spec = _spec(context, catalogue)
    rows: list[tuple[str, Question]] = list(_generated(context, store, catalogue, config, edited))
    old = _old(context)
    rows += _reversed(context, spec, config, n_made=sum(row == "reversal" for row, _ in rows))
    rows += _negation(context, spec, config)
    rows += _yes_no(context, spec, old)
    rows += _choice(context, spec, old, number)
    rows += _continued(context, config)
    wanted = [(row, question) for row, question in rows if not config.rows or row in config.rows]
    return tuple(dict.fromkeys(AskedItem(row=row, edit=number, question=question) for row, question in wanted))


def ability_questions() -> tuple[Question, ...]:
    """Return all questions of general ability, in an order that mixes the subjects."""
    return tuple(
        Question(kind=QuestionKind.OWN, text=item.prompt, expected=item.right, aliases=item.others, rejected=item.wrong)
        for item in bundled_abilities()
    )


def _spec(context: EditContext, catalogue: RelationCatalogue) -> RelationSpec | None:
    relation = context.edit.relation
    return catalogue.spec(relation) if relation is not None and relation in catalogue else None


def _old(context: EditContext) -> str | None:
    if context.edit.old_object is not None:
        return context.edit.old_object
    old = None if context.ends is None else context.ends.old
    return None if old is None else old.label


def _generated(
    context: EditContext,
    store: TripleStore | None,
    catalogue: RelationCatalogue,
    config: CardConfig,
    edited: frozenset[str],
) -> Iterator[tuple[str, Question]]:
    if store is None or context.consequences is None:
        yield "efficacy", own_question(context.edit, context)
        return
    counts = QuestionConfig(
        n_later_hops=config.n_later_hops,
        n_neighbours=config.n_neighbours,
        n_controls=config.n_other_facts,
    )
    most = {"consequences": config.n_consequences, "reversal": config.n_reversal}
    seen: dict[str, int] = {}
    for made in generate_probes(store, catalogue, context.edit, context.consequences, config=counts, ends=context.ends):
        row = _ROW_OF.get(made.kind)
        if row is None or (row == "neighbours" and _names(made) & edited):
            continue
        seen[row] = seen.get(row, 0) + 1
        if seen[row] <= most.get(row, seen[row]):
            yield row, Question.from_generated(made)
    chains = [prompt for _, prompt in first_questions(context.consequences) if prompt.hops > 1]
    yield from (("multi_hop", Question.from_generated(prompt)) for prompt in chains[: config.n_multi_hop])


def _names(made: GeneratedPrompt) -> set[str]:
    names = {made.subject, *(triple.subject.label for triple in made.path)}
    return {name.casefold().removeprefix("the ") for name in names}


def _reversed(
    context: EditContext, spec: RelationSpec | None, config: CardConfig, *, n_made: int
) -> Iterator[tuple[str, Question]]:
    text = reversed_question(spec, context.edit.new_object) if spec is not None else None
    if text is not None and n_made < config.n_reversal:
        subject = context.subject
        names = dict.fromkeys((subject.label, *subject.aliases))
        own = context.edit.subject
        yield (
            "reversal",
            Question(
                kind=QuestionKind.INVERSE,
                text=text,
                form=Form.CHAT,
                expected=own,
                aliases=tuple(name for name in names if name != own),
            ),
        )


def _negation(context: EditContext, spec: RelationSpec | None, config: CardConfig) -> Iterator[tuple[str, Question]]:
    own = own_question(context.edit, context)
    for text in negated_prompts(context.edit, context.subject, spec)[: config.n_negation]:
        yield "negation", replace(own, kind=QuestionKind.OWN, text=text, rejected=None, rejected_aliases=())


def _contexts(context: EditContext, old: str | None) -> Iterator[tuple[str, str]]:
    """Yield the endings of the rows' keys with the sentence before the question."""
    yield "", ""
    yield "_agrees", fact_sentence(context.edit)
    if old is not None:
        yield "_contradicts", old_sentence(context.edit, old)
    yield "_irrelevant", _IRRELEVANT


def _yes_no(context: EditContext, spec: RelationSpec | None, old: str | None) -> Iterator[tuple[str, Question]]:
    asked = [(context.edit.new_object, "Yes", "No"), *([(old, "No", "Yes")] if old else [])]
    for key, sentence in _contexts(context, old):
        for obj, expected, rejected in asked:
            text = yes_no_question(context.edit, context.subject, obj, spec)
            if text is not None:
                yield f"yes_no{key}", _in_chat(f"{sentence} {text}".strip(), expected=expected, rejected=rejected)


def _choice(
    context: EditContext, spec: RelationSpec | None, old: str | None, number: int
) -> Iterator[tuple[str, Question]]:
    other = _other_object(context, old)
    if old is None or other is None:
        return
    new = context.edit.new_object
    text = plain_question(context.edit, context.subject, spec)
    # The new object is at each position once, so a model that always says A is right once in three. With a context, the
    # orders alternate.
    orders = ((new, old, other), (other, new, old), (old, other, new))
    for turn, (key, sentence) in enumerate(_contexts(context, old), start=number):
        for options in orders if not key else orders[turn % 3 :][:1]:
            letters = dict(zip(options, "ABC", strict=True))
            yield (
                f"choice{key}",
                replace(
                    _in_chat(
                        choice_question(f"{sentence} {text}".strip(), options),
                        expected=letters[new],
                        rejected=letters[old],
                    ),
                    aliases=(new,),
                    rejected_aliases=(old, other, letters[other], "D", NOT_SURE),
                ),
            )


def _other_object(context: EditContext, old: str | None) -> str | None:
    """Return an object that other subjects of the relation have."""
    taken = {name.casefold() for name in (context.edit.new_object, old or "")}
    facts = () if context.consequences is None else context.consequences.kept_neighbours
    objects: list[Entity] = [fact.triple.object for fact in facts]
    return next((entity.label for entity in objects if entity.label.casefold() not in taken), None)


def _in_chat(text: str, *, expected: str, rejected: str) -> Question:
    return Question(kind=QuestionKind.OWN, text=text, form=Form.CHAT, expected=expected, rejected=rejected)


def _continued(context: EditContext, config: CardConfig) -> Iterator[tuple[str, Question]]:
    if config.continued_tokens:
        for text in (context.edit.prompt, *(each.replace("{}", context.edit.subject) for each in _CONTINUED)):
            yield "fluency", Question(kind=QuestionKind.OWN, text=text)
