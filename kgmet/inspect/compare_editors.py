"""`compare_editors`: one edit made with several methods or settings, all asked the same prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from kgmet.base.errors import Cancelled, KgmetError
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit, prepared_from
from kgmet.editing.editors import WriterKind
from kgmet.editing.plan import SearchedEdits, plan_edits, search_known
from kgmet.editing.report import own_question
from kgmet.editing.told import sentences_of
from kgmet.fact import FactEdit
from kgmet.graph.reading.probe_prompts import QuestionConfig, generate_probes
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.inspect.comparison import Candidate, CandidateResult, EditorComparison
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import Side, unchanged
from kgmet.measure.ask import Decoding, ask_each_side
from kgmet.measure.compare import compare_answers
from kgmet.measure.general import bundled_passages, perplexity
from kgmet.measure.question import Question
from kgmet.measure.sides import with_patches
from kgmet.measure.told import ask_told
from kgmet.write.patch import EditPatch, attached
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

__all__ = ["compare_editors", "contest_prompts"]

_QUESTIONS = QuestionConfig(n_questions=1, n_later_hops=0, n_neighbours=10, n_controls=6)
_DECODING = Decoding(top_k=1, only_judged=True)
_N_PASSAGE = 8
_TOGETHER = 3
"""Candidates that are asked together, so that a step of their answers reads the weights once."""


def contest_prompts(
    context: EditContext, *, store: TripleStore | None, catalogue: RelationCatalogue
) -> tuple[Question, ...]:
    """Return the prompts for every candidate, none optimised or protected; without a graph, only the edit's own."""
    edit, consequences = context.edit, context.consequences
    if store is None or consequences is None or edit.subject_id is None:
        return (own_question(edit),)
    made = generate_probes(store, catalogue, edit, consequences, config=_QUESTIONS, ends=context.ends)
    return tuple(Question.from_generated(item) for item in made)


def compare_editors(
    lm: LoadedLM,
    edit: FactEdit,
    candidates: Sequence[Candidate],
    *,
    store: TripleStore | None,
    catalogue: RelationCatalogue,
    statistics: KeyStatistics,
    earlier: Sequence[EditPatch] = (),
    searched: Mapping[str, SearchedEdits] | None = None,
    on_result: Callable[[EditorComparison], None] | None = None,
    progress: Progress | None = None,
) -> EditorComparison:
    """Make the edit with each candidate, ask all the same prompts, and keep nothing attached.

    Three candidates at a time are asked together; the first three together with the unedited model.

    Args:
        lm: the model; nothing needs to be attached.
        edit: the fact.
        candidates: the methods or settings to compare.
        store: the graph, or ``None``.
        catalogue: wordings of relations.
        statistics: key statistics of this model.
        earlier: earlier patches; they stay attached, and their keys are kept by methods that do so.
        searched: by editor, a search made for this fact with these earlier patches; a candidate with the same settings
            and prompts takes it as its own.
        on_result: receives the comparison so far after each candidate's answers, and with all perplexities at the end.
        progress: receives every candidate and the steps of its search; can cancel.

    Raises:
        Cancelled: if asked to stop.
        KgmetError: if the prompts cannot be asked. A failed candidate becomes a result with its error.
    """
    progress, earlier = progress or Silent(), list(earlier)
    so_far = EditsSoFar.of(earlier)
    contexts: dict[object, EditContext] = {}

    def prepared(config: EditConfig) -> EditContext:
        key = prepared_from(config)
        if key not in contexts:
            contexts[key] = prepare_edit(edit, store=store, catalogue=catalogue, config=config)
        return contexts[key]

    prompts = contest_prompts(prepared(EditConfig()), store=store, catalogue=catalogue)
    usual, n_token = _usual_perplexity(lm, earlier, statistics)
    comparison = EditorComparison(edit=edit, before=(), perplexity=usual, n_token=n_token, results=())
    for begin in range(0, max(len(candidates), 1), _TOGETHER):
        made: list[tuple[CandidateResult, EditContext]] = []
        for number, candidate in enumerate(candidates[begin : begin + _TOGETHER], start=begin):
            detail = {"candidate": candidate.label}
            progress.report(ProgressEvent(stage=Stage.COMPARISON, done=number, total=len(candidates), detail=detail))
            progress.check()
            context = prepared(candidate.config)
            outcome = _candidate_result(
                lm,
                candidate,
                context,
                statistics=statistics,
                earlier=so_far,
                known=(searched or {}).get(candidate.editor.name),
                progress=progress,
            )
            made.append((outcome, context))
        sides: list[Side] = [] if begin else [unchanged]
        sides += [with_patches([one.plan.patch], lm) for one, _ in made if one.plan is not None]
        with attached(earlier, lm):
            asked = ask_each_side(lm, prompts, sides, decoding=_DECODING, progress=progress) if sides else []
        if not begin:
            comparison = replace(comparison, before=tuple(asked.pop(0).answers))
        for outcome, context in made:
            progress.check()
            if outcome.plan is not None:
                outcome = replace(outcome, comparison=compare_answers(comparison.before, asked.pop(0).answers))
            elif outcome.candidate.editor.writer is WriterKind.TOLD:
                sentences = sentences_of(outcome.candidate.editor, context, catalogue)
                with attached(earlier, lm):
                    outcome = _told_result(lm, outcome.candidate, sentences, comparison, progress=progress)
            comparison = replace(comparison, results=(*comparison.results, outcome))
            if on_result is not None:
                on_result(comparison)
    # The answers are what people wait for, so the perplexities come after all of them.
    results = _with_perplexities(lm, comparison.results, earlier, progress)
    comparison = replace(comparison, results=tuple(results))
    if on_result is not None:
        on_result(comparison)
    progress.report(ProgressEvent(stage=Stage.COMPARISON, done=len(candidates), total=len(candidates)))
    return comparison


