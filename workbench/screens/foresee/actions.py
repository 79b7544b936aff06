"""Actions of the Foresee page: forecast an edit, protect facts, apply it, and compare forecast and measurement."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from kgmet.base.errors import RequestError
from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.progress import Progress, ProgressEvent, Stage
from kgmet.editing.context import EditContext
from kgmet.editing.foresee import Foreseen, foresee, foresee_patch, protect
from kgmet.editing.report import report_edit
from kgmet.editing.session import Edited
from kgmet.editing.stated import with_stated
from kgmet.forecast.check import check_forecast
from kgmet.forecast.index import FactIndex
from kgmet.forecast.near import Linked, near_facts_on_disk, near_index
from kgmet.graph.store import TripleStore
from kgmet.inspect.settings import settings_of
from kgmet.write.patch import EditPatch
from kgmet.write.so_far import EditsSoFar
from workbench import wording
from workbench.running import jobs
from workbench.running.resources import Resident, catalogue, store
from workbench.screens.foresee.values import PROTECTED, TICKED, Shown
from workbench.shared import actions, inspect_actions
from workbench.shared.foreseen import CHECKED, FORESEEN, SIZES, foreseen_from
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = [
    *("KIND", "Question", "apply", "begin", "choices"),
    *("protect_ticked", "protected_of", "question_of", "size_of", "tick", "ticked"),
]

KIND = "foresee"
"""Job kinds of this page."""
_CONTEXTS = "foresee-contexts"


@dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """Subject of a forecast: the typed fact (`entry` is ``None``) or an applied edit, and the number of facts.

    `made_from` is the fingerprint of everything the forecast depends on.
    """

    contexts: tuple[EditContext, ...]
    layers: tuple[int, ...]
    n_fact: int
    made_from: str
    graph: TripleStore
    entry: StackEntry | None = None
    earlier: tuple[EditPatch, ...] = ()

    @property
    def title(self) -> str:
        """Title of its job."""
        edit = self.contexts[0].edit
        more = f" and {len(self.contexts) - 1} more" if len(self.contexts) > 1 else ""
        return f"Foresee {edit.subject} → {edit.new_object}{more}"

    def on_disk(self, resident: Resident) -> int:
        """Return how many of its facts are already measured."""
        return near_facts_on_disk(
            resident.lm, self.graph, catalogue(), self.layers, edits=_linked(self.contexts), limit=self.n_fact
        )


def choices(state: WorkbenchState, resident: Resident) -> dict[str, str]:
    """Return the choices with their labels; the empty choice is the typed fact, if not applied."""
    found: dict[str, str] = {}
    if inspect_actions.is_new(state, state.draft):
        found[""] = f"Typed: {state.draft.subject} → {state.draft.new_object}"
    for entry in reversed(state.stack):
        if entry.edit is not None and entry.patch.model_fingerprint == resident.lm.fingerprint:
            found[entry.id] = f"Applied: {entry.name}" + ("" if entry.is_on else " (off)")
    return found


def question_of(state: WorkbenchState, resident: Resident, chosen: str, n_fact: int) -> Question:
    """Return the question of a choice.

    Raises:
        RequestError: if the typed fact is invalid, or the chosen edit no longer exists.
    """
    lm = resident.lm
    if not chosen:
        message = actions.prepare(state)
        if message is not None or state.context is None:
            raise RequestError(message or "The typed fact is incomplete. Complete it on the Edit page.")
        made_from = state.fingerprint(lm.fingerprint, actions.context_fingerprint(state), n_fact)
        return Question(
            contexts=(state.context,),
            layers=state.config.write.layers,
            n_fact=n_fact,
            made_from=made_from,
            graph=store(),
            earlier=tuple(state.live_patches(lm)),
        )
    entry = state.entry(chosen)
    if entry is None:
        raise RequestError("This edit is no longer in the ledger. Choose another one.")
    return _question_of_entry(state, resident, entry, n_fact)


def _question_of_entry(state: WorkbenchState, resident: Resident, entry: StackEntry, n_fact: int) -> Question:
    return Question(
        contexts=_contexts(state, entry),
        layers=tuple(update.layer for update in entry.patch.updates),
        n_fact=n_fact,
        made_from=foreseen_from(state, resident.lm, entry, n_fact),
        graph=store(),
        entry=entry,
        earlier=tuple(state.live_patches(resident.lm, before=entry.id)),
    )


def _contexts(state: WorkbenchState, entry: StackEntry) -> tuple[EditContext, ...]:
    """Return the graph contexts of an entry's edits, cached."""

    def make() -> tuple[EditContext, ...]:
        config = settings_of(entry.patch)
        return tuple(actions.context_of(entry, config, edit) for edit in entry.patch.edits)

    return state.remembered(_CONTEXTS, make, made_from=fingerprint_value([entry.id, store().fingerprint]))


