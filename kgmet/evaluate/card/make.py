"""`make_card`: a `ReportCard` of one edited model, or of several side by side, from all answers in few passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kgmet.base.errors import RequestError
from kgmet.base.progress import Progress
from kgmet.evaluate.card.asked import AskedItem, CardConfig
from kgmet.evaluate.card.cells import answer_row, entropy_row, repetition_row
from kgmet.evaluate.card.choose import retention_rows
from kgmet.evaluate.card.edited import EditedModel
from kgmet.evaluate.card.known import KnownAnswers, TextLoss
from kgmet.evaluate.card.score import ScoredEdits, score_models
from kgmet.evaluate.card.tasks import task_cell
from kgmet.evaluate.card.texts import divergence_cell, perplexity_cell
from kgmet.evaluate.card.value import ROWS, Cell, Column, ReportCard, Row
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.measure.answer import Answer

__all__ = ["card_from", "make_card"]

_OF_TEXT = ("fluency", "repetition", "divergence", "perplexity")
"""Rows that are measured on running text; all others count answers."""
_MOST_NAMED = 10
"""Most prompts that a note lists."""


def make_card(
    edited: EditedModel | Sequence[EditedModel],
    *,
    edits: Sequence[FactEdit] = (),
    store: TripleStore | None,
    catalogue: RelationCatalogue | None = None,
    config: CardConfig | None = None,
    known: KnownAnswers | None = None,
    progress: Progress | None = None,
) -> ReportCard:
    """Score one edit, or several in the model together, beside stating the fact in context.

    Args:
        edited: the model before and after; several give a card with a column for each, under its name.
        edits: the facts to ask about, oldest first; by default those of `edited`.
        store: the graph for consequences and neighbours; without one most rows are empty.
        catalogue: the relations' wordings; by default the bundled ones.
        config: number of questions and lengths of texts.
        known: answers given before; new ones are added to it.
        progress: receives the steps; can cancel.

    Raises:
        RequestError: if no fact is known, or the models have different originals.
        Cancelled: if asked to stop.
    """
    models = [edited] if isinstance(edited, EditedModel) else list(edited)
    config = config or CardConfig()
    scored = score_models(
        models, edits=edits, store=store, catalogue=catalogue, config=config, known=known, progress=progress
    )
    return card_from([scored], config=config)


def card_from(scored: Sequence[ScoredEdits], *, config: CardConfig, notes: Sequence[str] = ()) -> ReportCard:
    """Return the card of edits that were made and scored apart, each in a model of its own.

    Args:
        scored: all of one model and one way of editing, with the same columns.
        config: what they were scored with.
        notes: what the card says about the edits besides.

    Divergence and perplexity are means over the edits, text by text.

    Raises:
        RequestError: if there is nothing to count.
    """
    if not scored:
        raise RequestError("No edit was scored, so there is no card. Give at least one edit.")
    first = scored[0]
    starts = [sum(len(part.edits) for part in scored[:place]) for place in range(len(scored))]
    items = [
        replace(item, edit=start + item.edit) for part, start in zip(scored, starts, strict=True) for item in part.items
    ]
    columns = {key: [answer for part in scored for answer in part.columns[key]] for key in first.columns}
    losses = {
        key: [_mean_loss(text) for text in zip(*(part.losses[key] for part in scored), strict=True)]
        for key in first.losses
    }
    sentences = tuple(edit.sentence for part in scored for edit in part.edits)
    by_age = retention_rows(len(first.edits), first.standing) if _has_ages(scored) else {}
    rows = _rows(items, first.asked, columns, losses, sentences, by_age, config)
    if len(scored) == 1 and first.tasks:
        cells = {key: task_cell(results) for key, results in first.tasks.items()}
        tasks = Row(key="tasks", cells={column.key: cells.get(column.key, Cell()) for column in first.asked})
        rows = tuple(tasks if row.key == "tasks" else row for row in rows)
    n_token = max((sum(loss.n for loss in mine) for mine in losses.values()), default=0)
    return ReportCard(
        model=first.model,
        edited=first.edited,
        edits=sentences,
        facts=tuple(facts for part in scored for facts in part.facts),
        rows=rows,
        texts=f"{n_token} tokens: {first.texts}" if n_token else "",
        notes=(*notes, *_notes(scored, rows)),
        seconds=sum(part.seconds for part in scored),
        asked=first.asked,
    )


def _has_ages(scored: Sequence[ScoredEdits]) -> bool:
    return len(scored) == 1 and scored[0].is_in_order


def _mean_loss(losses: Sequence[TextLoss]) -> TextLoss:
    before, after, moved = (
        sum(values) / len(losses)
        for values in zip(*((loss.before, loss.after, loss.divergence) for loss in losses), strict=True)
    )
    return TextLoss(n=losses[0].n, before=before, after=after, divergence=moved)


def _rows(
    items: Sequence[AskedItem],
    asked: Sequence[Column],
    columns: Mapping[str, Sequence[Answer | None]],
    losses: Mapping[str, Sequence[TextLoss]],
    sentences: Sequence[str],
    by_age: Mapping[str, frozenset[int]],
    config: CardConfig,
) -> tuple[Row, ...]:
    edited = [column.key for column in asked if column.is_edited]
    written = ["unedited", *edited]
    rows = []
    for key in ROWS:
        if key in _OF_TEXT:
            continue
        of = by_age.get(key, frozenset())
        is_aged = key.startswith("retention_")
        places = [n for n, item in enumerate(items) if item.row == ("efficacy" if is_aged else key)]
        places = [n for n in places if not is_aged or items[n].edit in of]
        mine = {
            column: [answer for n in places if (answer := answers[n]) is not None]
            for column, answers in columns.items()
            if key != "ability" or column in written
        }
        here = [items[n] for n in places]
        rows.append(answer_row(key, here, mine, edits=sentences, n_worst=config.n_worst, judged=edited[0]))
    places = [n for n, item in enumerate(items) if item.row == "fluency"]
    texts = {column: [answer.said for n in places if (answer := columns[column][n]) is not None] for column in written}
    rows += [entropy_row(texts), repetition_row(texts)]
    for key, cell in (("divergence", divergence_cell), ("perplexity", perplexity_cell)):
        cells = {"unedited": cell(losses[edited[0]], is_after=False)}
        cells |= {column: cell(losses[column], is_after=True) for column in edited}
        rows.append(Row(key=key, cells=cells, n_asked=len(losses[edited[0]])))
    order = list(ROWS)
    return tuple(
        replace(row, cells={column.key: row.cells.get(column.key, Cell()) for column in asked})
        for row in sorted(rows, key=lambda row: order.index(row.key))
    )


def _notes(scored: Sequence[ScoredEdits], rows: Sequence[Row]) -> tuple[str, ...]:
    notes = []
    lacking = {
        "neither the subject nor the new object": [prompt for part in scored for prompt in part.unknown],
        "the new object but not the subject": [prompt for part in scored for prompt in part.no_subject],
    }
    if len(scored) > 1:
        notes.append(f"{len(scored)} models, each with its own edits; all answers are counted together.")
    if not scored[0].has_graph:
        notes.append("No graph was given: consequences, neighbours, other facts, chains and choices are not asked.")
    for what, prompts in lacking.items() if scored[0].has_graph else ():
        if prompts:
            more = f"; and {len(prompts) - _MOST_NAMED} more" if len(prompts) > _MOST_NAMED else ""
            notes.append(f"The graph knows {what} of: {'; '.join(prompts[:_MOST_NAMED])}{more}.")
    if n_replaced := sum(len(part.edits) - len(part.standing) for part in scored):
        verb = "edit is" if n_replaced == 1 else "edits are"
        notes.append(f"{n_replaced} {verb} not asked, because a later one replaces it.")
    if n_left_out := sum(part.n_left_out for part in scored):
        notes.append(f"Left out: {n_left_out} questions that are longer than the model reads.")
    made = {row.key: sum(part.n_made.get(row.key, 0) for part in scored) for row in rows}
    drawn = [
        f"{row.spec.label} {row.n_asked} of {made[row.key]}"
        for row in rows
        if made[row.key] > row.n_asked and row.n_asked
    ]
    if drawn:
        notes.append(f"Drawn evenly over the edits: {', '.join(drawn)} prompts.")
    return tuple(notes)
