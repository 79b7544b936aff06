"""`plan_edits`: from edits to a patch, stage by stage. The only module that imports every stage."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from kgmet.base.errors import ConfigError
from kgmet.base.progress import Progress, Silent
from kgmet.base.versions import installed_versions
from kgmet.editing.budget import check_memory
from kgmet.editing.config import EditConfig, config_to_mapping
from kgmet.editing.context import EditContext
from kgmet.editing.editors import EDITORS, Editor, WriterKind
from kgmet.editing.factories import (
    aware_of,
    make_common,
    make_filter,
    make_price,
    make_shift_prices,
    make_source,
    make_writer,
)
from kgmet.editing.gradients import make_tuner
from kgmet.editing.key_texts import edit_rows, edits_on_top, protected_rows, unedited_states
from kgmet.editing.pilot import anchor_length, anchored
from kgmet.editing.problem import build_problem
from kgmet.editing.stated import statements_of
from kgmet.fact import check_batch
from kgmet.forecast.index import FactIndex
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import chat_question
from kgmet.search.problem import ShiftProblem
from kgmet.search.search import TargetShift, find_target_shifts
from kgmet.write.layers import solve_layers
from kgmet.write.patch import EditPatch, attached
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

__all__ = ["EditPlan", "SearchedEdits", "plan_edits", "search_edits", "search_known", "write_edits"]


@dataclass(frozen=True, eq=False, kw_only=True)
class EditPlan:
    """A patch with everything it was made from.

    Contexts, problems and shifts share positions (fine-tuning has no shifts). `remaining` is the unreached part of each
    shift at the top layer, by edit id: ‖remaining‖ / ‖shift‖. `so_far` holds the earlier edits and these, for the next
    ones. `seconds` are wall-clock times by stage, those of the search among them.
    """

    patch: EditPatch
    searched: SearchedEdits
    remaining: Mapping[str, float]
    so_far: EditsSoFar
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def contexts(self) -> tuple[EditContext, ...]:
        """The edits with their graph contexts."""
        return self.searched.contexts

    @property
    def problems(self) -> tuple[ShiftProblem, ...]:
        """What was searched for."""
        return self.searched.problems

    @property
    def shifts(self) -> tuple[TargetShift, ...]:
        """The shifts that were written."""
        return self.searched.shifts


@dataclass(frozen=True, eq=False, kw_only=True)
class SearchedEdits:
    """Edits with their shifts, before the write; fine-tuning has no shifts."""

    contexts: tuple[EditContext, ...]
    problems: tuple[ShiftProblem, ...]
    shifts: tuple[TargetShift, ...]
    config: EditConfig
    seconds: Mapping[str, float] = field(default_factory=dict)

    def apart(self) -> list[SearchedEdits]:
        """Split into single edits, each with its share of the seconds."""
        share = {stage: seconds / len(self.contexts) for stage, seconds in self.seconds.items()}
        return [
            replace(
                self,
                contexts=self.contexts[n : n + 1],
                problems=self.problems[n : n + 1],
                shifts=self.shifts[n : n + 1],
                seconds=share,
            )
            for n in range(len(self.contexts))
        ]


def plan_edits(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    *,
    editor: Editor,
    statistics: KeyStatistics,
    config: EditConfig | None = None,
    earlier: EditsSoFar | None = None,
    index: FactIndex | None = None,
    searched: SearchedEdits | None = None,
    progress: Progress | None = None,
) -> EditPlan:
    """Search the shifts of all edits and solve the updates, both in one batch. No weight of the model changes.

    Args:
        lm: the model, with nothing attached.
        contexts: the edits with their graph contexts (`prepare_edit`).
        editor: the method.
        statistics: key statistics of this model.
        config: settings; by default the editor's own.
        earlier: the edits made before these (`EditPlan.so_far` of the last one); attached during the work.
        index: known facts for the price in the write (`write.price`); by default facts of the sample graph.
        searched: what `search_edits` found for the same edits, settings and earlier edits; by default it is run now.
        progress: receives every stage; can cancel.

    Raises:
        ContradictionError: if two edits contradict each other.
        ConfigError: if a layer is out of range for this model, or `searched` is of other edits or settings.
        MemoryLimitError: if the edits would not fit into memory; says what would.
        SearchError: if the search fails.
        Cancelled: if asked to stop; nothing is attached then.
    """
    used, n_edit = config or editor.config, len(contexts)
    # Once: what is kept for later edits is then in memory, and would count twice.
    asked = ("room", editor.name, used.write.layers, n_edit)
    statistics.remembered(asked, lambda: check_memory(lm, editor, used, n_edit=n_edit))
    if searched is None:
        searched = search_edits(
            lm,
            contexts,
            editor=editor,
            config=config,
            earlier=earlier,
            statistics=statistics,
            index=index,
            progress=progress,
        )
    elif searched.config != used or {c.edit.id for c in searched.contexts} != {c.edit.id for c in contexts}:
        raise ConfigError("The shifts were searched for other edits, or with other settings. Search them again.")
    return write_edits(
        lm, searched, editor=editor, statistics=statistics, earlier=earlier, index=index, progress=progress
    )


def search_edits(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    *,
    editor: Editor,
    config: EditConfig | None = None,
    earlier: EditsSoFar | None = None,
    statistics: KeyStatistics | None = None,
    index: FactIndex | None = None,
    progress: Progress | None = None,
) -> SearchedEdits:
    """Run the first half of `plan_edits`: search one shift per edit, in one batch.

    Only a price in the search (`target.price`) needs `statistics` and `index`; by default they are made as `plan_edits`
    makes them.
    """
    if editor.writer is WriterKind.TOLD:
        raise ConfigError(
            f"{editor.name} writes nothing, so there is no patch. It is a row of evaluate, Compare and Benchmark; to "
            f"edit, choose one of {', '.join(EDITORS)}."
        )
    config, contexts = config or editor.config, _unrepeated(contexts)
    so_far = earlier or EditsSoFar()
    patches = so_far.patches
    _check_layers(lm, config)
    if config.target.price and not editor.writer.searches:
        raise ConfigError(f"the editor {editor.name} has no search to price: set target.price to 0")
    clock = _Clock()
    with clock.stage("direction"):
        problems = [_problem(lm, context, config) for context in contexts]
    shifts: dict[str, TargetShift] = {}
    if editor.writer.searches:
        prices = None
        if config.target.price:
            with clock.stage("price"):
                prices = make_shift_prices(
                    lm,
                    contexts,
                    problems,
                    editor=editor,
                    config=config,
                    statistics=statistics,
                    earlier=so_far,
                    index=index,
                    progress=progress or Silent(),
                )
        on_top = edits_on_top(contexts, patches) if editor.searches_unedited else {c.edit.id for c in contexts}
        for is_on_top in (False, True):
            chosen = [n for n, context in enumerate(contexts) if (context.edit.id in on_top) is is_on_top]
            with attached(list(patches) if is_on_top else [], lm):
                with clock.stage("direction"):
                    sources = [make_source(lm, contexts[n], config) for n in chosen]
                with clock.stage("search"):
                    layer = config.write.shift_layer
                    own = [problems[n] for n in chosen]
                    found = find_target_shifts(
                        lm,
                        own,
                        sources,
                        layer=layer,
                        config=config.target,
                        prices=None if prices is None else [prices[n] for n in chosen],
                        progress=progress,
                    )
            shifts |= {shift.edit_id: shift for shift in found}
    return SearchedEdits(
        contexts=tuple(contexts),
        problems=tuple(problems),
        shifts=tuple(shifts[context.edit.id] for context in contexts if shifts),
        config=config,
        seconds=clock.seconds,
    )


def search_known(lm: LoadedLM, known: SearchedEdits, context: EditContext, config: EditConfig) -> SearchedEdits | None:
    """Return an earlier search as that of one edit with these settings, if `search_edits` would find the same shift.

    That model, editor and earlier edits are the same is for the caller to know. ``None`` where the direction comes from
    the graph, which may have changed, and where the search has a price.
    """
    if known.config != config or config.direction.source.uses_graph:
        return None
    if config.target.anchor_pilots or config.target.price:
        return None
    problem = _problem(lm, context, config)
    is_same = [(one.edit.id, one.prompts) for one in known.problems] == [(problem.edit.id, problem.prompts)]
    return replace(known, contexts=(context,), problems=(problem,)) if is_same and known.shifts else None


def _problem(lm: LoadedLM, context: EditContext, config: EditConfig) -> ShiftProblem:
    return build_problem(context, config, chat=lambda question: chat_question(lm, question))


def write_edits(
    lm: LoadedLM,
    searched: SearchedEdits,
    *,
    editor: Editor,
    statistics: KeyStatistics,
    earlier: EditsSoFar | None = None,
    index: FactIndex | None = None,
    progress: Progress | None = None,
) -> EditPlan:
    """Run the second half of `plan_edits`: spread the shifts over the layers and make the patch."""
    config, progress, so_far = searched.config, progress or Silent(), earlier or EditsSoFar()
    if config.write.price.weight and not editor.writer.searches:
        raise ConfigError(f"the editor {editor.name} cannot price known facts: {editor.writer.value} solves nothing")
    clock = _Clock(searched.seconds)
    writer = None
    # Statistics are of the unedited model, so they are read before earlier patches are attached.
    with clock.stage("statistics"):
        if editor.writer.searches:
            writer = aware_of(make_writer(editor, config, statistics, progress), so_far)
        price = make_price(lm, searched.contexts, config, statistics, earlier=so_far, index=index, progress=progress)
        spectral = make_filter(lm, config, statistics) if writer is not None else None
        common = make_common(lm, config, statistics) if writer is not None else None
        tuner = None if writer is not None else make_tuner(lm, editor, config, statistics, so_far.ledger, progress)
    with clock.stage("search"):
        searched = _anchored(lm, searched, statistics, progress)
    unedited = None
    with clock.stage("write"):
        rows = [row for problem in searched.problems for row in edit_rows(lm, problem)]
        protected = protected_rows(lm, searched.contexts, config, so_far.patches)
        if so_far.patches and editor.searches_unedited and writer is not None:
            on_top = edits_on_top(searched.contexts, so_far.patches)
            unedited = unedited_states(lm, rows, protected, on_top=on_top, config=config.write, shifts=searched.shifts)
    with attached(list(so_far.patches), lm), clock.stage("write"):
        if writer is None:
            assert tuner is not None
            written = tuner(searched.problems)
        else:
            written = solve_layers(
                lm,
                searched.shifts,
                rows,
                writer=writer,
                config=config.write,
                ledger=so_far.ledger,
                protected=protected,
                unedited=unedited,
                price=price,
                spectral=spectral,
                common=common,
                progress=progress,
            )
    patch = EditPatch(
        edits=tuple(context.edit for context in searched.contexts),
        updates=written.updates,
        model_fingerprint=lm.fingerprint,
        editor=editor.name,
        config=config_to_mapping(config),
        versions=installed_versions(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        keys=written.keys,
        asked=written.asked,
        features=written.features,
        stated=tuple(fact for context in searched.contexts for fact in statements_of(context, config)),
    )
    return EditPlan(
        patch=patch,
        searched=searched,
        remaining=written.remaining,
        so_far=so_far.then(patch),
        seconds=clock.seconds,
    )


def _anchored(lm: LoadedLM, searched: SearchedEdits, statistics: KeyStatistics, progress: Progress) -> SearchedEdits:
    """Return the shifts with their wanted states at the pilot edits' length, if the settings say so."""
    config = searched.config
    if not config.target.anchor_pilots or not searched.shifts:
        return searched
    told = config.target, config.hold.contexts, config.direction, config.write.layers, config.seed
    length = statistics.remembered(("anchor", *told), lambda: anchor_length(lm, config, progress=progress))
    return replace(searched, shifts=anchored(searched.shifts, length))


def _unrepeated(contexts: Sequence[EditContext]) -> list[EditContext]:
    kept = {edit.id for edit in check_batch(context.edit for context in contexts)}
    by_id = {context.edit.id: context for context in contexts if context.edit.id in kept}
    return list(by_id.values())


def _check_layers(lm: LoadedLM, config: EditConfig) -> None:
    layers = config.write.layers
    if layers[-1] > lm.n_layer - 2:
        raise ConfigError(
            f"write.layers {list(layers)} do not fit {lm.name}: it has {lm.n_layer} layers, and a shift can be "
            f"searched after layer {lm.n_layer - 2} at most."
        )


class _Clock:
    """Stopwatch: wall-clock seconds by stage."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds: dict[str, float] = dict(seconds or {})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
