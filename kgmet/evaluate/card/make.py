"""`make_card`: ask all questions in few passes and make a `ReportCard` of the answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kgmet.base.errors import RequestError
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.told import told_sentences
from kgmet.evaluate.card.asked import AskedItem, CardConfig, card_questions
from kgmet.evaluate.card.cells import answer_row, entropy_row, repetition_row
from kgmet.evaluate.card.edited import EditedModel
from kgmet.evaluate.card.texts import TextLoss, chosen_texts, divergence_cell, perplexity_cell, text_losses
from kgmet.evaluate.card.value import COLUMNS, ROWS, Cell, ReportCard, Row
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding, worded
from kgmet.measure.question import Question
from kgmet.measure.told import told_question

__all__ = ["ScoredEdits", "card_from", "make_card", "score_edits"]

_SHORT_TOKENS = 4
"""Tokens for a letter, or for yes or no."""
_STAYING_TOKENS = 8
"""Tokens for facts that must stay, of which only the first clause is compared."""
_ROOM_TO_ANSWER = 16
"""Fewest tokens left for an answer."""
_OF_TEXT = ("fluency", "repetition", "divergence", "perplexity")


@dataclass(frozen=True, kw_only=True)
class _CardDecoding(Decoding):
    """Greedy decoding with the length that each row needs."""

    only_judged: bool = True
    lengths: Mapping[Question, int] = field(default_factory=dict)

    def longest(self, question: Question) -> int:
        return self.lengths.get(question, super().longest(question))

    def stops(self, question: Question) -> bool:
        return question.expected is not None and super().stops(question)


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredEdits:
    """The answers about edits that are in one model together; `card_from` counts them.

    `columns` hold, for each column, an answer to each of `items`, or ``None`` where a column is not asked. `unknown`
    are the prompts of edits of which the graph knows nothing, `n_left_out` the questions the model could not read.
    """

    model: str
    edited: str
    edits: tuple[FactEdit, ...]
    facts: tuple[tuple[str, ...], ...]
    items: tuple[AskedItem, ...]
    columns: Mapping[str, Sequence[Answer | None]]
    losses: tuple[TextLoss, ...]
    texts: str
    has_graph: bool
    unknown: tuple[str, ...]
    n_left_out: int
    seconds: float


def make_card(
    edited: EditedModel,
    *,
    edits: Sequence[FactEdit] = (),
    store: TripleStore | None,
    catalogue: RelationCatalogue | None = None,
    config: CardConfig | None = None,
    progress: Progress | None = None,
) -> ReportCard:
    """Score one edit, or several in the model together, beside stating the fact in context.

    Args:
        edited: the model before and after.
        edits: the facts to ask about; by default those of `edited`.
        store: the graph for consequences and neighbours; without one most rows are empty.
        catalogue: the relations' wordings; by default the bundled ones.
        config: number of questions and lengths of texts.
        progress: receives the steps; can cancel.

    Raises:
        RequestError: if no fact is known.
        Cancelled: if asked to stop.
    """
    config = config or CardConfig()
    scored = score_edits(edited, edits=edits, store=store, catalogue=catalogue, config=config, progress=progress)
    return card_from([scored], config=config)


def score_edits(
    edited: EditedModel,
    *,
    edits: Sequence[FactEdit] = (),
    store: TripleStore | None,
    catalogue: RelationCatalogue | None = None,
    config: CardConfig,
    progress: Progress | None = None,
) -> ScoredEdits:
    """Ask everything that `make_card` counts, with the same arguments."""
    started = time.perf_counter()
    edits, progress = tuple(edits) or edited.edits, progress or Silent()
    catalogue = catalogue or RelationCatalogue.load()
    if not edits:
        raise RequestError("The edited fact is unknown. Give --subject, --prompt and --target.")
    contexts = [prepare_edit(edit, store=store, catalogue=catalogue, config=EditConfig()) for edit in edits]
    facts = tuple(told_sentences(context, catalogue) for context in contexts)
    every = _items(contexts, store, catalogue, config)
    items = _fitting(edited, every, facts)
    columns = _columns(edited, items, facts, config, progress)
    progress.report(ProgressEvent(stage=Stage.CARD, done=0, total=1))
    progress.check()
    texts, where = chosen_texts(edited.base, config.text_tokens) if config.text_tokens else ([], "")
    losses = tuple(text_losses(edited, texts)) if texts else ()
    progress.report(ProgressEvent(stage=Stage.CARD, done=1, total=1))
    return ScoredEdits(
        model=edited.base.name,
        edited=edited.name,
        edits=edits,
        facts=facts,
        items=tuple(items),
        columns=columns,
        losses=losses,
        texts=where,
        has_graph=store is not None,
        unknown=tuple(context.edit.prompt for context in contexts if not context.has_graph),
        n_left_out=len(every) - len(items),
        seconds=time.perf_counter() - started,
    )


def card_from(scored: Sequence[ScoredEdits], *, config: CardConfig) -> ReportCard:
    """Return the card of edits that were made and scored apart, each in a model of its own.

    Args:
        scored: at least one; all of one model and one way of editing.
        config: what they were scored with.

    Divergence and perplexity are means over the edits, text by text.
    """
    first = scored[0]
    starts = [sum(len(part.edits) for part in scored[:place]) for place in range(len(scored))]
    items = [
        replace(item, edit=start + item.edit) for part, start in zip(scored, starts, strict=True) for item in part.items
    ]
    columns = {key: [answer for part in scored for answer in part.columns[key]] for key in first.columns}
    losses = [_mean_loss(text) for text in zip(*(part.losses for part in scored), strict=True)]
    sentences = tuple(f"{edit.prompt} → {edit.new_object}" for part in scored for edit in part.edits)
    return ReportCard(
        model=first.model,
        edited=first.edited,
        edits=sentences,
        facts=tuple(facts for part in scored for facts in part.facts),
        rows=_rows(items, columns, losses, sentences, config),
        texts=f"{sum(loss.n for loss in losses)} tokens: {first.texts}" if losses else "",
        notes=_notes(scored),
        seconds=sum(part.seconds for part in scored),
    )


def _mean_loss(losses: Sequence[TextLoss]) -> TextLoss:
    before, after, moved = (
        sum(values) / len(losses)
        for values in zip(*((loss.before, loss.after, loss.divergence) for loss in losses), strict=True)
    )
    return TextLoss(n=losses[0].n, before=before, after=after, divergence=moved)


def _items(
    contexts: Sequence[EditContext], store: TripleStore | None, catalogue: RelationCatalogue, config: CardConfig
) -> list[AskedItem]:
    subjects = [context.subject.label.casefold().removeprefix("the ") for context in contexts]
    return [
        item
        for number, context in enumerate(contexts)
        for item in card_questions(
            context,
            store=store,
            catalogue=catalogue,
            config=config,
            number=number,
            edited=frozenset(subjects[:number] + subjects[number + 1 :]),
        )
    ]


def _columns(
    edited: EditedModel,
    items: Sequence[AskedItem],
    facts: Sequence[tuple[str, ...]],
    config: CardConfig,
    progress: Progress,
) -> dict[str, list[Answer | None]]:
    """Return each column's answers to all items; ``None`` if a column is not asked."""
    questions = [item.question for item in items]
    lengths = {item.question: _length(item, config) for item in items}
    decoding = _CardDecoding(lengths=lengths, max_answer_tokens=config.answer_tokens)
    before, after = edited.answers(questions, decoding=decoding, progress=progress)
    columns: dict[str, list[Answer | None]] = {"unedited": list(before), "after": list(after)}
    if not config.in_context:
        return columns
    asked = [n for n, item in enumerate(items) if item.row not in _OF_TEXT]
    told_to = [
        [told_question(questions[n], facts[items[n].edit][: None if with_graph else 1]) for n in asked]
        for with_graph in (False, True)
    ]
    lengths = {question: lengths[questions[n]] for group in told_to for n, question in zip(asked, group, strict=True)}
    decoding = _CardDecoding(lengths=lengths, max_answer_tokens=config.answer_tokens)
    asked_told = [question for group in told_to for question in group]
    answers = edited.unedited_answers(asked_told, decoding=decoding, progress=progress)
    for key, found in (("in_context", answers[: len(asked)]), ("in_context_graph", answers[len(asked) :])):
        by_place = dict(zip(asked, found, strict=True))
        columns[key] = [by_place.get(n) for n in range(len(items))]
    return columns


