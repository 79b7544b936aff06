"""Which of all questions about many edits are asked: no replaced edit, none too long, and only so many of a row."""

from __future__ import annotations

from collections.abc import Sequence

from kgmet.base.fingerprint import digest
from kgmet.evaluate.card.asked import AskedItem
from kgmet.evaluate.card.edited import EditedModel
from kgmet.fact import FactEdit
from kgmet.measure.ask import worded
from kgmet.measure.told import told_question

__all__ = ["drawn_items", "fitting_items", "retention_rows", "standing_edits"]

_ROOM_TO_ANSWER = 16
"""Fewest tokens left for an answer."""
_FEWEST_BY_AGE = 10
"""Fewest edits whose retention is counted by age."""


def standing_edits(edits: Sequence[FactEdit]) -> list[int]:
    """Return the places of the edits that no later one replaces: same subject, and same relation or prompt."""
    found: dict[str, int] = {}
    for place, edit in enumerate(edits):
        about = edit.relation.casefold() if edit.relation else edit.template.casefold()
        found[digest(" ".join(edit.subject.casefold().removeprefix("the ").split()), about)] = place
    return sorted(found.values())


def retention_rows(n_edit: int, standing: Sequence[int]) -> dict[str, frozenset[int]]:
    """Return the places of the oldest, the middle and the newest tenth of the edits; none for fewer than ten.

    `standing` are the places of edits that are asked; replaced ones count for an edit's age, not as an edit.
    """
    if n_edit < _FEWEST_BY_AGE:
        return {}
    tenth = n_edit // 10
    middle = (n_edit - tenth) // 2
    begins = {"retention_oldest": 0, "retention_middle": middle, "retention_newest": n_edit - tenth}
    return {row: frozenset(standing) & frozenset(range(begin, begin + tenth)) for row, begin in begins.items()}


def drawn_items(items: Sequence[AskedItem], *, most: int) -> list[AskedItem]:
    """Return at most `most` items of each row, evenly over the edits; 0 for all. The same items give the same draw."""
    if not most:
        return list(items)
    order = {id(item): digest(item.row, str(item.edit), item.question.text) for item in items}
    turns: dict[tuple[str, int], int] = {}
    by_row: dict[str, list[tuple[int, str, AskedItem]]] = {}
    for item in sorted(items, key=lambda item: order[id(item)]):
        turn = turns.get((item.row, item.edit), 0)
        turns[item.row, item.edit] = turn + 1
        by_row.setdefault(item.row, []).append((turn, order[id(item)], item))
    kept = {id(item) for found in by_row.values() for _, _, item in sorted(found, key=lambda one: one[:2])[:most]}
    return [item for item in items if id(item) in kept]


def fitting_items(
    models: Sequence[EditedModel], items: Sequence[AskedItem], facts: Sequence[tuple[str, ...]]
) -> list[AskedItem]:
    """Return the items that fit the models' context with all sentences before and an answer after them."""
    base = models[0].base
    longest = [worded(base, told_question(item.question, facts[item.edit])) for item in items]
    sizes = [len(ids) for ids in base.tokenizer(longest)["input_ids"]] if longest else []
    room = min(base.context, *(model.lm.context for model in models)) - _ROOM_TO_ANSWER
    return [item for item, size in zip(items, sizes, strict=True) if size <= room]
