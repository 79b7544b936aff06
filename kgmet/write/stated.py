"""`StatedFact`: a fact that an edit makes true, as a prompt with its answer; later edits may price it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kgmet.fact import FactEdit
from kgmet.write.priced import FactPairs

__all__ = ["MeasuredStatement", "StatedFact", "own_statement", "still_stated"]


@dataclass(frozen=True, kw_only=True)
class StatedFact:
    """A complete prompt and the answer that an edit gives it: the edited fact itself, or a consequence it holds.

    `subject_id` and `relation` are the graph's ids, where known; `edit_id` is the edit that it follows from.
    """

    prompt: str
    answer: str
    subject: str
    subject_id: str = ""
    relation: str = ""
    edit_id: str = ""

    def replaces(self, other: StatedFact) -> bool:
        """Return whether this is another answer to the same question."""
        if self.subject_id and self.relation and (self.subject_id, self.relation) == (other.subject_id, other.relation):
            return True
        is_same = self.subject.casefold() == other.subject.casefold() and self.relation == other.relation != ""
        return is_same or self.prompt.casefold() == other.prompt.casefold()


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasuredStatement:
    """A stated fact with its answer's log-probability in nats, its tokens, and its pairs by layer."""

    fact: StatedFact
    logprob: float
    tokens: tuple[int, ...]
    pairs: Mapping[int, FactPairs]


def own_statement(edit: FactEdit) -> StatedFact:
    """Return the edited fact itself."""
    return StatedFact(
        prompt=edit.prompt,
        answer=edit.new_object,
        subject=edit.subject,
        subject_id=edit.subject_id or "",
        relation=edit.relation or "",
        edit_id=edit.id,
    )


def still_stated(batches: Iterable[Sequence[StatedFact]]) -> tuple[StatedFact, ...]:
    """Return the facts of successive batches of edits, without those that a later batch replaces.

    With an edited fact everything that follows from it is replaced: its first statement is the edited fact itself.
    """
    kept: list[StatedFact] = []
    for batch in batches:
        replaced = {number for number, old in enumerate(kept) if any(new.replaces(old) for new in batch)}
        first = {fact.edit_id: number for number, fact in reversed(list(enumerate(kept)))}
        gone = {edit_id for edit_id, number in first.items() if edit_id and number in replaced}
        kept = [old for number, old in enumerate(kept) if number not in replaced and old.edit_id not in gone]
        kept += dict.fromkeys(batch)
    return tuple(kept)