def _with_perplexities(
    lm: LoadedLM, results: Sequence[CandidateResult], earlier: Sequence[EditPatch], progress: Progress
) -> list[CandidateResult]:
    """Measure the perplexity with each plan attached; a result without a plan stays as it is."""
    found = []
    for outcome in results:
        progress.check()
        if outcome.plan is not None:
            with attached([*earlier, outcome.plan.patch], lm):
                outcome = replace(outcome, perplexity=perplexity(lm, _passages())[0])
        found.append(outcome)
    return found


def _passages() -> tuple[str, ...]:
    return bundled_passages()[:_N_PASSAGE]


def _usual_perplexity(lm: LoadedLM, earlier: Sequence[EditPatch], statistics: KeyStatistics) -> tuple[float, int]:
    """Return the perplexity without the edit and the number of tokens; that of the unedited model is measured once."""

    def measured() -> tuple[float, int]:
        with attached(list(earlier), lm):
            return perplexity(lm, _passages())

    return measured() if earlier else statistics.remembered(("perplexity", _N_PASSAGE), measured)


def _told_result(
    lm: LoadedLM,
    candidate: Candidate,
    sentences: Sequence[str],
    unedited: EditorComparison,
    *,
    progress: Progress,
) -> CandidateResult:
    """Ask with sentences before every prompt; nothing is written, so other text keeps its perplexity."""
    start, prompts = time.perf_counter(), [answer.question for answer in unedited.before]
    try:
        told = ask_told(lm, prompts, sentences, decoding=_DECODING, progress=progress)
    except Cancelled:
        raise
    except KgmetError as error:  # the facts do not fit into the model's context
        return CandidateResult(candidate=candidate, error=str(error))
    return CandidateResult(
        candidate=candidate,
        comparison=compare_answers(unedited.before, told.answers),
        perplexity=unedited.perplexity,
        seconds={"asked": time.perf_counter() - start},
    )


def _candidate_result(
    lm: LoadedLM,
    candidate: Candidate,
    context: EditContext,
    *,
    statistics: KeyStatistics,
    earlier: EditsSoFar,
    known: SearchedEdits | None,
    progress: Progress,
) -> CandidateResult:
    """Search and write; an editor that writes nothing has no plan."""
    if candidate.editor.writer is WriterKind.TOLD:
        return CandidateResult(candidate=candidate)
    start = time.perf_counter()
    try:
        plan = plan_edits(
            lm,
            [context],
            editor=candidate.editor,
            statistics=statistics,
            config=candidate.config,
            earlier=earlier,
            searched=None if known is None else search_known(lm, known, context, candidate.config),
            progress=progress,
        )
    except Cancelled:
        raise
    except KgmetError as error:
        return CandidateResult(candidate=candidate, error=str(error), seconds={"failed": time.perf_counter() - start})
    return CandidateResult(candidate=candidate, plan=plan, seconds=dict(plan.seconds))
