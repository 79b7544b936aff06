"""`compare_editors`: one edit made by several methods or settings, and what each achieved and cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kgmet.config import EditConfig
from kgmet.context import EditContext, prepare_edit
from kgmet.editors import Editor
from kgmet.errors import Cancelled, KgmetError
from kgmet.evaluate.general import bundled_passages, perplexity
from kgmet.evaluate.metrics import MetricValue, mean_value, share_value
from kgmet.graph.consequences import find_consequences
from kgmet.graph.linking import link_edit
from kgmet.graph.questions import QuestionConfig, generate_probes
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.loaded import LoadedLM
from kgmet.plan import EditPlan, plan_edits
from kgmet.probe.compare import ProbeComparison, compare_probes
from kgmet.probe.prompts import ProbeKind, ProbePrompt
from kgmet.probe.run import Decoding, ProbeResult, run_probes
from kgmet.progress import Progress, ProgressEvent, Silent
from kgmet.request import FactEdit
from kgmet.statistics import KeyStatistics
from kgmet.write.ledger import EditLedger
from kgmet.write.patch import EditPatch, attached

__all__ = ["KINDS", "Contest", "ContestRow", "Rival", "Trial", "compare_editors", "contest_prompts"]

_QUESTIONS = QuestionConfig(n_questions=1, n_later_hops=0, n_neighbours=10, n_controls=6)
_N_PASSAGE = 8


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One column: a method with its settings, under a label that tells it from the others."""

    label: str
    editor: Editor
    config: EditConfig


@dataclass(frozen=True, eq=False, kw_only=True)
class Trial:
    """What one rival did. `plan` and `comparison` are ``None`` if it failed, and `error` says why.

    `perplexity` is that of the short text with the edit on. `seconds` are wall-clock, by stage, probing left out.
    """

    rival: Rival
    plan: EditPlan | None = None
    comparison: ProbeComparison | None = None
    perplexity: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def answer(self) -> str:
        """What the model says to the edit's prompt afterwards; empty if it failed."""
        pairs = self.comparison.of(ProbeKind.REWRITE) if self.comparison is not None else ()
        return pairs[0].after.answer.strip() if pairs else ""


@dataclass(frozen=True, kw_only=True)
class ContestRow:
    """One measure over all rivals: `better` is ``higher`` or ``lower``, a value ``None`` where nothing was measured.

    `best` holds the columns that share the first place.
    """

    key: str
    label: str
    definition: str
    unit: str
    better: str
    values: tuple[MetricValue | None, ...]

    @property
    def best(self) -> frozenset[int]:
        """Columns of the best value; none where all are alike or fewer than two were measured."""
        known = {n: item.value for n, item in enumerate(self.values) if item is not None and item.value is not None}
        if len(known) < 2 or len(set(known.values())) == 1:
            return frozenset()
        best = (max if self.better == "higher" else min)(known.values())
        return frozenset(n for n, value in known.items() if value == best)


@dataclass(frozen=True, eq=False, kw_only=True)
class Contest:
    """All rivals on one edit. `perplexity` is that of the short text of `n_token` tokens without the edit."""

    edit: FactEdit
    before: tuple[ProbeResult, ...]
    perplexity: float
    n_token: int
    trials: tuple[Trial, ...]

    def rows(self) -> tuple[ContestRow, ...]:
        """The table, one measure a row, in the order of importance."""
        found = [self._probability()]
        for kind, (label, definition) in KINDS.items():
            values = tuple(_share(trial, kind) for trial in self.trials)
            if any(values):
                found.append(
                    ContestRow(
                        key=kind.value,
                        label=label,
                        definition=definition,
                        unit="share",
                        better="higher",
                        values=values,
                    )
                )
        return (*found, self._moved(), self._perplexity(), self._seconds())

    def _probability(self) -> ContestRow:
        def value(trial: Trial) -> MetricValue | None:
            pairs = trial.comparison.of(ProbeKind.REWRITE) if trial.comparison is not None else ()
            if not pairs or pairs[0].after.expected is None:
                return None
            return MetricValue(value=pairs[0].after.expected.probability, n=1, interval=None)

        return ContestRow(
            key="probability",
            label="Probability of the new object",
            definition="after the edit's own prompt",
            unit="probability",
            better="higher",
            values=tuple(value(trial) for trial in self.trials),
        )

    def _moved(self) -> ContestRow:
        def value(trial: Trial) -> MetricValue | None:
            pairs = trial.comparison.of(ProbeKind.NEIGHBOUR) if trial.comparison is not None else ()
            moved = [
                abs(pair.after.expected.logprob - pair.before.expected.logprob)
                for pair in pairs
                if pair.before.expected is not None and pair.after.expected is not None
            ]
            return mean_value(moved) if moved else None

        return ContestRow(
            key="neighbours_moved",
            label="Neighbours moved",
            definition="mean change of the log-probability of neighbours' true answers",
            unit="nats",
            better="lower",
            values=tuple(value(trial) for trial in self.trials),
        )

    def _perplexity(self) -> ContestRow:
        return ContestRow(
            key="perplexity",
            label="Perplexity of a short text",
            definition=f"{self.n_token} tokens; {self.perplexity:.3f} without the edit",
            unit="per token",
            better="lower",
            values=tuple(
                None if trial.perplexity is None else MetricValue(value=trial.perplexity, n=self.n_token, interval=None)
                for trial in self.trials
            ),
        )

    def _seconds(self) -> ContestRow:
        return ContestRow(
            key="seconds",
            label="Time",
            definition="search and write, wall clock on this machine, statistics left out",
            unit="s",
            better="lower",
            values=tuple(
                None
                if not trial.seconds
                else MetricValue(
                    value=sum(value for stage, value in trial.seconds.items() if stage != "statistics"),
                    n=1,
                    interval=None,
                )
                for trial in self.trials
            ),
        )


