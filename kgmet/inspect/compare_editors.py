"""`compare_editors`: one edit made by several methods or settings in turn, and all asked the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from kgmet.base.errors import Cancelled, KgmetError
from kgmet.base.progress import Progress, ProgressEvent, Silent
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.plan import plan_edits
from kgmet.editing.report import own_question
from kgmet.fact import FactEdit
from kgmet.graph.reading.consequences import find_consequences
from kgmet.graph.reading.probe_prompts import QuestionConfig, generate_probes
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.wording.linking import link_edit
from kgmet.inspect.comparison import Contest, Rival, Trial
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.ask import Decoding, ask
from kgmet.measure.compare import compare_answers
from kgmet.measure.general import bundled_passages, perplexity
from kgmet.measure.question import Question
from kgmet.write.patch import EditPatch, attached
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

__all__ = ["compare_editors", "contest_prompts"]

_QUESTIONS = QuestionConfig(n_questions=1, n_later_hops=0, n_neighbours=10, n_controls=6)
_N_PASSAGE = 8


def contest_prompts(
    edit: FactEdit, *, store: TripleStore | None, catalogue: RelationCatalogue, config: EditConfig
) -> tuple[Question, ...]:
    """The same prompts for every rival, none ever searched with or protected; without a graph the edit's own alone."""
    own = own_question(edit)
    if store is None:
        return (own,)
    linked = link_edit(store, edit, catalogue).edit
    if linked.subject_id is None:
        return (own,)
    consequences = find_consequences(store, catalogue, linked, config=config.consequences)
    made = generate_probes(store, catalogue, linked, consequences, config=_QUESTIONS)
    return tuple(Question.from_generated(item) for item in made)


def compare_editors(
    lm: LoadedLM,
    edit: FactEdit,
    rivals: Sequence[Rival],
    *,
    store: TripleStore | None,
    catalogue: RelationCatalogue,
    statistics: KeyStatistics,
    earlier: Sequence[EditPatch] = (),
    on_trial: Callable[[Contest], None] | None = None,
    progress: Progress | None = None,
) -> Contest:
    """Make the edit with each rival in turn, ask all the same prompts, and keep nothing attached.

    Args:
        lm: the model; nothing needs to be attached.
        edit: the fact.
        rivals: the columns.
        store: the graph, or ``None``.
        catalogue: wordings of relations.
        statistics: key statistics of this model.
        earlier: patches under this edit; they stay attached, and their keys are kept where a method does so.
        on_trial: receives the contest so far after each rival.
        progress: receives every rival and of its search; can cancel.

    Raises:
        Cancelled: if asked to stop.
        KgmetError: if the prompts cannot be asked. A rival that fails is kept as a trial with its error.
    """
    progress, earlier = progress or Silent(), list(earlier)
    so_far = EditsSoFar.of(earlier)
    prompts = contest_prompts(edit, store=store, catalogue=catalogue, config=EditConfig())
    decoding, passages = Decoding(top_k=1), bundled_passages()[:_N_PASSAGE]
    with attached(earlier, lm):
        before = ask(lm, prompts, decoding=decoding, progress=progress)
        usual, n_token = perplexity(lm, passages)
    contest = Contest(edit=edit, before=tuple(before), perplexity=usual, n_token=n_token, trials=())
    for number, rival in enumerate(rivals):
        progress.report(ProgressEvent(stage="contest", done=number, total=len(rivals), detail={"rival": rival.label}))
        progress.check()
        context = prepare_edit(edit, store=store, catalogue=catalogue, config=rival.config)
        trial = _trial(lm, rival, context, statistics=statistics, earlier=so_far, progress=progress)
        if trial.plan is not None:
            with attached([*earlier, trial.plan.patch], lm):
                after = ask(lm, prompts, decoding=decoding, progress=progress)
                measured = perplexity(lm, passages)[0]
            trial = replace(trial, comparison=compare_answers(before, after), perplexity=measured)
        contest = replace(contest, trials=(*contest.trials, trial))
        if on_trial is not None:
            on_trial(contest)
    progress.report(ProgressEvent(stage="contest", done=len(rivals), total=len(rivals)))
    return contest


def _trial(
    lm: LoadedLM,
    rival: Rival,
    context: EditContext,
    *,
    statistics: KeyStatistics,
    earlier: EditsSoFar,
    progress: Progress,
) -> Trial:
    start = time.perf_counter()
    try:
        plan = plan_edits(
            lm,
            [context],
            editor=rival.editor,
            statistics=statistics,
            config=rival.config,
            earlier=earlier,
            progress=progress,
        )
    except Cancelled:
        raise
    except KgmetError as error:
        return Trial(rival=rival, error=str(error), seconds={"failed": time.perf_counter() - start})
    return Trial(rival=rival, plan=plan, seconds=dict(plan.seconds))
