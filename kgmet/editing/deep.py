"""`write_deep`: the second write, for prompts in which the edited fact is a later hop.

"The capital of the country of Barcelona is" names no Spain: an update at the subject's token never takes part. What the
prompt asks is gathered at its last token, and the answer looked up there by deeper layers (IFMET, arXiv:2410.06331). So
the edit is written once more: into deep layers, with the keys of such prompts at their last tokens. The graph's inverse
edges supply the prompts, from starting points of which every second one is left for measuring, and the same chains by
way of other subjects supply what must stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kgmet.base.progress import Progress, Silent
from kgmet.editing.config import DeepConfig
from kgmet.editing.context import N_PROBE_WORDINGS, EditContext
from kgmet.graph.phrasing import split_templates
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase
from kgmet.search.directions.source import FreeDirection
from kgmet.search.problem import HeldPrompt, ShiftProblem, Term
from kgmet.search.search import TargetShift, find_target_shifts
from kgmet.write.keys import KeyRow, key_rows
from kgmet.write.layers import WrittenLayers, solve_layers
from kgmet.write.ledger import PROTECTED, EditLedger
from kgmet.write.patch import attached_updates
from kgmet.write.solve import LayerUpdate
from kgmet.write.writer import Writer

__all__ = ["DeepWrite", "deep_problem", "deep_protected", "write_deep"]


@dataclass(frozen=True, eq=False, kw_only=True)
class DeepWrite:
    """The second write of those edits that are a later hop of something: problems and shifts by position."""

    problems: tuple[ShiftProblem, ...]
    shifts: tuple[TargetShift, ...]
    written: WrittenLayers


def write_deep(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    *,
    early: Sequence[LayerUpdate],
    writer: Writer,
    config: DeepConfig,
    ledger: EditLedger | None = None,
    progress: Progress | None = None,
) -> DeepWrite | None:
    """Search and write the second shift of every edit of which the graph knows a later hop.

    Args:
        lm: the model, with earlier patches attached.
        contexts: the edits; those without `EditConsequences.written_later` take no part.
        early: the first write of these edits; attached while the second is searched and written.
        writer: solves one deep layer.
        config: see `DeepConfig`.
        ledger: keys that earlier edits have written.
        progress: hears of every step; can cancel.

    Returns:
        What was written, or nothing where no edit is a later hop of anything.

    Raises:
        As `find_target_shifts` and `solve_layers`.
    """
    progress = progress or Silent()
    problems = [problem for context in contexts if (problem := deep_problem(context, config)) is not None]
    if not problems:
        return None
    with attached_updates(early, lm):
        shifts = find_target_shifts(
            lm,
            problems,
            [FreeDirection(lm.d_model) for _ in problems],
            layer=config.write.layers[-1],
            config=config.target,
            progress=progress,
        )
        rows = [row for problem in problems for row in _rows(lm, problem)]
        written = solve_layers(
            lm,
            shifts,
            rows,
            writer=writer,
            config=config.write,
            ledger=ledger,
            protected=_protected_rows(lm, contexts, rows, config),
            progress=progress,
        )
    return DeepWrite(problems=tuple(problems), shifts=tuple(shifts), written=written)


def deep_problem(context: EditContext, config: DeepConfig) -> ShiftProblem | None:
    """The prompts whose last token is to give the new object; nothing where the graph knows none."""
    if context.consequences is None:
        return None
    items = [item for item in context.consequences.written_later if item.id not in context.left]
    prompts = [
        HeldPrompt(term=Term.REWRITE, template=item.text(template), answer=item.new.label)
        for item in items[: config.chains]
        for template in _for_search(item.templates)[: config.wordings]
        if item.new is not None
    ]
    return ShiftProblem(edit=context.edit, prompts=tuple(prompts)) if prompts else None


def deep_protected(contexts: Sequence[EditContext], config: DeepConfig) -> tuple[str, ...]:
    """Prompts whose last token's keys must stay: facts over two hops, and the plain facts of protected neighbours.

    What another edit of the same batch changes is not among them.
    """
    edited = {(context.edit.subject_id, context.edit.relation) for context in contexts}
    texts: dict[str, None] = {}
    for context in contexts:
        if context.consequences is None:
            continue
        found = context.consequences
        for fact in (*found.kept_later[: config.protected], *found.protected_neighbours, *found.kept_own):
            resting = fact.path or (fact.triple,)
            if fact.id in context.left or any((t.subject.id, t.relation.id) in edited for t in resting):
                continue
            for template in _for_search(fact.templates)[: config.protected_wordings]:
                texts.setdefault(fact.text(template))
    return tuple(texts)


def _rows(lm: LoadedLM, problem: ShiftProblem) -> tuple[KeyRow, ...]:
    phrases = [Phrase(template=prompt.template) for prompt in problem.prompts]
    return key_rows(lm, problem.edit.id, phrases)


def _protected_rows(
    lm: LoadedLM, contexts: Sequence[EditContext], rows: Sequence[KeyRow], config: DeepConfig
) -> list[KeyRow]:
    written = {row.input_ids for row in rows}
    found = [
        row
        for text in deep_protected(contexts, config)
        for row in key_rows(lm, f"{PROTECTED}deep/{text}", [Phrase(template=text)])
    ]
    return [row for row in found if row.input_ids not in written]


def _for_search(templates: tuple[str, ...]) -> tuple[str, ...]:
    return split_templates(templates, N_PROBE_WORDINGS)[0]