KINDS: Mapping[ProbeKind, tuple[str, str]] = {
    ProbeKind.REWRITE: ("Edit holds", "the new object is likelier than the old one after the edit's prompt"),
    ProbeKind.PARAPHRASE: ("Paraphrases", "the same in other words, never searched with"),
    ProbeKind.CONSEQUENCE: ("Consequences", "what follows from the edit is likelier than what followed before"),
    ProbeKind.MULTI_HOP: ("Multi-hop questions", "the free answer to a question over several facts names the new end"),
    ProbeKind.INVERSE: ("Read backwards", "the mirror fact"),
    ProbeKind.NEIGHBOUR: ("Neighbours kept", "the same relation of other subjects: the true answer stays"),
    ProbeKind.CONTROL: ("Own facts kept", "other facts of the subject: the true answer stays"),
}
"""Kind of prompt → (label, definition of what counts), in the order of the table."""


def _share(trial: Trial, kind: ProbeKind) -> MetricValue | None:
    if trial.comparison is None:
        return None
    verdicts = [pair.holds for pair in trial.comparison.of(kind) if pair.holds is not None]
    return share_value(sum(verdicts), len(verdicts)) if verdicts else None


def contest_prompts(
    edit: FactEdit, *, store: TripleStore | None, catalogue: RelationCatalogue, config: EditConfig
) -> tuple[ProbePrompt, ...]:
    """The same prompts for every rival, none ever searched with or protected; without a graph the edit's own alone."""
    own = ProbePrompt(
        kind=ProbeKind.REWRITE, text=edit.prompt, expected=edit.new_object, rejected=edit.old_object, source_id=edit.id
    )
    if store is None:
        return (own,)
    linked = link_edit(store, edit, catalogue).edit
    if linked.subject_id is None:
        return (own,)
    consequences = find_consequences(store, catalogue, linked, config=config.consequences)
    made = generate_probes(store, catalogue, linked, consequences, config=_QUESTIONS)
    return tuple(ProbePrompt.from_generated(item) for item in made)


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
        on_trial: hears of the contest so far after each rival.
        progress: hears of every rival and of its search; can cancel.

    Raises:
        Cancelled: if asked to stop.
        KgmetError: if the prompts cannot be asked. A rival that fails is kept as a trial with its error.
    """
    progress, earlier = progress or Silent(), list(earlier)
    ledger = EditLedger()
    for patch in earlier:
        ledger = ledger.appended(patch.id, patch.keys)
    prompts = contest_prompts(edit, store=store, catalogue=catalogue, config=EditConfig())
    decoding, passages = Decoding(max_new_tokens=8, top_k=1), bundled_passages()[:_N_PASSAGE]
    with attached(earlier, lm):
        before = run_probes(lm, prompts, decoding=decoding, progress=progress)
        usual, n_token = perplexity(lm, passages)
    contest = Contest(edit=edit, before=tuple(before), perplexity=usual, n_token=n_token, trials=())
    for number, rival in enumerate(rivals):
        progress.report(ProgressEvent(stage="contest", done=number, total=len(rivals), detail={"rival": rival.label}))
        progress.check()
        context = prepare_edit(edit, store=store, catalogue=catalogue, config=rival.config)
        trial = _trial(lm, rival, context, statistics=statistics, earlier=earlier, ledger=ledger, progress=progress)
        if trial.plan is not None:
            with attached([*earlier, trial.plan.patch], lm):
                after = run_probes(lm, prompts, decoding=decoding, progress=progress)
                trial = Trial(
                    rival=rival,
                    plan=trial.plan,
                    comparison=compare_probes(before, after),
                    perplexity=perplexity(lm, passages)[0],
                    seconds=trial.seconds,
                )
        contest = Contest(
            edit=edit, before=contest.before, perplexity=usual, n_token=n_token, trials=(*contest.trials, trial)
        )
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
    earlier: Sequence[EditPatch],
    ledger: EditLedger,
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
            ledger=ledger,
            earlier=earlier,
            progress=progress,
        )
    except Cancelled:
        raise
    except KgmetError as error:
        return Trial(rival=rival, error=str(error), seconds={"failed": time.perf_counter() - start})
    return Trial(rival=rival, plan=plan, seconds=dict(plan.seconds))
