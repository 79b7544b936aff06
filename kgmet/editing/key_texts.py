"""The texts whose keys a write uses: the edits' own, the protected ones, and their unedited states."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch

from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.editing.problem import protected_facts
from kgmet.fact import FactEdit
from kgmet.graph.phrasing import in_slot
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase
from kgmet.search.problem import ShiftProblem
from kgmet.search.search import TargetShift
from kgmet.write.config import WriteConfig
from kgmet.write.keys import KeyRow, key_rows, measure_keys
from kgmet.write.layers import Unedited
from kgmet.write.ledger import PROTECTED
from kgmet.write.patch import EditPatch
from kgmet.write.replay import replayed_states
from kgmet.write.residual import ResidualSchedule

__all__ = ["edit_rows", "edits_on_top", "protected_rows", "unedited_states"]


def edit_rows(lm: LoadedLM, problem: ShiftProblem) -> tuple[KeyRow, ...]:
    """Return the texts whose keys represent an edit: its prompts with an answer, up to the lookup token.

    The key of a text of one token is nearly that of every text's first token (the attention sink), so writing there
    changes all texts. It is written only where the edit's own prompt begins so, not for the sake of another wording.
    """
    phrases = [prompt.phrase(problem.edit.subject) for prompt in problem.prompts if prompt.wants_answer]
    own, *others = key_rows(lm, problem.edit.id, phrases)
    if len(own.input_ids) > 1:
        others = [row for row in others if len(row.input_ids) > 1]
    return (own, *others)


def protected_rows(
    lm: LoadedLM, contexts: Sequence[EditContext], config: EditConfig, earlier: Sequence[EditPatch]
) -> list[KeyRow]:
    """Return the texts whose keys are protected: neighbours in the edit's wording, except edited subjects."""
    edited = _subjects(context.edit for context in contexts)
    if config.write.restores:  # an earlier edit moved it on purpose
        edited |= _subjects(edit for patch in earlier for edit in patch.edits)
    rows: dict[str, KeyRow] = {}
    for context in contexts:
        for number, fact in enumerate(protected_facts(context, config)):
            subject = fact.triple.subject
            if not edited.isdisjoint((subject.id, subject.label.casefold())):
                continue
            name = in_slot(context.edit.template, subject)
            if config.hold.shuffled:
                name = context.unrelated_names[number % len(context.unrelated_names)]
            phrase = Phrase(template=context.edit.template, subject=name)
            for row in key_rows(lm, f"{PROTECTED}{subject.id}", [phrase]):
                rows.setdefault(row.owner, row)
    return list(rows.values())


def edits_on_top(contexts: Sequence[EditContext], earlier: Sequence[EditPatch]) -> set[str]:
    """Return the ids of the edits whose subject an earlier patch edits."""
    edited = _subjects(edit for patch in earlier for edit in patch.edits)
    return {context.edit.id for context in contexts if not edited.isdisjoint(_subjects([context.edit]))}


def _subjects(edits: Iterable[FactEdit]) -> set[str]:
    """Return the folded names and the ids of the edits' subjects."""
    return {name for edit in edits for name in (edit.subject.casefold(), edit.subject_id) if name is not None}


def unedited_states(
    lm: LoadedLM,
    rows: Sequence[KeyRow],
    protected: Sequence[KeyRow],
    *,
    on_top: Collection[str],
    config: WriteConfig,
    shifts: Sequence[TargetShift],
) -> Unedited:
    """Measure the states of the rows and of the protected texts with nothing attached.

    With forward replay, the rows' states under the shifts too.
    """
    layer, replayed = config.layers[-1], {}
    if config.schedule is ResidualSchedule.REPLAY:
        deltas = {shift.edit_id: shift.delta for shift in shifts}
        wanted = torch.stack([deltas[row.owner] for row in rows])
        replayed = dict(replayed_states(lm, rows, wanted, layers=config.layers))
    states = measure_keys(lm, [*rows, *protected], layer=layer, top=layer).states
    return Unedited(
        states=states[: len(rows)],
        protected=states[len(rows) :],
        replayed=replayed,
        applies=torch.tensor([row.owner not in on_top for row in rows], dtype=torch.bool, device=states.device),
    )