def _length(item: AskedItem, config: CardConfig) -> int:
    if item.row == "fluency":
        return config.continued_tokens
    if item.row.startswith(("yes_no", "choice")):
        return _SHORT_TOKENS
    if item.question.kind.should_stay:
        return _STAYING_TOKENS
    return Decoding(max_answer_tokens=config.answer_tokens).longest(item.question)


def _rows(
    items: Sequence[AskedItem],
    columns: Mapping[str, Sequence[Answer | None]],
    losses: Sequence[TextLoss],
    sentences: Sequence[str],
    config: CardConfig,
) -> tuple[Row, ...]:
    rows = []
    for key in ROWS:
        if key in _OF_TEXT:
            continue
        places = [n for n, item in enumerate(items) if item.row == key]
        mine = {
            column: [answer for n in places if (answer := answers[n]) is not None]
            for column, answers in columns.items()
        }
        asked = [items[n] for n in places]
        rows.append(answer_row(key, asked, mine, edits=sentences, n_worst=config.n_worst))
    places = [n for n, item in enumerate(items) if item.row == "fluency"]
    written = {
        column: [answer.said for n in places if (answer := columns[column][n]) is not None]
        for column in ("unedited", "after")
    }
    rows += [entropy_row(written), repetition_row(written)]
    for key, cell in (("divergence", divergence_cell), ("perplexity", perplexity_cell)):
        cells = {column: cell(losses, is_after=column == "after") for column in ("unedited", "after")}
        rows.append(Row(key=key, cells=cells, n_asked=len(losses)))
    order = list(ROWS)
    return tuple(
        replace(row, cells={column.key: row.cells.get(column.key, Cell()) for column in COLUMNS})
        for row in sorted(rows, key=lambda row: order.index(row.key))
    )


def _fitting(edited: EditedModel, items: Sequence[AskedItem], facts: Sequence[tuple[str, ...]]) -> list[AskedItem]:
    """Return the items that fit the models' context with all sentences before and an answer after them."""
    longest = [worded(edited.base, told_question(item.question, facts[item.edit])) for item in items]
    sizes = [len(ids) for ids in edited.base.tokenizer(longest)["input_ids"]] if longest else []
    room = min(edited.base.context, edited.lm.context) - _ROOM_TO_ANSWER
    return [item for item, size in zip(items, sizes, strict=True) if size <= room]


def _notes(scored: Sequence[ScoredEdits]) -> tuple[str, ...]:
    notes = []
    unknown = [prompt for part in scored for prompt in part.unknown]
    if len(scored) > 1:
        notes.append(f"{len(scored)} models, each with its own edits; all answers are counted together.")
    if not scored[0].has_graph:
        notes.append("No graph was given: consequences, neighbours, other facts, chains and choices are not asked.")
    elif unknown:
        notes.append(f"The graph knows nothing of: {'; '.join(unknown)}.")
    if n_left_out := sum(part.n_left_out for part in scored):
        notes.append(f"Left out: {n_left_out} questions that are longer than the model reads.")
    return tuple(notes)