def begin(state: WorkbenchState, resident: Resident, question: Question) -> str | None:
    """Start the job: build or load the index, search and write the edit, forecast; measure if it is applied."""
    lm, editor, config = resident.lm, state.editor, state.config

    def work(progress: Progress) -> None:
        index = _index(resident, question, progress)
        if question.entry is None:
            found = foresee(
                lm,
                question.contexts,
                editor=editor,
                config=config,
                statistics=resident.statistics,
                index=index,
                earlier=EditsSoFar.of(question.earlier),
                progress=progress,
            )
        else:
            patch = question.entry.patch
            found = foresee_patch(lm, patch, question.contexts, index=index, earlier=question.earlier)
            checked = check_forecast(lm, found.forecasts, patch, earlier=question.earlier, progress=progress)
            state.keep(CHECKED, checked, made_from=question.made_from)
        state.keep(FORESEEN, found, made_from=question.made_from)

    return jobs.start(KIND, work, state.session_id, title=question.title)


def size_of(state: WorkbenchState, resident: Resident, chosen: str) -> int | None:
    """Return of how many facts the forecast is that came with an edit from a link; ``None`` if none came."""
    entry = state.entry(chosen)
    came = None if entry is None else entry.figures.get(FORESEEN)
    if entry is None or came is None:
        return None
    return next((n for n in SIZES if not came.is_stale(foreseen_from(state, resident.lm, entry, n))), None)


def protect_ticked(state: WorkbenchState, resident: Resident, question: Question, facts: Collection[str]) -> str | None:
    """Start the job: write the edit again with a price on the ticked facts, and forecast it."""
    foreseen = _current(state, FORESEEN, question.made_from)
    if not isinstance(foreseen, Foreseen):
        return "Something changed since the forecast. Make it again, then protect."
    made_from, editor, chosen = _protected_from(question, facts), state.editor, frozenset(facts)

    def work(progress: Progress) -> None:
        found = protect(
            resident.lm,
            foreseen,
            chosen,
            editor=editor,
            statistics=resident.statistics,
            index=_index(resident, question, progress),
            earlier=EditsSoFar.of(question.earlier),
            progress=progress,
        )
        state.keep(PROTECTED, found, made_from=made_from)

    return jobs.start(
        KIND, work, state.session_id, title=f"{question.title}, {wording.count(len(chosen), 'fact')} protected"
    )


def apply(state: WorkbenchState, resident: Resident, question: Question, foreseen: Foreseen) -> str | None:
    """Start the job: measure the edit before and after, measure the facts with it, and put it on the stack."""
    plan = foreseen.plan
    if plan is None or _current(state, FORESEEN, question.made_from) is None:
        return "Something changed since the forecast. Make it again, then apply."
    lm, record, n_fact = resident.lm, state.record, question.n_fact
    based_on = tuple(patch.id for patch in question.earlier)

    def work(progress: Progress) -> None:
        progress.report(ProgressEvent(stage=Stage.MEASURE, done=0, total=1))
        progress.check()
        report = report_edit(lm, plan, earlier=question.earlier)
        checked = check_forecast(lm, foreseen.forecasts, plan.patch, earlier=question.earlier, progress=progress)
        progress.check()
        with record.lock:
            if tuple(patch.id for patch in state.live_patches(lm)) != based_on:
                raise RequestError("Edits were switched or undone since, so nothing was applied. Forecast again.")
            entry = actions.entry_of(Edited(plan=plan, reports=(report,)), based_on=based_on)
            record.push(entry)
        made_from = foreseen_from(state, resident.lm, entry, n_fact)
        state.keep(CHECKED, checked, made_from=made_from)
        state.keep(FORESEEN, replace(foreseen, plan=None, searched=None), made_from=made_from)

    return jobs.start(KIND, work, state.session_id, title=question.contexts[0].edit.sentence)


def protected_of(state: WorkbenchState, question: Question) -> Shown | None:
    """Return the edit protected for the ticked facts, if it was computed."""
    return _current(state, PROTECTED, _protected_from(question, ticked(state, question)))


def tick(state: WorkbenchState, question: Question, facts: Collection[str]) -> None:
    """Store which facts to protect."""
    state.keep(TICKED, frozenset(facts), made_from=_ticked_from(question))


def ticked(state: WorkbenchState, question: Question) -> frozenset[str]:
    """Return the ids of the facts to protect; none for another edit."""
    known = state.fresh(TICKED, _ticked_from(question))
    if known is None:
        return frozenset()
    found: frozenset[str] = known.value
    return found


def _ticked_from(question: Question) -> str:
    return fingerprint_value([context.edit.id for context in question.contexts])


def _protected_from(question: Question, facts: Collection[str]) -> str:
    return fingerprint_value([question.made_from, sorted(facts)])


def _current(state: WorkbenchState, name: str, made_from: str) -> Shown | None:
    known = state.fresh(name, made_from)
    return None if known is None else known.value


def _index(resident: Resident, question: Question, progress: Progress) -> FactIndex:
    """Return the known facts near the edits, and what earlier edits made true."""
    near = near_index(
        resident.lm,
        question.graph,
        catalogue(),
        question.layers,
        edits=_linked(question.contexts),
        limit=question.n_fact,
        progress=progress,
    )
    earlier, edits = EditsSoFar.of(question.earlier), [context.edit for context in question.contexts]
    return with_stated(resident.lm, near, earlier, edits=edits, check=progress.check) if question.earlier else near


def _linked(contexts: Collection[EditContext]) -> list[Linked]:
    return [(context.edit, context.consequences) for context in contexts]
