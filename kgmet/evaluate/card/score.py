"""`score_models`: ask everything about some edits that a card counts, of one edited model or several side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kgmet.base.errors import RequestError
from kgmet.base.progress import Progress, Silent
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.told import told_sentences
from kgmet.evaluate.card.asked import AskedItem, CardConfig, ability_questions, card_questions
from kgmet.evaluate.card.choose import drawn_items, fitting_items, standing_edits
from kgmet.evaluate.card.edited import EditedModel, ask_models, same_base
from kgmet.evaluate.card.known import KnownAnswers, TextLoss
from kgmet.evaluate.card.tasks import task_results
from kgmet.evaluate.card.texts import chosen_texts, text_losses
from kgmet.evaluate.card.value import IN_CONTEXT, IN_CONTEXT_GRAPH, UNEDITED, Column, edited_columns
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding
from kgmet.measure.general import TaskResult
from kgmet.measure.question import Question
from kgmet.measure.told import told_question

__all__ = ["ScoredEdits", "score_models"]

_SHORT_TOKENS = 4
"""Tokens for a letter, a word of general ability, or for yes or no."""
_STAYING_TOKENS = 8
"""Tokens for facts that must stay, of which only the first clause is compared."""
_NOT_TOLD = ("ability", "tasks", "fluency", "repetition", "divergence", "perplexity")
"""Rows that are empty in context, because nothing is written."""


@dataclass(frozen=True, kw_only=True)
class _CardDecoding(Decoding):
    """Greedy decoding with the length that each row needs."""

    only_judged: bool = True
    top_k: int = 1  # likeliest tokens are not kept
    lengths: Mapping[Question, int] = field(default_factory=dict)

    def longest(self, question: Question) -> int:
        return self.lengths.get(question, super().longest(question))

    def stops(self, question: Question) -> bool:
        return question.expected is not None and super().stops(question)


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredEdits:
    """The answers about edits that are in one model together; `card_from` counts them.

    `asked` are the columns, and `columns` hold, for each, an answer to each of `items`, or ``None`` where the column is
    not asked. `losses` and results of published `tasks` are by column. `is_in_order` says whether the edits were made
    one after another. `unknown` are the prompts of edits of which the graph knows neither subject nor new object,
    `no_subject` of those of which it lacks only the subject, `n_left_out` the questions the model could not read,
    `standing` the places of edits that no later one replaces, `n_made` the questions of each row before some were
    drawn.
    """

    model: str
    edited: str
    edits: tuple[FactEdit, ...]
    facts: tuple[tuple[str, ...], ...]
    items: tuple[AskedItem, ...]
    asked: tuple[Column, ...]
    columns: Mapping[str, Sequence[Answer | None]]
    losses: Mapping[str, tuple[TextLoss, ...]]
    tasks: Mapping[str, Mapping[str, TaskResult]]
    texts: str
    has_graph: bool
    is_in_order: bool
    unknown: tuple[str, ...]
    no_subject: tuple[str, ...]
    n_left_out: int
    standing: tuple[int, ...]
    n_made: Mapping[str, int]
    seconds: float


def score_models(
    models: Sequence[EditedModel],
    *,
    edits: Sequence[FactEdit] = (),
    store: TripleStore | None,
    catalogue: RelationCatalogue | None = None,
    config: CardConfig,
    known: KnownAnswers | None = None,
    place: int = 0,
    progress: Progress | None = None,
) -> ScoredEdits:
    """Ask everything that a card counts.

    Args:
        models: edits of one unedited model, each with a name of its own; all are asked the same.
        edits: the facts to ask about, oldest first; by default those of the first model.
        store: the graph for consequences and neighbours; without one most rows are empty.
        catalogue: the relations' wordings; by default the bundled ones.
        config: number of questions and lengths of texts.
        known: answers given before; new ones are added to it.
        place: the number of edits scored before in other models of the same card. Each model is asked other questions
            of general ability.
        progress: receives the steps; can cancel.

    Raises:
        RequestError: if no fact is known, or the models have different originals.
        Cancelled: if asked to stop; what was answered is in `known`.
    """
    started = time.perf_counter()
    first, known, progress = same_base(models), known or KnownAnswers(), progress or Silent()
    edits = tuple(edits) or first.edits
    catalogue = catalogue or RelationCatalogue.load()
    if not edits:
        raise RequestError("The edited fact is unknown. Give --subject, --template and --new-object.")
    shown = edited_columns([model.name for model in models])
    contexts = [prepare_edit(edit, store=store, catalogue=catalogue, config=EditConfig()) for edit in edits]
    facts = tuple(told_sentences(context, catalogue) for context in contexts)
    standing = standing_edits([context.edit for context in contexts])
    every = _items(contexts, standing, store, catalogue, config)
    readable = fitting_items(models, every, facts)
    items = [*drawn_items(readable, most=config.most_per_row), *_ability(config, place)]
    columns = _columns(models, shown, items, facts, config, known, progress)
    texts, where = chosen_texts(first.base, config.text_tokens) if config.text_tokens else ([], "")
    losses = text_losses(models, texts, known=known, progress=progress) if texts else [()] * len(models)
    folder = config.tasks_folder
    tasks = task_results(models, folder, limit=config.n_per_task, progress=progress) if folder else []
    told = (IN_CONTEXT, IN_CONTEXT_GRAPH) if config.in_context else ()
    return ScoredEdits(
        model=first.base.name,
        edited=", ".join(model.name for model in models),
        edits=edits,
        facts=facts,
        items=tuple(items),
        asked=(UNEDITED, *shown, *told),
        columns=columns,
        losses={column.key: mine for column, mine in zip(shown, losses, strict=True)},
        tasks={column.key: mine for column, mine in zip((UNEDITED, *shown), tasks, strict=False)},
        texts=where,
        has_graph=store is not None,
        is_in_order=all(model.is_in_order for model in models),
        unknown=tuple(context.edit.prompt for context in contexts if not context.has_graph),
        no_subject=tuple(c.edit.prompt for c in contexts if c.has_graph and not c.knows_subject),
        n_left_out=len(every) - len(readable),
        standing=tuple(standing),
        n_made=_counts(readable),
        seconds=time.perf_counter() - started,
    )


def _items(
    contexts: Sequence[EditContext],
    standing: Sequence[int],
    store: TripleStore | None,
    catalogue: RelationCatalogue,
    config: CardConfig,
) -> list[AskedItem]:
    subjects = [context.subject.label.casefold().removeprefix("the ") for context in contexts]
    return [
        item
        for number in standing
        for item in card_questions(
            contexts[number],
            store=store,
            catalogue=catalogue,
            config=config,
            number=number,
            edited=frozenset(subjects) - {subjects[number]},
        )
    ]


def _ability(config: CardConfig, place: int) -> list[AskedItem]:
    every = ability_questions()
    begin = place * config.n_ability
    turned = [every[(begin + n) % len(every)] for n in range(min(config.n_ability, len(every)))]
    return [AskedItem(row="ability", edit=0, question=question) for question in turned]


def _counts(items: Sequence[AskedItem]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in items:
        counts[item.row] = counts.get(item.row, 0) + 1
    return counts


def _columns(
    models: Sequence[EditedModel],
    shown: Sequence[Column],
    items: Sequence[AskedItem],
    facts: Sequence[tuple[str, ...]],
    config: CardConfig,
    known: KnownAnswers,
    progress: Progress,
) -> dict[str, list[Answer | None]]:
    """Return each column's answers to all items; ``None`` where a column is not asked."""
    questions = [item.question for item in items]
    lengths = {item.question: _length(item, config) for item in items}
    decoding = _CardDecoding(lengths=lengths, max_answer_tokens=config.answer_tokens)
    found = ask_models(models, questions, decoding=decoding, known=known, progress=progress)
    columns: dict[str, list[Answer | None]] = {
        column.key: list(answers) for column, answers in zip((UNEDITED, *shown), found, strict=True)
    }
    if not config.in_context:
        return columns
    asked = [n for n, item in enumerate(items) if item.row not in _NOT_TOLD]
    told_to = {
        column.key: [told_question(questions[n], facts[items[n].edit][:most]) for n in asked]
        for column, most in ((IN_CONTEXT, 1), (IN_CONTEXT_GRAPH, None))
    }
    lengths = {
        question: lengths[questions[n]] for group in told_to.values() for n, question in zip(asked, group, strict=True)
    }
    decoding = _CardDecoding(lengths=lengths, max_answer_tokens=config.answer_tokens)
    unedited = models[0].unedited
    # Prompts of one edit are neighbours in a batch, because they share beginnings.
    pairs = [question for pair in zip(*told_to.values(), strict=True) for question in pair]
    (answers, _) = ask_models([unedited], pairs, decoding=decoding, known=known, progress=progress)
    for place, key in enumerate(told_to):
        by_place = dict(zip(asked, answers[place :: len(told_to)], strict=True))
        columns[key] = [by_place.get(n) for n in range(len(items))]
    return columns


def _length(item: AskedItem, config: CardConfig) -> int:
    if item.row == "fluency":
        return config.continued_tokens
    if item.row == "ability" or item.row.startswith(("yes_no", "choice")):
        return _SHORT_TOKENS
    if item.question.kind.should_stay:
        return _STAYING_TOKENS
    return Decoding(max_answer_tokens=config.answer_tokens).longest(item.question)
